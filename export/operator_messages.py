"""The messages between a controller and who operates it (docs/architecture.md section 5).

As in `serl_rt.export.messages`, a message that exists is valid. Commands are answered, streamed
targets are not, the state is published to whoever listens.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar, TypeAlias

from serl_rt.export.columns import DTYPES, Array
from serl_rt.export.wire_header import (
    FLAG,
    I64,
    MAP,
    NAME,
    NUMBER,
    TEXT,
    U64,
    VALUE,
    Buffer,
    Message,
    Value,
    WireError,
)


@dataclass(frozen=True)
class Command(Message):
    """A request to the controller."""

    type: ClassVar[str] = "command"
    id: int = field(metadata=U64)
    name: str = field(metadata=NAME)
    args: dict[str, Value] = field(metadata=MAP)


TARGET_LENGTHS: Mapping[str, int | None] = MappingProxyType(
    {"pose": 7, "joints": 7, "wrench": 6, "action": None}
)
"""Kinds of a streamed target with the number of values; an action has what the contract says."""
MAX_TARGET_VALUES = 32
TARGET_TIMEOUT_S = (0.02, 5.0)


@dataclass(frozen=True)
class StreamTarget(Message):
    """One of a stream of targets for a controller: not answered, the newest counts."""

    type: ClassVar[str] = "target"
    kind: str = field(metadata=NAME)
    values: list[Value] = field(metadata=VALUE)
    timeout_s: float = field(metadata=NUMBER)
    """Without another target after this long the arm holds [s]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in TARGET_LENGTHS:
            raise WireError(f"target.kind = {self.kind!r}; expected {', '.join(TARGET_LENGTHS)}")
        if not isinstance(self.values, list):
            raise WireError(f"target.values = {self.values!r}: must be a list of numbers")
        length = TARGET_LENGTHS[self.kind]
        given = len(self.values)
        if not 1 <= given <= MAX_TARGET_VALUES or (length is not None and given != length):
            raise WireError(
                f"target.values: {given} numbers; {self.kind} has {length or '1 to 32'}"
            )
        if not all(
            isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v)
            for v in self.values
        ):
            raise WireError(f"target.values = {self.values}: every value must be a finite number")
        low, high = TARGET_TIMEOUT_S
        if not low <= self.timeout_s <= high:
            raise WireError(f"target.timeout_s = {self.timeout_s} is outside [{low}, {high}]")


@dataclass(frozen=True)
class Reply(Message):
    """The answer to the command of the same id."""

    type: ClassVar[str] = "reply"
    id: int = field(metadata=U64)
    ok: bool = field(metadata=FLAG)
    error: str = field(metadata=TEXT)
    """Empty when ok."""
    result: Value = field(metadata=VALUE)


STATE_TOPIC = b"state"
STATE_ARRAYS: Mapping[str, int] = MappingProxyType(
    {
        "q": 7,
        "dq": 7,
        "tau_J": 7,
        "tcp_pose": 7,
        "tcp_vel": 6,
        "tcp_wrench": 6,
        "gripper": 1,
        "jacobian": 42,
        "reference": 7,
    }
)
"""The f8 arrays of a state message, in frame order, with their lengths."""


@dataclass(frozen=True, eq=False)
class StateSample(Message):
    """One published sample of the robot, base frame."""

    type: ClassVar[str] = "state"
    sequence: int = field(metadata=U64)
    time_ns: int = field(metadata=I64)
    """Robot clock [ns]."""
    status: dict[str, Value] = field(metadata=MAP)
    """Mode, episode, policy version, counters: whatever the controller reports."""
    q: Array = field()
    """(7,) [rad]."""
    dq: Array = field()
    """(7,) [rad/s]."""
    tau_J: Array = field()
    """(7,) measured [Nm]."""
    tcp_pose: Array = field()
    """(7,) [m, quaternion xyzw]."""
    tcp_vel: Array = field()
    """(6,) [m/s, rad/s]."""
    tcp_wrench: Array = field()
    """(6,) external [N, Nm]."""
    gripper: Array = field()
    """(1,) opening fraction, 0 closed, 1 open."""
    jacobian: Array = field()
    """(42,): 6 x 7 row by row, of the end effector [m/rad, rad/rad]."""
    reference: Array = field()
    """(7,) pose that the impedance law follows; the measured pose in other modes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, length in STATE_ARRAYS.items():
            array: Array = getattr(self, name)
            if array.dtype != DTYPES["f8"] or array.shape != (length,):
                raise WireError(
                    f"state.{name} is {array.dtype}{array.shape}; expected float64({length},)"
                )

    def arrays(self) -> list[Buffer]:
        """Return the arrays in frame order."""
        return [getattr(self, name).tobytes() for name in STATE_ARRAYS]


OperatorMessage: TypeAlias = Command | StreamTarget | Reply | StateSample
