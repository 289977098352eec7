"""The wire format: golden bytes, round trips, hostile input."""

import contextlib
import random
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import make_messages
import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serl_rt.export import messages as m
from serl_rt.export import wire
from serl_rt.export.columns import DTYPES, STARTS, Column, dtype_name
from serl_rt.export.operator_messages import Command, Reply, StateSample
from serl_rt.export.wire_header import MAX_HEADER_BYTES, MAX_ITEMS, MAX_TEXT, WireError

GOLDEN = Path(__file__).parents[1] / "golden/wire"
DECODERS: list[Callable[[Sequence[bytes]], Any]] = [
    wire.decode_controller_message,
    wire.decode_learner_message,
    wire.decode_command,
    wire.decode_reply,
    wire.decode_state,
]


MESSAGES: dict[str, wire.AnyMessage] = make_messages.messages()


def read_frames(name: str) -> list[bytes]:
    data = (GOLDEN / f"{name}.bin").read_bytes()
    frames = []
    while data:
        (size,) = struct.unpack_from("<I", data)
        frames.append(data[4 : 4 + size])
        data = data[4 + size :]
    return frames


def decode(name: str, frames: Sequence[bytes]) -> wire.AnyMessage:
    message: wire.AnyMessage
    if isinstance(MESSAGES[name], m.ControllerMessage):
        message = wire.decode_controller_message(frames)
    elif isinstance(MESSAGES[name], m.LearnerMessage):
        message = wire.decode_learner_message(frames)
    elif name == "command":
        message = wire.decode_command(frames)
    elif name == "target":
        message = wire.decode_stream_target(frames)
    elif name == "reply":
        message = wire.decode_reply(frames)
    else:
        message = wire.decode_state(frames)
    return message


def same(a: wire.AnyMessage, b: wire.AnyMessage) -> bool:
    return type(a) is type(b) and [bytes(f) for f in wire.encode(a)] == [
        bytes(f) for f in wire.encode(b)
    ]


def test_golden_files_are_those_of_the_messages() -> None:
    assert {path.stem for path in GOLDEN.glob("*.bin")} == set(MESSAGES)


@pytest.mark.parametrize("name", MESSAGES)
def test_golden_bytes_are_written(name: str) -> None:
    assert [bytes(frame) for frame in wire.encode(MESSAGES[name])] == read_frames(name)


@pytest.mark.parametrize("name", MESSAGES)
def test_golden_bytes_are_read(name: str) -> None:
    message = decode(name, read_frames(name))
    if isinstance(message, m.Transitions):
        expected = MESSAGES[name]
        assert isinstance(expected, m.Transitions)
        assert message.layout == expected.layout
        assert message.first_seq == expected.first_seq
        for column, array in message.columns.items():
            np.testing.assert_array_equal(array, expected.columns[column])
            assert not array.flags.writeable
    elif isinstance(message, StateSample):
        expected_state = MESSAGES[name]
        assert isinstance(expected_state, StateSample)
        assert message.status == expected_state.status
        np.testing.assert_array_equal(message.tcp_pose, expected_state.tcp_pose)
    assert same(message, MESSAGES[name])


# ---- round trips ---------------------------------------------------------------------------------

hex32 = st.text("0123456789abcdef", min_size=32, max_size=32)
hex64 = st.text("0123456789abcdef", min_size=64, max_size=64)
u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
names = st.from_regex(r"[A-Za-z0-9_./-]{1,20}", fullmatch=True)
texts = st.text(max_size=30)
values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
maps = st.dictionaries(texts, values, max_size=4)


