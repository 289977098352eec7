"""The C++ programs that Python tests run."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("SERL_RT_CPP_BUILD", ROOT / "build" / "cpp"))
CONTROLLER = str(BUILD / "controller/cpp/app/serl-rt-controller")


def program(name: str) -> str:
    """Return the path of a program of tests/cpp."""
    path = BUILD / "tests" / "cpp" / name
    assert path.exists(), f"{path} is missing: run 'make cpp' (make test does)"
    return str(path)
