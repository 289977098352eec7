"""The append-only log of accepted transitions: what a killed learner reads again.

A folder of segments `transitions-000000.log`, ... Each starts with an 8-byte mark and then holds
records, `[u32 length][u32 CRC-32][payload]`, little-endian. A payload is a block of frames (see
`frames.py`): in a segment's first record one frame, a msgpack map that says whose log it is; in
every other the frames of one wire message.

A message is in the file (write() has returned) before append() returns, so killing the process
loses nothing; `sync_every` bounds what a power cut can lose.
"""

import fcntl
import logging
import os
import secrets
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgpack

from serl_rt.export.columns import MAX_BODY_BYTES
from serl_rt.export.messages import Transitions
from serl_rt.export.piecewise import PIECE
from serl_rt.export.wire import decode_controller_message, encode
from serl_rt.export.wire_header import MAX_HEADER_BYTES, WireError, unpack_header
from serl_rt.learner.data.frames import pack_frames, unpack_frames

log = logging.getLogger(__name__)

FORMAT = 1
_MARK = b"SERLRT" + struct.pack("<H", FORMAT)
_RECORD = struct.Struct("<II")
_MAX_RECORD = MAX_BODY_BYTES + MAX_HEADER_BYTES + 4096


class TransitionLogError(RuntimeError):
    """The log cannot be used; says which file, what is wrong and what to do."""


class TransitionLog:
    """The log of one run folder. One process at a time may have it open; not thread safe."""

    def __init__(
        self,
        folder: Path,
        contract_id: str,
        *,
        segment_bytes: int = 1 << 30,
        sync_every: float | None = 1.0,
    ) -> None:
        """Open or create the log, and drop what an interrupted write left at its end.

        `sync_every`: seconds between forced writes to the disk; None leaves it to the system.
        Raises TransitionLogError: another contract, another process, a damaged file.
        """
        self.folder = folder
        self.contract_id = contract_id
        self.learner_id = secrets.token_hex(16)
        """32 hex digits, made when the log was created."""
        self.count = 0
        """Transitions in the log, over all runs."""
        self.dropped_bytes = 0
        """What was cut off at the end when the log was opened."""
        self._segment_bytes = segment_bytes
        self._sync_every = sync_every
        self._synced_at = time.monotonic()
        self._next_seq: dict[str, int] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(folder)
        try:
            self._fd, self._size = self._recover()
        except BaseException:
            os.close(self._lock)
            raise

    def next_seq(self, run_id: str) -> int | None:
        """Return the number after the run's last transition; None for an unknown run."""
        return self._next_seq.get(run_id)

    def append(self, message: Transitions) -> None:
        """Write one message. Raises OSError (disk full) and then leaves the log as it was.

        Raises ValueError when the run's transitions up to `next_seq` are already here.
        """
        expected = self._next_seq.get(message.run_id, 0)
        if message.first_seq < expected:
            raise ValueError(f"transition {message.first_seq} is already in the log ({expected})")
        if self._size >= self._segment_bytes:
            self._start_segment(len(self._segments()))
        self._write(pack_frames(encode(message)))
        self._note(message.run_id, message.next_seq, message.count)
        self._sync_when_due()

    def __iter__(self) -> Iterator[Transitions]:
        """Yield every message that is in the log now, oldest first."""
        for path in self._segments():
            with path.open("rb") as stream:
                stream.seek(len(_MARK))
                payloads = (payload for _, payload in _records(path, stream))
                next(payloads)  # whose log it is
                for payload in payloads:
                    message = decode_controller_message(unpack_frames(payload))
                    assert isinstance(message, Transitions)  # _recover() has seen it
                    yield message

    def sync(self) -> None:
        """Force everything to the disk."""
        os.fdatasync(self._fd)
        self._synced_at = time.monotonic()

    def close(self) -> None:
        """Force everything to the disk and let another process open the log."""
        self.sync()
        os.close(self._fd)
        os.close(self._lock)

    def __enter__(self) -> "TransitionLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- opening ---------------------------------------------------------------------------------

    def _recover(self) -> tuple[int, int]:
        """Read all segments and return the last one's descriptor and length."""
        segments = self._segments()
        for number, path in enumerate(segments):
            end = self._read_segment(path, last=number == len(segments) - 1)
            if end == 0:  # killed while it was created
                path.unlink()
        segments = self._segments()
        if not segments:
            self._size = 0
            self._fd = -1
            self._start_segment(0)
            return self._fd, self._size
        fd = os.open(segments[-1], os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        return fd, os.fstat(fd).st_size

    def _read_segment(self, path: Path, *, last: bool) -> int:
        """Note what a segment holds; return where its good part ends, and cut it off there."""
        size = path.stat().st_size
        with path.open("rb") as stream:
            mark = stream.read(len(_MARK))
            end = 0
            try:
                if len(mark) < len(_MARK) and last:
                    raise _Incomplete
                if mark != _MARK:
                    raise TransitionLogError(
                        f"{path} is not a transition log of format {FORMAT}; move it away"
                    )
                for offset, payload in _records(path, stream):
                    if end == 0:
                        self._check_owner(path, payload)
                    else:
                        self._note_payload(path, offset, payload)
                    end = stream.tell()
                if end == 0:
                    raise _Incomplete
            except _Incomplete:
                if not last:
                    raise TransitionLogError(
                        f"{path} ends in the middle of a record although a later file exists; "
                        f"restore it from a copy, or move it and the later ones away"
                    ) from None
        if end < size:
            log.warning("%s: dropped %d bytes of an interrupted write", path, size - end)
            self.dropped_bytes += size - end
            os.truncate(path, end)
        return end

    def _check_owner(self, path: Path, payload: bytes) -> None:
        owner: dict[str, Any] = msgpack.unpackb(unpack_frames(payload)[0])
        if owner.get("contract_id") != self.contract_id:
            raise TransitionLogError(
                f"{path} belongs to contract {owner.get('contract_id')}, this run has "
                f"{self.contract_id}; use another run folder"
            )
        self.learner_id = str(owner.get("learner_id"))

    def _note_payload(self, path: Path, offset: int, payload: bytes) -> None:
        try:
            _, header = unpack_header(unpack_frames(payload)[0])
            run_id, first, count = header["run_id"], header["first_seq"], header["count"]
        except (WireError, KeyError, struct.error) as error:
            raise TransitionLogError(
                f"{path}: the record at byte {offset} is no message: {error}"
            ) from None
        self._note(run_id, first + count, count)

    def _note(self, run_id: str, next_seq: int, count: int) -> None:
        self._next_seq[run_id] = next_seq
        self.count += count

    def _segments(self) -> list[Path]:
        return sorted(self.folder.glob("transitions-??????.log"))

    # ---- writing ---------------------------------------------------------------------------------

    def _start_segment(self, number: int) -> None:
        if self._fd >= 0:
            self.sync()
            os.close(self._fd)
        path = self.folder / f"transitions-{number:06d}.log"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o644)
        self._size = 0
        owner = {"contract_id": self.contract_id, "learner_id": self.learner_id}
        self._write(pack_frames([msgpack.packb(owner)]), prefix=_MARK)
        _sync_folder(self.folder)

    def _write(self, payload: bytes, prefix: bytes = b"") -> None:
        data = memoryview(prefix + _RECORD.pack(len(payload), zlib.crc32(payload)) + payload)
        written = 0
        try:
            while written < len(data):
                written += os.write(self._fd, data[written : written + PIECE])
        except OSError:
            os.ftruncate(self._fd, self._size)
            raise
        self._size += written

    def _sync_when_due(self) -> None:
        due = self._sync_every is not None and (
            time.monotonic() - self._synced_at >= self._sync_every
        )
        if due:
            self.sync()


