"""`python -m bench`: measure every speed next to its control and write runs/bench/latest.json."""

import sys
from pathlib import Path

from bench import http_routes, policies, replay, ticks, transport
from bench.parts import Parts, main
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


if __name__ == "__main__":
    sys.exit(main("make bench BENCH_ARGS=...", __doc__, sections))
