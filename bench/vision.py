"""`python -m bench.vision`: what images add, merged into runs/bench/latest.json."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from bench import image_replay, images
from bench.rows import Row, machine, table, write
from serl_rt.learner.process import keep_freed_memory

SECTIONS: dict[str, Callable[[], list[Row]]] = {
    "replay": image_replay.rows,
    "images": images.rows,
}
"""The parts by name, in the order in which they run."""


def main() -> int:
    """Run the benchmark."""
    p = argparse.ArgumentParser(prog="make bench-vision BENCH_ARGS=...", description=__doc__)
    p.add_argument("--only", action="append", choices=SECTIONS, help="a part; may be repeated")
    p.add_argument("--output", type=Path, default=Path("runs/bench/latest.json"))
    arguments = p.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    rows: list[Row] = []
    for name, part in SECTIONS.items():
        if not arguments.only or name in arguments.only:
            print(f"measuring {name} ...", flush=True)
            rows += part()
            write(rows, arguments.output)
    print(f"\n{machine()}\n\n{table(rows)}\n\nwritten to {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