class _Incomplete(Exception):
    """A file ends before its last record does."""


def _records(path: Path, stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, payload). Raises _Incomplete at a torn end, TransitionLogError at damage."""
    size = os.fstat(stream.fileno()).st_size
    while (offset := stream.tell()) < size:
        head = stream.read(_RECORD.size)
        if len(head) < _RECORD.size:
            raise _Incomplete
        length, crc = _RECORD.unpack(head)
        end = offset + _RECORD.size + length
        if end > size and size - offset <= _MAX_RECORD:
            raise _Incomplete
        payload = stream.read(length) if 0 < length <= _MAX_RECORD else b""
        if not payload or zlib.crc32(payload) != crc:
            if end == size or _only_zeros(stream, offset):
                raise _Incomplete  # a power cut: the length was written, the data was not
            raise TransitionLogError(
                f"{path} is damaged at byte {offset} of {size}; restore it from a copy, or cut it "
                f"there (truncate -s {offset}) and lose what follows"
            )
        yield offset, payload


def _only_zeros(stream: BinaryIO, offset: int) -> bool:
    stream.seek(offset)
    return all(not any(chunk) for chunk in iter(lambda: stream.read(1 << 20), b""))


def _lock(folder: Path) -> int:
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise TransitionLogError(
            f"{folder} is in use by another learner; stop it or use another run folder"
        ) from None
    return fd


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
