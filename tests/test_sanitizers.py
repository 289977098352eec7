"""The C++ tests again under sanitizers: memory and undefined behaviour, then threads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Every test runs under ASan + UBSan; under TSan those in which threads meet.
BUILDS = {
    "address,undefined": "all",
    "thread": "threads",
}


def build(sanitizer: str, label: str) -> Path:
    """Configure and compile the tests with a sanitizer; returns the build folder."""
    folder = ROOT / "build" / f"sanitize-{sanitizer.split(',')[0]}"
    configure = [
        "cmake", "-S", str(ROOT), "-B", str(folder), "-G", "Ninja",
        "-DSERL_RT_PYTHON=OFF", "-DSERL_RT_TESTS=ON", f"-DSERL_RT_SANITIZE={sanitizer}",
        f"-DPython_EXECUTABLE={sys.executable}",
    ]  # fmt: skip
    target = "serl_rt_cpp_tests" if label == "all" else "serl_rt_thread_tests"
    for command in (
        configure,
        ["cmake", "--build", str(folder), "--target", target, "-j", str(os.cpu_count() or 1)],
    ):
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout[-8000:] + result.stderr[-8000:]
    return folder


@pytest.mark.sanitize
@pytest.mark.parametrize("sanitizer", BUILDS)
def test_cpp_tests_under_sanitizer(sanitizer: str) -> None:
    label = BUILDS[sanitizer]
    folder = build(sanitizer, label)
    environment = os.environ | {
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
        "TSAN_OPTIONS": f"halt_on_error=1:suppressions={ROOT / 'tests/cpp/tsan.supp'}",
    }
    command = ["ctest", "--test-dir", str(folder), "--output-on-failure", "--no-tests=error"]
    if label == "threads":
        command += ["-L", "threads"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=1200)
    assert result.returncode == 0, result.stdout[-20000:]
