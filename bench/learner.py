"""`python -m bench.learner`: speed and memory of the learner's updates, merged into latest.json.

Every case and every rival runs in a process of its own, in turn, several times over. Rivals are
Stable-Baselines3, SBX (with --sbx) and any command that prints critic updates/s (--baseline-cmd).
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.programs import ROOT
from bench.rows import Row, machine, make_row, table, write

SAC = {f"sac_c{c}_utd{u}": (c, u) for c in (2, 10) for u in (1, 8, 20)}
DRQ = [f"drq_b{size}_{kind}" for size in (64, 256) for kind in ("plain", "cached")]
CASES = (*SAC, *DRQ, "act_state")
SBX_PYTHON = ROOT / "build" / "bench-sbx" / "bin" / "python"
TIMEOUT_S = 1200.0


@dataclass(frozen=True)
class Rival:
    """Another library's SAC, as a command with {critics}, {utd} and {seconds} to be filled in."""

    name: str
    description: str
    command: str

    def rate(self, critics: int, utd: int, seconds: float, threads: int) -> float:
        """Return critic updates/s: the last line that the command prints."""
        command = [
            part.format(critics=critics, utd=utd, seconds=seconds)
            for part in shlex.split(self.command)
        ]
        lines = output(command, threads).splitlines()
        try:
            return float(lines[-1])
        except (IndexError, ValueError):
            sys.exit(f"{self.command}: its last line must be critic updates/s, not {lines[-1:]}")


def output(command: Sequence[str], threads: int, cache: str | None = None) -> str:
    """Run a command and return what it printed; ends the benchmark when it fails."""
    extra = {"OMP_NUM_THREADS": str(threads), "JAX_PLATFORMS": "cpu"}
    if cache is not None:
        extra["TORCHINDUCTOR_CACHE_DIR"] = cache
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=TIMEOUT_S, cwd=ROOT,
        env=os.environ | extra,
    )  # fmt: skip
    if result.returncode:
        sys.exit(f"{shlex.join(command)} failed:\n{result.stdout}{result.stderr}")
    return result.stdout


def case(name: str, seconds: float, threads: int, cache: str | None = None) -> dict[str, Any]:
    """Run a case of `bench.learner_case`."""
    command = [sys.executable, "-m", "bench.learner_case", name, "--threads", str(threads)]
    text = output([*command, "--seconds", str(seconds)], threads, cache)
    result: dict[str, Any] = json.loads(text.splitlines()[-1])
    return result


def rate(result: Mapping[str, Any]) -> float:
    """Critic updates/s of a case, by its median call."""
    updates: int = result["updates_per_call"]
    return updates / statistics.median(result["seconds"])


def sac_rows(
    name: str,
    results: Sequence[dict[str, Any]],
    last: Sequence[dict[str, Any]],
    rivals: dict[str, list[float]],
) -> list[Row]:
    """Speed against each rival, share of the raw matmul rate.

    `last`: results with the actor updated on the last part of a batch, as SBX does it.
    """
    rates = [rate(r) for r in results]
    reached = [r["gigaflops"] / statistics.median(r["seconds"]) for r in results]
    raw = [r["matmul_rate"] for r in results]
    rows = [make_row(f"{name}_gflops", "GFLOP/s", reached, "one product of its layers", raw)]
    for i, (rival, theirs) in enumerate(rivals.items()):
        # The first is what the case's own name is compared with.
        label = name if i == 0 else f"{name}_vs_{rival.split()[0].lower()}"
        ours = [rate(r) for r in last] if last and rival.startswith("SBX") else rates
        if ours is not rates:
            label = f"{name}_last"
        rows.append(make_row(label, "critic updates/s", ours, rival, theirs))
    if not rivals:
        rows.append(make_row(name, "critic updates/s", rates, "none: --no-sb3", [0.0]))
    return rows


def memory_row(name: str, results: Sequence[dict[str, Any]], floor: Sequence[float]) -> Row:
    """Peak memory of the case's process against a process that has only imported torch."""
    peaks = [r["peak_rss_mib"] for r in results]
    return make_row(f"{name}_peak_rss_mib", "MiB", peaks, "importing torch", floor)


def imports_mib() -> float:
    """Peak memory of importing torch."""
    code = "import resource, torch; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024)"
    return float(output([sys.executable, "-c", code], 1).splitlines()[-1])


