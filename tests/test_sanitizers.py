"""The C++ tests again under sanitizers: memory and undefined behaviour, then threads."""

import os
import subprocess

import pytest

from tests.sanitizer_builds import BUILDS, ROOT, SanitizerBuilds


@pytest.mark.sanitize
@pytest.mark.parametrize("sanitizer", BUILDS)
def test_cpp_tests_under_sanitizer(sanitizer: str, sanitizer_builds: SanitizerBuilds) -> None:
    environment = os.environ | {
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
        "TSAN_OPTIONS": f"halt_on_error=1:suppressions={ROOT / 'tests/cpp/tsan.supp'}",
    }
    folder = str(sanitizer_builds.folder(sanitizer))
    command = ["ctest", "--test-dir", folder, "--output-on-failure", "--no-tests=error"]
    if BUILDS[sanitizer] == "threads":
        command += ["-L", "threads"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=1200)
    assert result.returncode == 0, result.stdout[-20000:]
