"""Runs the C++ tests (built by `make cpp`), one pytest case for each."""

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BUILD = Path(os.environ.get("SERL_RT_CPP_BUILD", ROOT / "build" / "cpp"))


def cpp_tests(build: Path) -> list[str]:
    """Names of the tests that ctest knows in a build folder; empty when nothing is built."""
    if not (build / "CTestTestfile.cmake").exists():
        return []
    listing = subprocess.run(
        ["ctest", "--test-dir", str(build), "--show-only=json-v1"],
        capture_output=True,
        text=True,
        check=True,
    )
    return [test["name"] for test in json.loads(listing.stdout)["tests"]]


def run_cpp_test(build: Path, name: str, timeout_s: float = 300.0) -> None:
    """Run one test through ctest and show its output when it fails."""
    result = subprocess.run(
        [
            "ctest",
            "--test-dir",
            str(build),
            "-R",
            f"^{name}$",
            "--output-on-failure",
            "--no-tests=error",
        ],  # fmt: skip
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_cpp_tests_are_built() -> None:
    assert cpp_tests(BUILD), f"no C++ tests in {BUILD}: run 'make cpp' (make test does)"


@pytest.mark.parametrize("name", cpp_tests(BUILD))
def test_cpp(name: str) -> None:
    run_cpp_test(BUILD, name)
