"""The messages between controller and learner (docs/architecture.md section 5).

Values are checked when a message is made, so a message that exists is valid, whether it was made
here or came from outside. Use `serl_rt.export.wire` to turn them into frames and back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, TypeAlias

from serl_rt.export.columns import (
    DTYPES,
    MAX_BODY_BYTES,
    MAX_COLUMNS,
    MAX_COUNT,
    STARTS,
    Array,
    Column,
    dtype_name,
    rows_of,
)
from serl_rt.export.wire_header import (
    FLAG,
    HEX32,
    HEX64,
    NAME,
    NUMBER,
    PACING,
    POLICY_SIZE,
    TEXT,
    U32,
    U64,
    Buffer,
    Message,
    WireError,
    check_name,
    optional,
)

PROTOCOL = 1

# ---- controller -> learner -----------------------------------------------------------------------


@dataclass(frozen=True)
class Hello(Message):
    """A controller's run introduces itself; repeated after every loss of the link."""

    type: ClassVar[str] = "hello"
    protocol: int = field(metadata=U32)
    run_id: str = field(metadata=HEX32)
    contract_id: str = field(metadata=HEX64)
    task: str = field(metadata=NAME)
    pacing: str = field(metadata=PACING)
    next_seq: int = field(metadata=U64)
    """The oldest transition that the controller can still send."""


@dataclass(frozen=True, eq=False)
class Transitions(Message):
    """Consecutive transitions of one run, as columns."""

    type: ClassVar[str] = "transitions"
    run_id: str = field(metadata=HEX32)
    first_seq: int = field(metadata=U64)
    columns: Mapping[str, Array] = field()
    """Name -> (count, *shape), one of DTYPES, C order; read-only when it came from outside.
    Images under `observation/` have as many rows as `starts` has ones."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= len(self.columns) <= MAX_COLUMNS:
            raise WireError(f"{len(self.columns)} columns; expected 1 to {MAX_COLUMNS}")
        for name, array in self.columns.items():
            check_name("column name", name)
            if dtype_name(array.dtype) not in DTYPES:
                allowed = ", ".join(DTYPES)
                raise WireError(f"column {name} has dtype {array.dtype}; expected one of {allowed}")
            column = Column(name, dtype_name(array.dtype), array.shape[1:])
            rows = rows_of(column, self.count, self.columns.get(STARTS))
            if array.shape[:1] != (rows,) or not array.flags.c_contiguous:
                raise WireError(
                    f"column {name} has shape {array.shape}; expected a C-contiguous array of "
                    f"{rows} rows"
                )
        if not 1 <= self.count <= MAX_COUNT:
            raise WireError(f"{self.count} transitions; expected 1 to {MAX_COUNT}")
        if self.nbytes > MAX_BODY_BYTES:
            raise WireError(f"the columns have {self.nbytes} bytes; at most {MAX_BODY_BYTES}")

    @property
    def count(self) -> int:
        """Number of transitions."""
        return next(
            (
                len(array)
                for name, array in self.columns.items()
                if array.ndim and not Column(name, dtype_name(array.dtype), ()).sparse
            ),
            0,
        )

    @property
    def next_seq(self) -> int:
        """The number after the last transition."""
        return self.first_seq + self.count

    @property
    def nbytes(self) -> int:
        """Bytes of all columns."""
        return sum(array.nbytes for array in self.columns.values())

    @property
    def layout(self) -> tuple[Column, ...]:
        """Names, dtypes and shapes of the columns."""
        return tuple(
            Column(name, dtype_name(array.dtype), array.shape[1:])
            for name, array in self.columns.items()
        )

    def tail(self, skip: int) -> "Transitions":
        """Return the same message without its first `skip` transitions, as views."""
        starts = self.columns.get(STARTS)
        columns = {
            name: array[rows_of(column, skip, None if starts is None else starts[:skip]) :]
            for column, (name, array) in zip(self.layout, self.columns.items(), strict=True)
        }
        return Transitions(self.run_id, self.first_seq + skip, MappingProxyType(columns))

    def header(self) -> dict[str, Any]:
        """Return the header with the layout of the columns."""
        columns = [[name, dtype, list(shape)] for name, dtype, shape in self.layout]
        return super().header() | {"count": self.count, "columns": columns}

    def arrays(self) -> list[Buffer]:
        """Return one view per column."""
        return [array.data.cast("B") if array.size else b"" for array in self.columns.values()]


@dataclass(frozen=True)
class PolicyRequest(Message):
    """The controller is ready for this version's bytes."""

    type: ClassVar[str] = "policy_request"
    version: int = field(metadata=U64)
    trunk_sha256: str = field(default="", metadata=optional(HEX64))
    """Of the trunk that the controller holds: a policy on it comes without. Empty: none."""


