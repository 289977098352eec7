"""The columns of a `transitions` message: name, type, shape (docs/architecture.md section 5)."""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from serl_rt.export.wire_header import WireError

MAX_COLUMNS = 64
MAX_COUNT = 4096
"""Most transitions of one message."""
MAX_BODY_BYTES = 64 * 1024 * 1024
"""Largest sum of the arrays of one message."""

DTYPES: Mapping[str, np.dtype[Any]] = MappingProxyType(
    {name: np.dtype(f"<{name}") for name in ("f4", "f8", "u1", "u4", "u8", "i8")}
)
Array: TypeAlias = NDArray[Any]

STARTS = "starts"
"""The column that says which transitions bring the frames of their observation."""


class Column(NamedTuple):
    """One named array of a `transitions` message: `shape` is that of one transition."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def sparse(self) -> bool:
        """Whether it has rows only for the transitions with `starts` = 1 (images observed)."""
        return self.dtype == "u1" and self.name.startswith("observation/")


def transition_columns(
    observation: Sequence[tuple[str, tuple[int, ...]]],
    action_dim: int,
    images: Sequence[tuple[str, tuple[int, ...]]] = (),
) -> tuple[Column, ...]:
    """Return the columns of a transition, in wire order.

    `observation`: the contract's fields, `images`: its images, as (name, shape).
    """
    observations = [
        Column(f"{group}/{name}", "f4", shape)
        for group in ("observation", "next_observation")
        for name, shape in observation
    ]
    return (
        *observations,
        Column("action", "f4", (action_dim,)),
        Column("reward", "f4", ()),
        Column("terminated", "u1", ()),
        Column("truncated", "u1", ()),
        Column("success", "u1", ()),
        Column("intervention", "u1", ()),
        Column("grasp_penalty", "f4", ()),
        Column("evaluation", "u1", ()),
        Column("episode", "u4", ()),
        Column("step", "u4", ()),
        Column("policy_version", "u8", ()),
        Column("time_ns", "i8", ()),
        *image_columns(images),
    )


def image_columns(images: Sequence[tuple[str, tuple[int, ...]]]) -> tuple[Column, ...]:
    """Return what images add to a transition: `starts`, the frames before, the frames after."""
    if not images:
        return ()
    return (
        Column(STARTS, "u1", ()),
        *(
            Column(f"{group}/{name}", "u1", shape)
            for group in ("observation", "next_observation")
            for name, shape in images
        ),
    )


def dtype_name(dtype: np.dtype[Any]) -> str:
    """Return numpy's short name without byte order, e.g. "f4"; big-endian ones keep theirs."""
    return dtype.str.lstrip("<|")


def rows_of(column: Column, count: int, starts: Array | None) -> int:
    """Return the rows of a column of `count` transitions whose column `starts` is given.

    Raises WireError: the column needs `starts`, and it is missing or not (count,) zeros and ones.
    """
    if not column.sparse:
        return count
    if starts is None:
        raise WireError(f"column {column.name} needs the column {STARTS}, which is missing")
    if starts.shape != (count,) or starts.dtype != DTYPES["u1"] or (starts > 1).any():
        raise WireError(f"column {STARTS} must be u1 of shape ({count},), zeros and ones")
    return int(starts.sum())


def item_bytes(column: Column) -> int:
    """Return the bytes of one transition in a column."""
    return DTYPES[column.dtype].itemsize * math.prod(column.shape)
