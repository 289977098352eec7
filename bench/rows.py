"""The rows of a benchmark report: a figure, its spread, and its control from the same run."""

import json
import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One measured figure and the control it is to be read against."""

    name: str
    unit: str
    min: float
    median: float
    max: float
    n: int
    """Number of repetitions behind min, median and max."""
    control: str
    """What the control is, in words."""
    control_median: float
    """Median of the control, same unit, same run."""
    ratio: float | None
    """median / control_median; None if the control is zero."""
    machine: str
    commit: str


def machine() -> str:
    """Return the CPU's name, the number of cores and the kernel."""
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    cores = sum(line.startswith("processor") for line in Path("/proc/cpuinfo").open())
    return f"{model}, {cores} cores, Linux {platform.release()}"


def commit() -> str:
    """Return the commit that was measured, with '+' when the tree had changes."""
    try:
        head = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        dirty = subprocess.run(
            ["git", "status", "--porcelain"], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if dirty else "")


def make_row(
    name: str, unit: str, values: Sequence[float], control: str, control_values: Sequence[float]
) -> Row:
    """Summarise repetitions of a figure and of its control."""
    median = statistics.median(values)
    control_median = statistics.median(control_values)
    return Row(
        name=name,
        unit=unit,
        min=min(values),
        median=median,
        max=max(values),
        n=len(values),
        control=control,
        control_median=control_median,
        ratio=median / control_median if control_median else None,
        machine=machine(),
        commit=commit(),
    )


def table(rows: Sequence[Row]) -> str:
    """Return the rows as an aligned text table."""
    header = ("name", "min", "median", "max", "n", "unit", "ratio", "control", "its median")
    cells = [header] + [
        (
            row.name,
            f"{row.min:.4g}",
            f"{row.median:.4g}",
            f"{row.max:.4g}",
            str(row.n),
            row.unit,
            "-" if row.ratio is None else f"{row.ratio:.3g}",
            row.control,
            f"{row.control_median:.4g}",
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in cells) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


def write(rows: Sequence[Row], path: Path) -> None:
    """Write the rows to `path`; rows of other names that are already there stay."""
    kept: list[dict[str, object]] = []
    names = {row.name for row in rows}
    if path.exists():
        kept = [row for row in json.loads(path.read_text()) if row["name"] not in names]
    path.parent.mkdir(parents=True, exist_ok=True)
    merged = kept + [asdict(row) for row in rows]
    path.write_text(json.dumps(merged, indent=2, allow_nan=False) + "\n")