def compile_rows(threads: int) -> list[Row]:
    """Time until the first update with an empty cache, and with what that left behind."""
    rows = []
    for name in ("sac_c2_utd1", "sac_c10_utd8"):
        with tempfile.TemporaryDirectory() as cache:
            first = case(name, 0.1, threads, cache)["prepare_s"]
            again = [case(name, 0.1, threads, cache)["prepare_s"] for _ in range(2)]
        rows.append(make_row(f"{name}_compile_s", "s", [first], "compiled before", again))
    return rows


def rivals_asked_for(arguments: argparse.Namespace) -> list[Rival]:
    """Return the rivals; makes SBX's environment when it is wanted and missing."""
    rivals = []
    if not arguments.no_sb3:
        script = f"{sys.executable} bench/rival_sb3.py {{critics}} {{utd}} {{seconds}}"
        rivals.append(Rival("SB3", "no layer norm, actor with every update", script))
    if arguments.sbx:
        if not SBX_PYTHON.exists():
            print(f"installing sbx-rl into {SBX_PYTHON.parents[1]} ...", flush=True)
            folder = str(SBX_PYTHON.parents[1])
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            subprocess.run([str(SBX_PYTHON), "-m", "pip", "install", "-q", "sbx-rl"], check=True)
        script = f"{SBX_PYTHON} bench/rival_sbx.py {{critics}} {{utd}} {{seconds}}"
        rivals.append(Rival("SBX", "actor without layer norm, its batch 256", script))
    if arguments.baseline_cmd:
        rivals.append(Rival("baseline", arguments.baseline_cmd, arguments.baseline_cmd))
    return rivals


def measure(
    names: Sequence[str], rivals: Sequence[Rival], arguments: argparse.Namespace
) -> list[Row]:
    """Run the cases, each repetition of all that is compared before the next one."""
    floor = [imports_mib() for _ in range(2)]
    seconds, threads = arguments.seconds, arguments.threads
    rows: list[Row] = []
    for name in names:
        print(f"measuring {name} ...", flush=True)
        results: list[dict[str, Any]] = []
        rates: dict[str, list[float]] = {}
        last: list[dict[str, Any]] = []
        cases = {name: results}
        if arguments.sbx and name in SAC and SAC[name][1] > 1:
            cases[f"{name}_last"] = last
        for each in cases:
            case(each, 0.1, threads)  # compiles
        for _ in range(arguments.repetitions):
            for each, measured in cases.items():
                measured.append(case(each, seconds, threads))
            for rival in rivals if name in SAC else ():
                label = f"{rival.name} ({rival.description})"
                rates.setdefault(label, []).append(rival.rate(*SAC[name], seconds, threads))
        if name in SAC:
            rows += sac_rows(name, results, last, rates)
        else:
            times = [statistics.median(r["seconds"]) for r in results]
            ideal = [r["gigaflops"] / r["matmul_rate"] for r in results]
            factor, unit = (1e6, "us") if name == "act_state" else (1.0, "s")
            label = f"{name}_us" if name == "act_state" else name
            control = "its products alone at the raw rate"
            rows.append(
                make_row(label, unit, [t * factor for t in times], control,
                         [t * factor for t in ideal])
            )  # fmt: skip
        rows.append(memory_row(name, results, floor))
        write(rows, arguments.output)
    return rows


def main() -> int:
    """Run the benchmark."""
    p = argparse.ArgumentParser(
        prog="make bench-learner BENCH_ARGS=...",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--only", action="append", choices=(*CASES, "compile"), help="may be repeated")
    p.add_argument("--threads", type=int, default=2, help="torch's and the rivals'")
    p.add_argument("--seconds", type=float, default=3.0, help="of each repetition [s]")
    p.add_argument("--repetitions", type=int, default=3)
    p.add_argument("--no-sb3", action="store_true", help="without Stable-Baselines3")
    p.add_argument("--sbx", action="store_true", help="with SBX, installed into build/bench-sbx")
    p.add_argument(
        "--baseline-cmd", metavar="CMD",
        help="prints critic updates/s on its last line; may hold {critics} {utd} {seconds}",
    )  # fmt: skip
    p.add_argument("--output", type=Path, default=Path("runs/bench/latest.json"))
    arguments = p.parse_args()
    names = [name for name in CASES if not arguments.only or name in arguments.only]
    rows = measure(names, rivals_asked_for(arguments), arguments)
    if not arguments.only or "compile" in arguments.only:
        print("measuring compile ...", flush=True)
        rows += compile_rows(arguments.threads)
        write(rows, arguments.output)
    print(f"\n{machine()}\n\n{table(rows)}\n\nwritten to {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
