"""How steadily the loop runs, next to a loop that does nothing else."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.fci.arm import Controller
from bench.fci.case import Context, Result
from bench.fci.servers import Server, franka_sim, franky_sim

BARE_LOOP = Path(__file__).resolve().parents[1] / "bare_loop.py"


def _bare(robot: Server, seconds: float) -> dict[str, float]:
    command = [sys.executable, str(BARE_LOOP), "--robot-ip", robot.address]
    done = subprocess.run(
        [*command, "--seconds", str(seconds)], capture_output=True, text=True, check=True
    )
    numbers: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return numbers


def _ours(context: Context, robot: Server, seconds: float) -> dict[str, float]:
    with Controller(context, robot.address) as arm:
        first = arm.wait_for(lambda s: s["robot"]["present"], "control")
        begin = time.monotonic()
        time.sleep(seconds)
        ticks = arm.status()["ticks"] - first["ticks"]
        took = time.monotonic() - begin
    summary = arm.summary()
    period = summary["period_us"]
    return {
        "hz": ticks / took,
        "p50_us": period["p50"],
        "p99_us": period["p99"],
        "p999_us": period["p999"],
        "max_us": period["max"],
        "success_rate": summary["robot"]["command_success_rate"],
        "lost_cycles": summary["robot"]["lost_cycles"],
        "tick_p99_us": summary["tick_us"]["p99"],
    }


def _best(runs: list[dict[str, float]], key: str, *, largest: bool) -> float:
    values = [run[key] for run in runs]
    return max(values) if largest else min(values)


def loop_quality(context: Context) -> Result:
    """Rate at least 0.99x and p99 of the cycle at most 1.1x of a bare pylibfranka loop."""
    seconds = min(context.seconds, 15.0)
    bare, ours = [], []
    with franka_sim(context.folder) as robot:
        for _ in range(3):  # in turns; the best of each: what disturbs a run is not the loop's
            bare.append(_bare(robot, seconds))
            ours.append(_ours(context, robot, seconds))
        rate = _best(ours, "hz", largest=True) / _best(bare, "hz", largest=True)
        p99 = _best(ours, "p99_us", largest=False) / _best(bare, "p99_us", largest=False)
        measured: dict[str, Any] = {
            "rate_ratio": round(rate, 4),
            "p99_ratio": round(p99, 3),
            "bare": bare,
            "ours": ours,
            "violations": robot.violations(),
            "reflexes": robot.reflexes(),
        }
    return Result(rate >= 0.99 and p99 <= 1.1 and not robot.reflexes(), measured)


def lenient_server(context: Context) -> Result:
    """The other server, with a hand, takes the same controller."""
    with franky_sim(context.folder) as robot:
        ours = _ours(context, robot, min(context.seconds, 10.0))
    return Result(ours["lost_cycles"] < 100, {"ours": ours})


CASES = {"loop_quality": loop_quality, "lenient_server": lenient_server}