@st.composite
def transition_messages(draw: st.DrawFn) -> m.Transitions:
    count = draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    columns = {}
    for name in draw(st.lists(names, min_size=1, max_size=6, unique=True)):
        dtype = DTYPES[draw(st.sampled_from(sorted(DTYPES)))]
        shape = (count, *draw(st.lists(st.integers(1, 4), max_size=3)))
        columns[name] = (rng.random(shape) * 250).astype(dtype)
    starts = (rng.random(count) < 0.5).astype(np.uint8)
    if draw(st.booleans()):
        shape = draw(st.lists(st.integers(1, 4), min_size=3, max_size=3))
        frames = rng.integers(0, 256, (int(starts.sum()), *shape), np.uint8)
        columns |= {STARTS: starts, "observation/seen": frames}
    else:
        columns = {  # images under observation/ need `starts`
            name: array
            for name, array in columns.items()
            if not Column(name, dtype_name(array.dtype), ()).sparse
        } | {STARTS: starts}
    return m.Transitions(draw(hex32), draw(st.integers(0, 2**60)), columns)


@st.composite
def policies(draw: st.DrawFn) -> m.Policy:
    data = draw(st.binary(min_size=1, max_size=50))
    trunk = data[: draw(st.integers(0, len(data) - 1))]
    size, sha256 = len(data), draw(hex64)
    if not trunk:
        return m.Policy(draw(u64), size, sha256, data)
    sent = data[len(trunk) :] if draw(st.booleans()) else data
    return m.Policy(draw(u64), size, sha256, sent, len(trunk), draw(hex64))


sizes = st.integers(1, 256 * 1024 * 1024)
any_message = st.one_of(
    st.builds(m.Hello, u32, hex32, hex64, names, st.sampled_from(["lockstep", "realtime"]), u64),
    transition_messages(),
    st.builds(m.PolicyRequest, u64),
    st.builds(m.PolicyRequest, u64, hex64),
    st.builds(
        m.PolicyResult, u64, st.booleans(), texts, st.floats(allow_nan=False, allow_infinity=False)
    ),
    st.builds(m.Heartbeat, hex32),
    st.builds(m.Welcome, u32, hex32, hex32, u64, u64),
    st.builds(m.Ack, hex32, u64, u64, st.booleans()),
    st.builds(m.PolicyOffer, u64, sizes, hex64, hex64),
    policies(),
    st.builds(m.HelloRequired),
    st.builds(m.Refused, texts),
    st.builds(Command, u64, names, maps),
    st.builds(Reply, u64, st.booleans(), texts, values),
)


@given(any_message)
def test_decoding_inverts_encoding(message: wire.AnyMessage) -> None:
    frames = [bytes(frame) for frame in wire.encode(message)]
    assert same(decode(message.type, frames), message)


@given(transition_messages(), st.data())
def test_tail_is_what_is_left(message: m.Transitions, data: st.DataObject) -> None:
    skip = data.draw(st.integers(0, message.count - 1))
    tail = message.tail(skip)
    assert tail.next_seq == message.next_seq
    assert tail.count == message.count - skip
    for column, (name, array) in zip(message.layout, message.columns.items(), strict=True):
        gone = int(message.columns[STARTS][:skip].sum()) if column.sparse else skip
        np.testing.assert_array_equal(tail.columns[name], array[gone:])


def test_views_are_not_copied() -> None:
    message = MESSAGES["transitions"]
    frames = [bytes(frame) for frame in wire.encode(message)]
    decoded = wire.decode_controller_message(frames)
    assert isinstance(decoded, m.Transitions)
    for frame, array in zip(frames[1:], decoded.columns.values(), strict=True):
        assert np.shares_memory(array, np.frombuffer(frame, np.uint8))


def test_unaligned_memory_gives_aligned_arrays() -> None:
    message = MESSAGES["transitions"]
    assert isinstance(message, m.Transitions)
    frames = [memoryview(b"x" + bytes(frame))[1:] for frame in wire.encode(message)]
    decoded = wire.decode_controller_message(frames)
    assert isinstance(decoded, m.Transitions)
    assert all(array.flags.aligned for array in decoded.columns.values())
    assert same(decoded, message)


def test_unknown_fields_are_ignored() -> None:
    header = msgpack.unpackb(read_frames("ack")[0]) | {"added_later": [1, {"a": 2}]}
    assert same(decode("ack", [msgpack.packb(header)]), MESSAGES["ack"])


# ---- hostile input -------------------------------------------------------------------------------


