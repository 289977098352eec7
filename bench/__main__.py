"""`python -m bench`: measure every speed next to its control and write runs/bench/latest.json."""

import argparse
import sys
import tempfile
from pathlib import Path

import torch

from bench import http_routes, policies, replay, ticks, transport
from bench.parts import Parts, run_parts
from bench.policy_files import write_policy
from bench.rows import Row
from serl_rt.export.task import load_task


def sections(folder: Path, seconds: float) -> Parts:
    """Return the parts of the benchmark."""
    task = load_task("pick_cube")
    policy = write_policy(task, folder / "policy.onnx")

    def tick_rows() -> list[Row]:
        rows, hot = ticks.hot_rows()
        return rows + ticks.loop_rows(folder, policy, seconds / 6, hot)

    return {
        "lockstep": ticks.lockstep_rows,
        "tick": tick_rows,
        "wakeup": lambda: ticks.wakeup_rows(seconds / 6),
        "policy": lambda: policies.step_rows(task, policy),
        "export": lambda: policies.export_rows(task),
        "swap": lambda: policies.swap_rows(folder),
        "late": lambda: policies.late_tick_rows(folder, seconds),
        "transport": transport.rows,
        "replay": replay.rows,
        "http": http_routes.rows,
    }


def main() -> int:
    """Run the benchmark."""
    p = argparse.ArgumentParser(prog="make bench BENCH_ARGS=...", description=__doc__)
    p.add_argument("--only", action="append", help="a part to run; may be given several times")
    p.add_argument("--seconds", type=float, default=30.0, help="of the longest real-time runs [s]")
    p.add_argument("--output", type=Path, default=Path("runs/bench/latest.json"))
    arguments = p.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        parts = sections(Path(scratch), arguments.seconds)
        unknown = set(arguments.only or ()) - set(parts)
        if unknown:
            p.error(f"--only: unknown {', '.join(sorted(unknown))}; parts are {', '.join(parts)}")
        run_parts(parts, arguments.only, arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
