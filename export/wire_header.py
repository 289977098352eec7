"""The msgpack map that opens every message: checked values, limits, deterministic order.

A message is a frozen dataclass whose fields carry their check, e.g.
`run_id: str = field(metadata=HEX32)`; the attribute's name is the name on the wire.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import Field, fields
from typing import Any, ClassVar, TypeAlias

import msgpack

MAX_HEADER_BYTES = 64 * 1024
MAX_POLICY_BYTES = 256 * 1024 * 1024
MAX_TEXT = 4096
"""Longest text of a header [bytes of UTF-8]."""
MAX_ITEMS = 4096
"""Most entries of one list or map of a header."""
MAX_DEPTH = 16
"""Deepest nesting of lists and maps in a free-form value."""

Buffer: TypeAlias = bytes | bytearray | memoryview
Value: TypeAlias = "None | bool | int | float | str | list[Value] | dict[str, Value]"
"""What free-form parts of a header (command arguments, results, status) may hold."""


class WireError(ValueError):
    """A message that breaks the protocol; says which value, and what is allowed."""


Check: TypeAlias = Callable[[str, Any], Any]
"""Takes a value's name and the value; returns it, or raises WireError."""
Checked: TypeAlias = Mapping[str, Any]
"""A field's metadata: its `check`, and whether it is `optional`."""


def shown(value: object) -> str:
    """Return the value for an error message, cut to a readable length."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def check_integer(low: int, high: int) -> Check:
    """Return a check for integers (not booleans) from `low` to `high`."""

    def check(name: str, value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise WireError(f"{name} is {shown(value)}; expected an integer in [{low}, {high}]")
        return value

    return check


def check_pattern(pattern: str, meaning: str) -> Check:
    """Return a check for text that matches a regular expression, described by `meaning`."""
    compiled = re.compile(pattern)

    def check(name: str, value: Any) -> str:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            raise WireError(f"{name} is {shown(value)}; expected {meaning}")
        return value

    return check


def _text(name: str, value: Any) -> str:
    if isinstance(value, str):
        try:
            if len(value.encode()) <= MAX_TEXT:
                return value
        except UnicodeEncodeError:
            pass  # half of a surrogate pair
    raise WireError(f"{name} is {shown(value)}; expected text of at most {MAX_TEXT} UTF-8 bytes")


def _flag(name: str, value: Any) -> bool:
    if type(value) is not bool:
        raise WireError(f"{name} is {shown(value)}; expected true or false")
    return value


def _number(name: str, value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise WireError(f"{name} is {shown(value)}; expected a finite number")
    return float(value)


def _value(name: str, value: Any, depth: int = 0) -> Value:
    if value is None or type(value) in (bool, float):
        checked: Value = value
        return checked
    if isinstance(value, str):
        return _text(name, value)
    if type(value) is int and -(2**63) <= value < 2**64:
        return value
    if isinstance(value, list | dict) and len(value) <= MAX_ITEMS and depth < MAX_DEPTH:
        if isinstance(value, list):
            return [_value(name, item, depth + 1) for item in value]
        return {_text(name, key): _value(name, item, depth + 1) for key, item in value.items()}
    raise WireError(
        f"{name} holds {shown(value)}; expected null, a boolean, a 64-bit integer, a number, text, "
        f"or lists and maps of these (at most {MAX_ITEMS} entries, {MAX_DEPTH} deep)"
    )


def _map(name: str, value: Any) -> dict[str, Value]:
    checked = _value(name, value)
    if not isinstance(checked, dict):
        raise WireError(f"{name} is {shown(value)}; expected a map")
    return checked


check_name = check_pattern(r"[A-Za-z0-9_./-]{1,128}", "1 to 128 letters, digits or any of _ . / -")

U32: Checked = {"check": check_integer(0, 2**32 - 1)}
U64: Checked = {"check": check_integer(0, 2**64 - 1)}
I64: Checked = {"check": check_integer(-(2**63), 2**63 - 1)}
POLICY_SIZE: Checked = {"check": check_integer(1, MAX_POLICY_BYTES)}
HEX32: Checked = {"check": check_pattern(r"[0-9a-f]{32}", "32 lower-case hex digits")}
HEX64: Checked = {"check": check_pattern(r"[0-9a-f]{64}", "64 lower-case hex digits")}
NAME: Checked = {"check": check_name}
PACING: Checked = {"check": check_pattern(r"lockstep|realtime", '"lockstep" or "realtime"')}
TEXT: Checked = {"check": _text}
FLAG: Checked = {"check": _flag}
NUMBER: Checked = {"check": _number}
VALUE: Checked = {"check": _value}
MAP: Checked = {"check": _map}


def optional(checked: Checked) -> Checked:
    """Return the metadata of a field that a header need not have: its default says that."""
    return {**checked, "optional": True}


class Message:
    """Base of all messages: checks the header's fields when a message is made."""

    type: ClassVar[str]

    def __post_init__(self) -> None:
        for entry in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            if "check" in entry.metadata and not _left_out(self, entry):
                value = getattr(self, entry.name)
                checked = entry.metadata["check"](f"{self.type}.{entry.name}", value)
                object.__setattr__(self, entry.name, checked)

    def header(self) -> dict[str, Any]:
        """Return the map of the first frame, in wire order."""
        header: dict[str, Any] = {"type": self.type}
        for entry in fields(self):  # type: ignore[arg-type]
            if "check" in entry.metadata and not _left_out(self, entry):
                header[entry.name] = getattr(self, entry.name)
        return header

    def arrays(self) -> list[Buffer]:
        """Return the frames that follow the header, as views."""
        return []

    @classmethod
    def header_values(cls, header: Mapping[str, Any]) -> dict[str, Any]:
        """Return the constructor's arguments that a header holds. Unknown fields are ignored."""
        entries = [entry for entry in fields(cls) if "check" in entry.metadata]  # type: ignore[arg-type]
        missing = [
            entry.name
            for entry in entries
            if entry.name not in header and "optional" not in entry.metadata
        ]
        if missing:
            raise WireError(f"{cls.type} lacks {', '.join(missing)}")
        for entry in entries:
            if entry.name in header and "optional" in entry.metadata:
                entry.metadata["check"](f"{cls.type}.{entry.name}", header[entry.name])
        return {entry.name: header[entry.name] for entry in entries if entry.name in header}


