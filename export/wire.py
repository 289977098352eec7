"""Messages to ZeroMQ frames and back: `[msgpack map][raw little-endian array]...`.

Encoding is deterministic: the same message gives the same bytes, in Python and in C++. Decoding
checks every size before anything is allocated and raises WireError, nothing else.
"""

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar

import numpy as np

from serl_rt.export.columns import (
    DTYPES,
    MAX_BODY_BYTES,
    MAX_COLUMNS,
    MAX_COUNT,
    STARTS,
    Array,
    Column,
    item_bytes,
    rows_of,
)
from serl_rt.export.messages import (
    Ack,
    ControllerMessage,
    Heartbeat,
    Hello,
    HelloRequired,
    LearnerMessage,
    Policy,
    PolicyOffer,
    PolicyRequest,
    PolicyResult,
    Refused,
    Transitions,
    Welcome,
)
from serl_rt.export.operator_messages import (
    STATE_ARRAYS,
    STATE_TOPIC,
    Command,
    OperatorMessage,
    Reply,
    StateSample,
    StreamTarget,
)
from serl_rt.export.wire_header import (
    Buffer,
    Message,
    WireError,
    check_integer,
    check_name,
    pack_header,
    shown,
    unpack_header,
)

AnyMessage: TypeAlias = ControllerMessage | LearnerMessage | OperatorMessage
M = TypeVar("M", bound=Message)
_check_count = check_integer(1, MAX_COUNT)
_check_size = check_integer(1, 65536)
_FROM_CONTROLLER: tuple[type[Hello | PolicyRequest | PolicyResult | Heartbeat], ...] = (
    Hello,
    PolicyRequest,
    PolicyResult,
    Heartbeat,
)
_FROM_LEARNER: tuple[type[Welcome | Ack | PolicyOffer | HelloRequired | Refused], ...] = (
    Welcome,
    Ack,
    PolicyOffer,
    HelloRequired,
    Refused,
)


def encode(message: AnyMessage) -> list[Buffer]:
    """Return the frames of a message; arrays are views, not copies. Raises WireError."""
    topic: list[Buffer] = [STATE_TOPIC] if isinstance(message, StateSample) else []
    return [*topic, pack_header(message), *message.arrays()]


def decode_controller_message(frames: Sequence[Buffer]) -> ControllerMessage:
    """Decode what a learner receives. Raises WireError."""
    kind, header = _open(frames)
    if kind == Transitions.type:
        return _transitions(header, frames[1:])
    return _header_only(kind, header, frames, _FROM_CONTROLLER)


def decode_learner_message(frames: Sequence[Buffer]) -> LearnerMessage:
    """Decode what a controller receives from the learner. Raises WireError."""
    kind, header = _open(frames)
    if kind == Policy.type:
        _expect_frames(kind, frames, 2)
        return Policy(**Policy.header_values(header), data=frames[1])
    return _header_only(kind, header, frames, _FROM_LEARNER)


def decode_command(frames: Sequence[Buffer]) -> Command:
    """Decode what the controller's command socket receives. Raises WireError."""
    return _header_only(*_open(frames), frames, (Command,))


def decode_stream_target(frames: Sequence[Buffer]) -> StreamTarget:
    """Decode a streamed target. Raises WireError."""
    return _header_only(*_open(frames), frames, (StreamTarget,))


def decode_reply(frames: Sequence[Buffer]) -> Reply:
    """Decode an answer of the controller's command socket. Raises WireError."""
    return _header_only(*_open(frames), frames, (Reply,))


def decode_state(frames: Sequence[Buffer]) -> StateSample:
    """Decode a message of the controller's state socket. Raises WireError."""
    if not frames or len(frames[0]) > len(STATE_TOPIC) or bytes(frames[0]) != STATE_TOPIC:
        raise WireError(f"a state message starts with the frame {STATE_TOPIC!r}")
    kind, header = _open(frames[1:])
    if kind != StateSample.type:
        raise WireError(f"unexpected message type {shown(kind)}; expected state")
    _expect_frames(kind, frames[1:], 1 + len(STATE_ARRAYS))
    arrays = {
        name: _array(Column(name, "f8", ()), length, frame)
        for (name, length), frame in zip(STATE_ARRAYS.items(), frames[2:], strict=True)
    }
    return StateSample(**(StateSample.header_values(header) | arrays))


def _open(frames: Sequence[Buffer]) -> tuple[str, dict[str, Any]]:
    if not frames:
        raise WireError("an empty message")
    return unpack_header(frames[0])


def _expect_frames(kind: str, frames: Sequence[Buffer], count: int) -> None:
    if len(frames) != count:
        raise WireError(f"{kind} has {len(frames)} frames; expected {count}")


def _header_only(
    kind: str, header: dict[str, Any], frames: Sequence[Buffer], accepted: tuple[type[M], ...]
) -> M:
    for cls in accepted:
        if cls.type == kind:
            _expect_frames(kind, frames, 1)
            return cls(**cls.header_values(header))
    names = ", ".join(cls.type for cls in accepted)
    raise WireError(f"unexpected message type {shown(kind)}; expected one of {names}")


def _transitions(header: dict[str, Any], frames: Sequence[Buffer]) -> Transitions:
    values = Transitions.header_values(header)
    count = _check_count("transitions.count", header.get("count"))
    layout = _layout(header.get("columns"))
    _expect_frames("transitions without its header", frames, len(layout))
    starts = next(
        (
            _array(column, count, frame)
            for column, frame in zip(layout, frames, strict=True)
            if column.name == STARTS
        ),
        None,
    )
    columns = {
        column.name: _array(column, rows_of(column, count, starts), frame)
        for column, frame in zip(layout, frames, strict=True)
    }
    return Transitions(**values, columns=MappingProxyType(columns))


def _layout(value: Any) -> list[Column]:
    """Check the list of [name, dtype, shape]."""
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_COLUMNS:
        raise WireError(f"columns is {shown(value)}; expected 1 to {MAX_COLUMNS} entries")
    columns: dict[str, Column] = {}
    for entry in value:
        if not isinstance(entry, list) or len(entry) != 3:
            raise WireError(f"the column {shown(entry)} is not [name, dtype, shape]")
        name, dtype, shape = entry
        check_name("column name", name)
        if name in columns:
            raise WireError(f"column {name} occurs twice")
        if not isinstance(dtype, str) or dtype not in DTYPES:
            allowed = ", ".join(DTYPES)
            raise WireError(f"column {name} has dtype {shown(dtype)}; expected one of {allowed}")
        if not isinstance(shape, list) or len(shape) > 4:
            raise WireError(f"column {name} has shape {shown(shape)}; expected up to 4 sizes")
        sizes = tuple(_check_size(f"a size of column {name}", size) for size in shape)
        columns[name] = Column(name, dtype, sizes)
    return list(columns.values())


def _array(column: Column, count: int, frame: Buffer) -> Array:
    """View a frame as a read-only array; copies only when its memory is not aligned."""
    expected = count * item_bytes(column)
    if len(frame) != expected or expected > MAX_BODY_BYTES:
        raise WireError(
            f"{column.name} has {len(frame)} bytes; {count} times {column.dtype}"
            f"{list(column.shape)} takes {expected}, and {MAX_BODY_BYTES} are allowed"
        )
    array: Array = np.frombuffer(frame, DTYPES[column.dtype]).reshape(count, *column.shape)
    if not array.flags.aligned:
        array = array.copy()
    array.flags.writeable = False
    return array
