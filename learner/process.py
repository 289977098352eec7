"""Settings of the learner's process: threads, memory, signals."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import threading
from collections.abc import Iterator
from types import FrameType

import torch

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # <malloc.h>
_KEEP_BYTES = 1 << 30
_GROW_BYTES = 1 << 26


def keep_freed_memory() -> None:
    """Let malloc reuse freed blocks instead of returning them to the kernel.

    Every tensor above 128 KiB would otherwise be mapped and page-faulted anew at each operation:
    updates take about 1.5 times as long. Does nothing where the C library is not glibc.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(_M_MMAP_MAX, 0)  # its threshold cannot be raised beyond 32 MiB
        mallopt(_M_TOP_PAD, _GROW_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)


def set_threads(count: int) -> None:
    """Use this many threads for torch's operations."""
    torch.set_num_threads(count)


@contextlib.contextmanager
def stop_on_signal() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C and SIGTERM set; a second one ends the process at once."""
    stop = threading.Event()
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = {kind: signal.getsignal(kind) for kind in kinds}

    def on_signal(number: int, _frame: FrameType | None) -> None:
        stop.set()
        for kind, handler in before.items():
            signal.signal(kind, handler)

    for kind in kinds:
        signal.signal(kind, on_signal)
    try:
        yield stop
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
