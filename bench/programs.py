"""The C++ programs that benchmarks run: built by `make cpp`, found in build/cpp."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BUILD = Path(os.environ.get("SERL_RT_CPP_BUILD", ROOT / "build" / "cpp"))
CONTROLLER = BUILD / "controller/cpp/app/serl-rt-controller"


def program(name: str) -> Path:
    """Return a benchmark executable; ends the program with advice when it is not built."""
    path = BUILD / "tests/cpp" / name
    if not path.exists():
        sys.exit(f"{path} is missing: run 'make bench', which builds it")
    return path


def environment() -> dict[str, str]:
    """Return the environment in which C++ programs find ONNX Runtime."""
    from serl_rt.controller.control import onnxruntime_library

    return os.environ | {"SERL_RT_ONNXRUNTIME": str(onnxruntime_library() or "")}


def output_of(command: Sequence[str | Path], timeout_s: float = 600.0) -> str:
    """Run a program and return what it printed; ends the benchmark when it fails."""
    result = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=environment(),
    )
    if result.returncode != 0:
        sys.exit(f"{command[0]} failed with {result.returncode}:\n{result.stdout}{result.stderr}")
    return result.stdout


def run_controller(summary: Path, *options: str, timeout_s: float = 600.0) -> dict[str, Any]:
    """Run the native controller without sockets and return its summary."""
    output_of(
        [CONTROLLER, "--state", "none", "--commands", "none", "--quiet",
         "--policies", summary.with_suffix(".policies"), "--summary", summary, *options],
        timeout_s,
    )  # fmt: skip
    result: dict[str, Any] = json.loads(summary.read_text())
    return result
