"""The C++ tests compiled with sanitizers, at the lowest priority while other tests run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Every test runs under ASan + UBSan; under TSan those in which threads meet.
BUILDS = {
    "address,undefined": "all",
    "thread": "threads",
}


class SanitizerBuilds:
    """Compiles the wanted builds one after the other, in a thread."""

    def __init__(self, sanitizers: Sequence[str]) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._ended = False
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._folders: dict[str, Future[Path]] = {
            sanitizer: self._pool.submit(self._build, sanitizer) for sanitizer in sanitizers
        }

    def folder(self, sanitizer: str) -> Path:
        """Wait for a build; raises AssertionError with the compiler's output where it fails."""
        return self._folders[sanitizer].result()

    def close(self) -> None:
        """End what still compiles."""
        with self._lock:
            self._ended = True
            if self._process is not None and self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGTERM)  # with its compilers
        self._pool.shutdown(cancel_futures=True)

    def _build(self, sanitizer: str) -> Path:
        folder = ROOT / "build" / f"sanitize-{sanitizer.split(',')[0]}"
        target = "serl_rt_cpp_tests" if BUILDS[sanitizer] == "all" else "serl_rt_thread_tests"
        self._run(
            "cmake", "-S", str(ROOT), "-B", str(folder), "-G", "Ninja",
            "-DSERL_RT_PYTHON=OFF", "-DSERL_RT_TESTS=ON", f"-DSERL_RT_SANITIZE={sanitizer}",
            f"-DPython_EXECUTABLE={sys.executable}",
        )  # fmt: skip
        jobs = str(os.cpu_count() or 1)
        self._run("cmake", "--build", str(folder), "--target", target, "-j", jobs)
        return folder

    def _run(self, *command: str) -> None:
        with self._lock:
            assert not self._ended
            self._process = subprocess.Popen(
                ["nice", "-n", "19", *command],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            )  # fmt: skip
        output, _ = self._process.communicate()
        assert self._process.returncode == 0, output[-16000:]