def _left_out(message: Message, entry: Field[Any]) -> bool:
    return "optional" in entry.metadata and getattr(message, entry.name) == entry.default


def pack_header(message: Message) -> bytes:
    """Return the first frame of a message. Raises WireError when it is larger than allowed."""
    packed: bytes = msgpack.packb(message.header(), use_bin_type=True)
    if len(packed) > MAX_HEADER_BYTES:
        raise WireError(
            f"{message.type}: the header has {len(packed)} bytes; at most {MAX_HEADER_BYTES}"
        )
    return packed


def unpack_header(frame: Buffer) -> tuple[str, dict[str, Any]]:
    """Return the type and the other fields of a header. Raises WireError.

    Lists, maps and texts that claim to be longer than allowed are refused before they are built.
    """
    if len(frame) > MAX_HEADER_BYTES:
        raise WireError(f"the header has {len(frame)} bytes; at most {MAX_HEADER_BYTES}")
    try:
        header = msgpack.unpackb(
            frame,
            raw=False,
            object_pairs_hook=_unique_keys,
            max_array_len=MAX_ITEMS,
            max_map_len=MAX_ITEMS,
            max_str_len=MAX_TEXT,
            max_bin_len=0,
            max_ext_len=0,
        )
    except WireError:
        raise
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise WireError(f"the header is not a valid msgpack map: {shown(error)}") from None
    if not isinstance(header, dict):
        raise WireError(f"the header is {shown(header)}; expected a map")
    kind = header.pop("type", None)
    if not isinstance(kind, str):
        raise WireError(f"the header's type is {shown(kind)}; expected text")
    return kind, header


def _unique_keys(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if not isinstance(key, str) or key in result:
            raise WireError(f"the map key {shown(key)} is not text or occurs twice")
        result[key] = value
    return result
