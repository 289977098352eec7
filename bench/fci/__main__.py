"""`python -m bench.fci`: run the cases and write runs/fci/summary.json."""

import argparse
import json
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from bench.fci.case import Case, Context, Result, find_cases
from bench.rows import machine


def run(case: Case, context: Context) -> dict[str, Any]:
    """Run one case; an exception is a failure with its text."""
    context.folder.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    try:
        result = case(context)
    except Exception as error:  # the other cases still count
        traceback.print_exc()
        result = Result(False, {"error": f"{type(error).__name__}: {error}"})
    return {
        "passed": result.passed,
        "what": (case.__doc__ or "").strip(),
        "seconds": round(time.monotonic() - begin, 1),
        "measured": result.measured,
    }


def main() -> int:
    """Run the cases; the status is 0 when all have passed."""
    cases = find_cases()
    p = argparse.ArgumentParser(prog="make fci FCI_ARGS=...", description=__doc__)
    p.add_argument("--only", action="append", metavar="CASE", help=", ".join(cases))
    p.add_argument("--seconds", type=float, default=180.0, help="of each stress case [s]")
    p.add_argument("--driver", default="pylibfranka", help="pylibfranka, or franka (native)")
    p.add_argument("--output", type=Path, default=Path("runs/fci"), help="folder")
    arguments = p.parse_args()
    unknown = set(arguments.only or ()) - cases.keys()
    if unknown:
        p.error(f"--only: unknown {', '.join(sorted(unknown))}; cases are {', '.join(cases)}")
    summary: dict[str, Any] = {"machine": machine(), "driver": arguments.driver, "cases": {}}
    for name, case in cases.items():
        if arguments.only and name not in arguments.only:
            continue
        print(f"{name} ...", flush=True)
        context = Context(arguments.output / name, arguments.seconds, arguments.driver)
        outcome = run(case, context)
        print(f"  {'passed' if outcome['passed'] else 'FAILED'} {json.dumps(outcome['measured'])}")
        summary["cases"][name] = outcome
        arguments.output.mkdir(parents=True, exist_ok=True)
        text = json.dumps(summary, indent=2)
        (arguments.output / "summary.json").write_text(text + "\n")
    failed = [name for name, outcome in summary["cases"].items() if not outcome["passed"]]
    print(f"{len(summary['cases']) - len(failed)} passed, {len(failed)} failed {' '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
