"""A benchmark's parts, run one after the other; what is measured is on disk after each."""

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from bench.rows import Row, machine, table, write

Parts = Mapping[str, Callable[[], list[Row]]]
"""By name, in the order in which they run."""


def main(prog: str, description: str | None, parts_in: Callable[[Path, float], Parts]) -> int:
    """Run what the command line asks for of `parts_in(scratch folder, seconds of long runs)`."""
    p = argparse.ArgumentParser(prog=prog, description=description)
    p.add_argument("--only", action="append", help="a part to run; may be given several times")
    p.add_argument("--seconds", type=float, default=30.0, help="of the longest real-time runs [s]")
    p.add_argument("--output", type=Path, default=Path("runs/bench/latest.json"))
    arguments = p.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        parts = parts_in(Path(scratch), arguments.seconds)
        unknown = set(arguments.only or ()) - set(parts)
        if unknown:
            p.error(f"--only: unknown {', '.join(sorted(unknown))}; parts are {', '.join(parts)}")
        run_parts(parts, arguments.only, arguments.output)
    return 0


def run_parts(parts: Parts, only: Sequence[str] | None, output: Path) -> None:
    """Run the parts named in `only`, or all; write their rows and print them as a table."""
    rows: list[Row] = []
    for name, part in parts.items():
        if not only or name in only:
            print(f"measuring {name} ...", flush=True)
            rows += part()
            write(rows, output)
    print(f"\n{machine()}\n\n{table(rows)}\n\nwritten to {output}")
