"""A benchmark's parts, run one after the other; what is measured is on disk after each."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.rows import Row, machine, table, write

Parts = Mapping[str, Callable[[], list[Row]]]
"""By name, in the order in which they run."""


def run_parts(parts: Parts, only: Sequence[str] | None, output: Path) -> None:
    """Run the parts named in `only`, or all; write their rows and print them as a table."""
    rows: list[Row] = []
    for name, part in parts.items():
        if not only or name in only:
            print(f"measuring {name} ...", flush=True)
            rows += part()
            write(rows, output)
    print(f"\n{machine()}\n\n{table(rows)}\n\nwritten to {output}")