def never_crashes(frames: Sequence[bytes]) -> None:
    for decoder in DECODERS:
        with contextlib.suppress(WireError):
            decoder(frames)


@settings(max_examples=300)
@given(st.lists(st.binary(max_size=200), max_size=5))
def test_random_frames_raise_only_wire_errors(frames: list[bytes]) -> None:
    never_crashes(frames)


@pytest.mark.parametrize("name", MESSAGES)
def test_mutated_messages_raise_only_wire_errors(name: str) -> None:
    generator = random.Random(name)
    original = read_frames(name)
    for _ in range(400):
        frames = [bytearray(frame) for frame in original]
        for _ in range(generator.randint(1, 4)):
            frame = generator.choice(frames)
            kind = generator.randrange(4)
            if kind == 0 and frame:
                frame[generator.randrange(len(frame))] = generator.randrange(256)
            elif kind == 1:
                del frame[generator.randrange(len(frame) + 1) :]
            elif kind == 2:
                frame += generator.randbytes(generator.randint(1, 9))
            else:
                generator.shuffle(frames)
        never_crashes([bytes(frame) for frame in frames])


def with_images(starts: bytes | None = None, *, front_rows: int = 1) -> list[bytes]:
    """Return the golden message with another column `starts`, or other frames of one camera."""
    frames = read_frames("transitions_with_images")
    names = [column.name for column in MESSAGES["transitions_with_images"].layout]  # type: ignore[union-attr]
    if starts is not None:
        frames[1 + names.index(STARTS)] = starts
    front = 1 + names.index("observation/front")
    frames[front] = frames[front] * front_rows
    return frames


def without_starts() -> list[bytes]:
    """Return the golden message with a column of another name in place of `starts`."""
    frames = read_frames("transitions_with_images")
    header = msgpack.unpackb(frames[0])
    header["columns"] = [
        ["other" if name == STARTS else name, dtype, shape]
        for name, dtype, shape in header["columns"]
    ]
    return [msgpack.packb(header), *frames[1:]]


