"""Writing files of megabytes on a machine where a control thread runs."""

from __future__ import annotations

import contextlib
import ctypes
import io
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

PIECE = 64 * 1024
"""Most that is given to the kernel in one call [bytes]."""
_WAITING = 1024 * 1024
_WAIT_BEFORE, _WRITE, _WAIT_AFTER = 1, 2, 4  # <fcntl.h>: SYNC_FILE_RANGE_*


class _PiecewiseFile(io.FileIO):
    """A new file that takes at most 64 KiB in one call, and sees to it that the disk keeps up."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "wb")
        self._waiting = 0

    def write(self, data: ReadableBuffer, /) -> int:
        """Write the beginning of the data and return how much that was [bytes]."""
        written = super().write(memoryview(data).cast("B")[:PIECE])
        self._waiting += written
        if self._waiting >= _WAITING:
            self._waiting = 0
            _write_back(self.fileno())
        return written


def open_piecewise(path: Path) -> io.BufferedWriter:
    """Create a file, or empty it, that gives the kernel small pieces whatever is written to it.

    Recent kernels keep what comes in one call as one piece (a large folio) and copy, write back and
    free it without a pause: for megabytes that takes milliseconds, in which an ordinary kernel lets
    no other thread run on that core, not even a controller's. What the disk has taken is concluded
    without a pause, too, so never more than a megabyte waits for it.
    """
    return io.BufferedWriter(_PiecewiseFile(path))


def _write_back(descriptor: int) -> None:
    """Wait until the disk has what was written; where that cannot be done, a sync does it later."""
    with contextlib.suppress(OSError, AttributeError):
        start = ctypes.CDLL(None).sync_file_range
        start.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
        start(descriptor, 0, 0, _WAIT_BEFORE | _WRITE | _WAIT_AFTER)
