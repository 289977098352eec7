"""Recordings of the flight recorder: every tick of the controller's last minutes, from MCAP files.

The files name and describe their own fields (ROS 2 message definitions, CDR), so Foxglove,
PlotJuggler and the `mcap` tools read them, too. A file whose controller was killed ends early and
is read up to there.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serl_rt.export.toml_config import ConfigError

TICK_TOPIC = "/tick"
FAULT_TOPIC = "/fault"
CDR_HEADER = 4
"""Bytes before the first field of a message."""

NUMPY_TYPES = {
    "int64": "<i8", "uint64": "<u8", "float64": "<f8", "uint32": "<u4", "uint8": "u1",
}  # fmt: skip
CONSTANT = re.compile(r"^\w+\s+(\w+)=(\d+)$")
FIELD = re.compile(r"^(\w+?)(?:\[(\d+)\])?\s+(\w+)$")


class RecordingError(ConfigError):
    """A file is not a recording, or cannot be read."""


@dataclass(frozen=True)
class RecordedFault:
    """A fault that was counted while the recording ran."""

    time_s: float
    """When the recorder saw it, from the first tick of the file on [s]."""
    name: str
    count: int
    """How often it had happened since the program started."""
    value: float
    """Of the last occurrence, in the fault's unit."""
    limit: float


@dataclass(frozen=True)
class Recording:
    """What a file holds."""

    about: dict[str, str]
    """What the controller says about itself and why it recorded: cause, task, task_file, ..."""
    ticks: NDArray[np.void]
    """(n,) one record for each tick, with the fields of the message definition: q, dq, ..."""
    modes: dict[int, str]
    """The meaning of `mode`."""
    fault_bits: dict[int, str]
    """The meaning of the bits of `faults`."""
    faults: list[RecordedFault]
    complete: bool
    """False: the controller was killed while it wrote."""

    @property
    def time_s(self) -> NDArray[np.float64]:
        """(n,) time of each tick from the first one on, by the controller's steady clock [s]."""
        ns = self.ticks["monotonic_ns"]
        seconds: NDArray[np.float64] = (ns - ns[0]) * 1e-9
        return seconds


def load_recording(path: Path) -> Recording:
    """Read a recording. Raises RecordingError, and ModuleNotFoundError without the package mcap."""
    from mcap.exceptions import McapError
    from mcap.records import Channel, Message, Metadata, Schema

    about: dict[str, str] = {}
    schemas: dict[int, str] = {}
    topics: dict[int, tuple[str, int]] = {}
    messages: dict[str, list[bytes]] = {TICK_TOPIC: [], FAULT_TOPIC: []}
    complete = False
    try:
        for record in _records(path):
            if isinstance(record, Schema):
                schemas[record.id] = record.data.decode()
            elif isinstance(record, Channel):
                topics[record.id] = (record.topic, record.schema_id)
            elif isinstance(record, Metadata):
                about.update(record.metadata)
            elif isinstance(record, Message):
                messages[topics[record.channel_id][0]].append(record.data)
            elif record is None:
                complete = True
        definitions = {topic: schemas[schema] for topic, schema in topics.values()}
        dtype = tick_dtype(definitions[TICK_TOPIC])
        size = CDR_HEADER + dtype.itemsize
        if any(len(message) != size for message in messages[TICK_TOPIC]):
            raise RecordingError(f"{path}: a tick does not have the {size} bytes it should have")
    except (McapError, KeyError, ValueError, OSError) as error:
        if isinstance(error, RecordingError):
            raise
        raise RecordingError(f"{path}: not a recording of the controller: {error}") from error
    if not messages[TICK_TOPIC]:
        raise RecordingError(f"{path}: holds no ticks")
    ticks = np.frombuffer(b"".join(m[CDR_HEADER:] for m in messages[TICK_TOPIC]), dtype=dtype)
    constants = _constants(definitions[TICK_TOPIC])
    begin = int(ticks["monotonic_ns"][0])
    return Recording(
        about=about,
        ticks=ticks,
        modes={v: k[5:].lower() for k, v in constants.items() if k.startswith("MODE_")},
        fault_bits={v: k[6:].lower() for k, v in constants.items() if k.startswith("FAULT_")},
        faults=[_fault(message, begin) for message in messages[FAULT_TOPIC]],
        complete=complete,
    )


def tick_dtype(definition: str) -> np.dtype[np.void]:
    """Return the memory layout of a message of fixed size, from its ROS 2 definition.

    CDR places each number at a multiple of its size, counted from the end of the header. Raises
    ValueError for a type of variable size.
    """
    names: list[str] = []
    formats: list[Any] = []
    offsets: list[int] = []
    end = 0
    for line in _lines(definition):
        if CONSTANT.match(line):
            continue
        match = FIELD.match(line)
        if match is None or match[1] not in NUMPY_TYPES:
            raise ValueError(f"the field '{line}' is not a number or numbers of a fixed count")
        kind = np.dtype(NUMPY_TYPES[match[1]])
        count = int(match[2]) if match[2] else 0
        begin = -(-end // kind.itemsize) * kind.itemsize
        names.append(match[3])
        formats.append((kind, (count,)) if count else kind)
        offsets.append(begin)
        end = begin + kind.itemsize * max(count, 1)
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": end})


def _records(path: Path) -> Iterator[Any]:
    """Yield the file's records in order, and None at the end of a complete file."""
    from mcap.exceptions import EndOfFile
    from mcap.stream_reader import StreamReader

    with path.open("rb") as file:
        try:
            yield from StreamReader(file, validate_crcs=True).records
        except EndOfFile:
            if file.tell() < 8:  # not even the magic bytes
                raise
            return
        yield None


def _lines(definition: str) -> list[str]:
    lines = (line.split("#")[0].strip() for line in definition.splitlines())
    return [line for line in lines if line]


def _constants(definition: str) -> dict[str, int]:
    found = (CONSTANT.match(line) for line in _lines(definition))
    return {match[1]: int(match[2]) for match in found if match}


def _fault(message: bytes, begin_ns: int) -> RecordedFault:
    fixed = np.dtype([("ns", "<i8"), ("count", "<u8"), ("value", "<f8"), ("limit", "<f8")])
    values = np.frombuffer(message, fixed, count=1, offset=CDR_HEADER)[0]
    name = message[CDR_HEADER + fixed.itemsize + 4 : -1].decode()
    return RecordedFault(
        time_s=(int(values["ns"]) - begin_ns) * 1e-9,
        name=name,
        count=int(values["count"]),
        value=float(values["value"]),
        limit=float(values["limit"]),
    )
