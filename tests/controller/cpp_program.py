"""The programs of tests/cpp that Python tests run."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("SERL_RT_CPP_BUILD", ROOT / "build" / "cpp"))
PROGRAMS = BUILD / "tests" / "cpp"


def program(name: str) -> str:
    path = PROGRAMS / name
    assert path.exists(), f"{path} is missing: run 'make cpp' (make test does)"
    return str(path)
