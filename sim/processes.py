"""Child processes of the demo: started in a group of their own, ended cleanly, with a log."""

import ctypes
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType


class ProcessFailed(RuntimeError):
    """A child ended with an error; the message shows the end of its log."""


class Process:
    """A child process; use it as a context manager."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start `command`; standard output and error go to `log`."""
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                # Ctrl-C reaches only the parent, which ends its children in the right order.
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )

    def running(self) -> bool:
        """Return whether it still runs; raises ProcessFailed if it ended with an error."""
        status = self._process.poll()
        if status not in (None, 0):
            raise ProcessFailed(f"{self.name} ended with status {status}:\n{self.tail()}")
        return status is None

    def wait(self, timeout_s: float, accept: Sequence[int] = (0,)) -> None:
        """Wait for the end; raises ProcessFailed on another status or when it takes too long."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise ProcessFailed(
                f"{self.name} did not end within {timeout_s:.0f} s:\n{self.tail()}"
            ) from None
        if self._process.returncode not in accept:
            self.running()

    def interrupt(self) -> None:
        """Ask it to end, as Ctrl-C does."""
        self.send_signal(signal.SIGINT)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self._process.poll() is None:
            self._process.send_signal(number)

    def tail(self, lines: int = 20) -> str:
        """Return the last lines that it printed."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def __enter__(self) -> "Process":
        """Return the process, which is running already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it: first politely, then not."""
        self.interrupt()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            pass
        finally:  # also when a second Ctrl-C ends the waiting
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()


def _end_with_parent() -> None:
    """Have the kernel send SIGTERM to this (child) process when its parent dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


_PR_SET_PDEATHSIG = 1  # <sys/prctl.h>


def serl_rt(*arguments: str) -> list[str]:
    """Return the command line of a `serl-rt` subcommand, run by this interpreter."""
    return [sys.executable, "-m", "serl_rt.cli", *arguments]


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
