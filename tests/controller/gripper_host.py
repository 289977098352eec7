"""The C++ gripper in a process of its own, for the tests of its drivers."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cpp_program import program

Status = dict[str, Any]


class Client:
    """Gives commands and reads the status, a line each."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, line: str) -> Status:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return answer if isinstance(answer, dict) else {}

    def until(self, condition: Callable[[Status], bool], seconds: float = 20.0) -> Status:
        """The first status that meets the condition."""
        end = time.monotonic() + seconds
        while not condition(status := self("status")):
            assert time.monotonic() < end, status
            time.sleep(0.01)
        return status

    def done(self, line: str) -> Status:
        """Give a command and wait for its end."""
        number = self(line)["number"]
        return self.until(lambda s: bool(s["done"] >= number))


@contextmanager
def gripper(kind: str, address: str, *options: str) -> Iterator[Client]:
    process = subprocess.Popen(
        [program("gripper_host"), kind, address, *options],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        yield Client(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