@dataclass(frozen=True)
class PolicyResult(Message):
    """What became of a policy on the controller."""

    type: ClassVar[str] = "policy_result"
    version: int = field(metadata=U64)
    accepted: bool = field(metadata=FLAG)
    reason: str = field(metadata=TEXT)
    """Empty when accepted."""
    swap_ms: float = field(metadata=NUMBER)
    """From the arrival of the bytes to the hand-over [ms]."""


@dataclass(frozen=True)
class Heartbeat(Message):
    """A sign of life; the learner answers it with an `ack`."""

    type: ClassVar[str] = "heartbeat"
    run_id: str = field(metadata=HEX32)


# ---- learner -> controller -----------------------------------------------------------------------


@dataclass(frozen=True)
class Welcome(Message):
    """Answer to a hello."""

    type: ClassVar[str] = "welcome"
    protocol: int = field(metadata=U32)
    learner_id: str = field(metadata=HEX32)
    """Of the learner's transition log: the same after a restart on the same run folder."""
    run_id: str = field(metadata=HEX32)
    next_seq: int = field(metadata=U64)
    """The transition that the learner expects first."""
    credit: int = field(metadata=U64)


@dataclass(frozen=True)
class Ack(Message):
    """Everything before `next_seq` is stored."""

    type: ClassVar[str] = "ack"
    run_id: str = field(metadata=HEX32)
    next_seq: int = field(metadata=U64)
    credit: int = field(metadata=U64)
    """Transitions of the run, counted from 0, that a lockstep controller may produce."""
    resend: bool = field(metadata=FLAG)
    """A later transition came first: send again from `next_seq` without waiting."""


@dataclass(frozen=True)
class PolicyOffer(Message):
    """A policy that the controller may ask for."""

    type: ClassVar[str] = "policy_offer"
    version: int = field(metadata=U64)
    size: int = field(metadata=POLICY_SIZE)
    sha256: str = field(metadata=HEX64)
    contract_id: str = field(metadata=HEX64)


@dataclass(frozen=True, eq=False)
class Policy(Message):
    """A policy's ONNX file, or what follows its trunk. Whoever loads it compares the digests.

    The trunk is the beginning of the file that all policies on the same frozen weights share.
    """

    type: ClassVar[str] = "policy"
    version: int = field(metadata=U64)
    size: int = field(metadata=POLICY_SIZE)
    """Of the whole file, as `sha256`."""
    sha256: str = field(metadata=HEX64)
    data: Buffer = field(repr=False)
    """The whole file, or without its first `trunk_size` bytes."""
    trunk_size: int = field(default=0, metadata=optional(POLICY_SIZE))
    """0: it has none."""
    trunk_sha256: str = field(default="", metadata=optional(HEX64))

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.trunk_size == 0) != (self.trunk_sha256 == "") or self.trunk_size >= self.size:
            raise WireError(
                f"policy.trunk_size is {self.trunk_size}, its trunk_sha256 "
                f"'{self.trunk_sha256}'; expected both or none, and fewer bytes than {self.size}"
            )
        if len(self.data) not in (self.size, self.size - self.trunk_size):
            raise WireError(
                f"the policy has {len(self.data)} bytes; its header says {self.size}, with a "
                f"trunk of {self.trunk_size}"
            )

    def arrays(self) -> list[Buffer]:
        """Return the file or its rest."""
        return [self.data]


@dataclass(frozen=True)
class HelloRequired(Message):
    """The learner does not know this connection (it was restarted): say hello."""

    type: ClassVar[str] = "hello_required"


@dataclass(frozen=True)
class Refused(Message):
    """The learner does not work with this controller."""

    type: ClassVar[str] = "refused"
    reason: str = field(metadata=TEXT)


ControllerMessage: TypeAlias = Hello | Transitions | PolicyRequest | PolicyResult | Heartbeat
LearnerMessage: TypeAlias = Welcome | Ack | PolicyOffer | Policy | HelloRequired | Refused
