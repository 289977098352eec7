"""A batch of transitions, typed and checked where it enters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from serl_rt.learner.networks.states import Observations

REQUIRED = ("observations", "actions", "next_observations", "rewards", "masks")
OPTIONAL = ("grasp_penalty", "demonstrations")


class Batch(NamedTuple):
    """Transitions as an agent learns from them; all tensors are float32 but images (uint8)."""

    observations: Observations
    """(batch, dim), or named (batch, ...)."""
    actions: Tensor
    """(batch, action_dim) in [-1, 1]."""
    next_observations: Observations
    rewards: Tensor
    """(batch,)."""
    masks: Tensor
    """(batch,): 0 where the episode terminated, so that nothing is bootstrapped; else 1."""
    grasp_penalty: Tensor | None = None
    """(batch,): cost of gripper commands, only for agents with a gripper critic."""
    demonstrations: Tensor | None = None
    """(batch,): 1 for transitions of the demonstrator, else 0."""
    next_policy: Tensor | None = None
    """(batch, 2, action_dim): mean and standard deviation of the policy at the next observations,
    where they were computed before, for several updates; see `high_utd.with_next_policy`."""

    @property
    def size(self) -> int:
        """Number of transitions."""
        return len(self.rewards)


def make_batch(columns: Mapping[str, Any]) -> Batch:
    """Build a batch from arrays or tensors under SERL's names.

    Raises ValueError that names the missing key, the wrong length or the value that is not finite.
    Keys that no agent uses (`dones`) are ignored.
    """
    for key in REQUIRED:
        if key not in columns:
            raise ValueError(f"batch: '{key}' is missing; needed are {', '.join(REQUIRED)}")
    names = [key for key in (*REQUIRED, *OPTIONAL) if columns.get(key) is not None]
    batch = Batch(**{key: _to_tensors(columns[key]) for key in names})  # type: ignore[arg-type]
    check_batch(batch)
    return batch


def check_batch(batch: Batch) -> None:
    """Raise ValueError, naming the field, for wrong lengths, ranks and non-finite values."""
    size = batch.size
    for name, value in named_tensors(batch):
        if value.ndim == 0 or len(value) != size:
            raise ValueError(
                f"batch: {name} has shape {tuple(value.shape)}, expected {size} rows as the rewards"
            )
        if value.is_floating_point() and not torch.isfinite(value).all():
            row = int((~torch.isfinite(value)).reshape(size, -1).any(1).nonzero()[0])
            raise ValueError(f"batch: {name} is not finite in row {row}")
    for name in ("rewards", "masks", *OPTIONAL):
        vector = getattr(batch, name)
        if vector is not None and vector.ndim != 1:
            raise ValueError(f"batch: {name} has shape {tuple(vector.shape)}, expected (batch,)")
    if batch.actions.ndim != 2:
        shape = tuple(batch.actions.shape)
        raise ValueError(f"batch: actions has shape {shape}, expected (batch, action_dim)")


def named_tensors(batch: Batch) -> list[tuple[str, Tensor]]:
    """Return the tensors of a batch with names such as `observations/state`."""
    result: list[tuple[str, Tensor]] = []
    for name, value in batch._asdict().items():
        if isinstance(value, Mapping):
            result += [(f"{name}/{key}", item) for key, item in value.items()]
        elif value is not None:
            result.append((name, value))
    return result


def batch_to_device(batch: Batch, device: torch.device | str) -> Batch:
    """Copy a batch to a device, without waiting where the source is pinned memory."""
    return map_batch(lambda t: t.to(device, non_blocking=True), batch)


def slice_batch(batch: Batch, start: int, stop: int) -> Batch:
    """Return rows start..stop as views."""
    return map_batch(lambda t: t[start:stop], batch)


def concat_batches(batches: Sequence[Batch]) -> Batch:
    """Join batches of the same fields along the first axis."""

    def join(values: Sequence[Any]) -> Any:
        if values[0] is None:
            return None
        if isinstance(values[0], Mapping):
            return {key: torch.cat([value[key] for value in values]) for key in values[0]}
        return torch.cat(list(values))

    return Batch(*(join(values) for values in zip(*batches, strict=True)))


def map_batch(function: Any, batch: Batch) -> Batch:
    """Apply a function to every tensor."""

    def apply(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: function(item) for key, item in value.items()}
        return None if value is None else function(value)

    return Batch(*(apply(value) for value in batch))


def _to_tensors(value: Any) -> Observations:
    if isinstance(value, Mapping):
        return {key: _to_tensor(item) for key, item in value.items()}
    return _to_tensor(value)


def _to_tensor(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value
    array = np.asarray(value)
    if array.dtype != np.uint8:
        array = array.astype(np.float32, copy=False)
    return torch.from_numpy(np.ascontiguousarray(array))