def transitions_with(**changes: Any) -> list[bytes]:
    frames = read_frames("transitions")
    header = msgpack.unpackb(frames[0]) | changes
    return [msgpack.packb(header), *frames[1:]]


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ([], "empty"),
        ([b""], "not a valid msgpack"),
        ([msgpack.packb([1, 2])], "expected a map"),
        ([msgpack.packb({"a": 1})], "type is None"),
        ([msgpack.packb({"type": "nonsense"})], "expected one of hello"),
        ([msgpack.packb({"type": "heartbeat"})], "lacks run_id"),
        ([msgpack.packb({"type": "heartbeat", "run_id": "A" * 32})], "lower-case hex"),
        ([msgpack.packb({"type": "policy_request", "version": -1})], "version is -1"),
        ([msgpack.packb({"type": "policy_request", "version": True})], "version is True"),
        ([msgpack.packb({"type": "policy_request", "version": 1.0})], "version is 1.0"),
        ([msgpack.packb({"type": "policy_request", "version": 1}), b""], "has 2 frames"),
        ([msgpack.packb({"type": "heartbeat", "run_id": b"0" * 32})], "not a valid msgpack"),
        ([b"\x82\xa1a\x01\xa1a\x02"], "occurs twice"),
        ([b"\x81\x01\x02"], "int is not allowed"),
        ([b"\x81\xa1a" + b"\xdd\xff\xff\xff\xff"], "not a valid msgpack"),  # a list of 2^32 - 1
        ([b"\xdf\xff\xff\xff\xff"], "not a valid msgpack"),  # a map of 2^32 - 1
        ([b"\x81\xa1a\xdb\xff\xff\xff\xff"], "not a valid msgpack"),  # a text of 4 GiB
        ([b"\x91" * 60_000], "not a valid msgpack"),  # nested 60 000 deep
        ([msgpack.packb({"type": "x" * (MAX_TEXT + 1)})], "not a valid msgpack"),
        ([msgpack.packb({"type": [0] * (MAX_ITEMS + 1)})], "not a valid msgpack"),
        ([b"\x00" * (MAX_HEADER_BYTES + 1)], "at most 65536"),
        (transitions_with(count=0), "count is 0"),
        (transitions_with(count=4097), "count is 4097"),
        (transitions_with(count=4), "takes"),
        (transitions_with(columns=[]), "expected 1 to 64"),
        (transitions_with(columns=[["a", "f4", []]] * 65), "expected 1 to 64"),
        (transitions_with(columns=[["a", "f4"]]), "not [name, dtype, shape]"),
        (transitions_with(columns=[["a b", "f4", []]]), "column name"),
        (transitions_with(columns=[["a", "O", []]]), "expected one of f4"),
        (transitions_with(columns=[["a", "f4", [65536] * 5]]), "up to 4 sizes"),
        (transitions_with(columns=[["a", "f4", [-1]]]), "size of column a is -1"),
        (transitions_with(columns=[["a", "f4", []]] * 2), "occurs twice"),
        (transitions_with(columns=[["a", "f8", [65536] * 4]])[:2], "takes"),
        (transitions_with(columns=[["a", "f4", []]]), "frames; expected 1"),
        (with_images(b"\1\1\0"), "observation/front has 18 bytes; 2 times"),
        (with_images(b"\0\0\0"), "observation/front has 18 bytes; 0 times"),
        (with_images(b"\0\2\0"), "starts must be u1 of shape (3,), zeros and ones"),
        (with_images(b"\0\1"), "starts has 2 bytes"),
        (with_images(front_rows=2), "observation/front has 36 bytes; 1 times"),
        (without_starts(), "observation/front needs the column starts"),
    ],
)
def test_what_is_wrong_is_named(frames: list[bytes], expected: str) -> None:
    with pytest.raises(WireError) as caught:
        wire.decode_controller_message(frames)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: m.PolicyRequest(2**64),
        lambda: m.Hello(1, "0" * 31, "0" * 64, "task", "lockstep", 0),
        lambda: m.Hello(1, "0" * 32, "0" * 64, "task", "turbo", 0),
        lambda: m.PolicyResult(1, True, "", float("nan")),
        lambda: m.Policy(1, 3, "0" * 64, b"four"),
        lambda: m.Policy(1, 4, "0" * 64, b"four", 1),
        lambda: m.Policy(1, 4, "0" * 64, b"four", 0, "0" * 64),
        lambda: m.Policy(1, 4, "0" * 64, b"four", 4, "0" * 64),
        lambda: m.Policy(1, 4, "0" * 64, b"fo", 1, "0" * 64),
        lambda: m.PolicyRequest(1, "0" * 63),
        lambda: m.PolicyOffer(1, 0, "0" * 64, "0" * 64),
        lambda: Command(1, "x", {"a": b"bytes"}),  # type: ignore[dict-item]
        lambda: Command(1, "x", {"a": [[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]}),
        lambda: m.Refused("x" * (MAX_TEXT + 1)),
        lambda: m.Refused("\ud800"),
        lambda: m.Transitions("0" * 32, 0, {}),
        lambda: m.Transitions("0" * 32, 0, {"a": np.zeros(3), "b": np.zeros(2)}),
        lambda: m.Transitions("0" * 32, 0, {"a": np.zeros((3, 2))[:, :1]}),
        lambda: m.Transitions("0" * 32, 0, {"a": np.zeros(3, np.int32)}),
        lambda: m.Transitions("0" * 32, 0, {"a": np.zeros(3, ">f4")}),
        lambda: m.Transitions("0" * 32, 0, {"a": np.zeros(4097)}),
        lambda: m.Transitions("0" * 32, 0, {"observation/a": np.zeros((1, 2, 2, 3), np.uint8)}),
    ],
)
def test_invalid_messages_cannot_be_made(make: Callable[[], object]) -> None:
    with pytest.raises(WireError):
        make()


def test_too_large_headers_are_not_written() -> None:
    with pytest.raises(WireError, match="at most 65536"):
        wire.encode(Command(1, "x", {"a": ["x" * 4000] * 20}))
