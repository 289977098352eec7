"""The replay buffer: a ring of transitions in preallocated arrays, one per field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from serl_rt.learner.data.batch import Batch
from serl_rt.learner.data.transitions import Transitions

Spec = Mapping[str, tuple[tuple[int, ...], torch.dtype]]
"""Shape (without the transition axis) and type of each observation."""


class ReplayBuffer:
    """Keeps the newest `capacity` transitions; samples them uniformly, with replacement.

    Memory is reserved at once but used only as transitions arrive. A state transition takes
    `bytes_per_transition`: 4 * (2 * observation_dim + action_dim + 3).
    """

    def __init__(self, capacity: int, observations: Spec, action_dim: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity = {capacity}: must be at least 1")
        self.capacity = capacity
        self.size = 0
        self._next = 0
        vectors = {"rewards": (), "masks": (), "grasp_penalty": (), "actions": (action_dim,)}
        self._arrays = {
            name: torch.empty((capacity, *shape), dtype=torch.float32)
            for name, shape in vectors.items()
        }
        for name in ("observations", "next_observations"):
            for key, (shape, dtype) in observations.items():
                self._arrays[f"{name}/{key}"] = torch.empty((capacity, *shape), dtype=dtype)

    @classmethod
    def like(cls, example: Transitions, capacity: int) -> ReplayBuffer:
        """Return an empty buffer for transitions of the example's shapes."""
        spec = {
            key: (value.shape[1:], torch.from_numpy(value[:0]).dtype)
            for key, value in example.observations.items()
        }
        return cls(capacity, spec, example.actions.shape[1])

    def __len__(self) -> int:
        return self.size

    @property
    def bytes_per_transition(self) -> int:
        """Memory that each stored transition takes."""
        return sum(a[0].numel() * a.element_size() for a in self._arrays.values())

    def insert(self, transitions: Transitions) -> None:
        """Append a column batch, over the oldest transitions where the ring is full."""
        count = transitions.size
        if count > self.capacity:  # only the newest can remain
            transitions = transitions.select(np.arange(count - self.capacity, count))
            count = self.capacity
        first = min(count, self.capacity - self._next)
        for name, value in _named(transitions):
            target = self._arrays[name].numpy()  # the same memory
            target[self._next : self._next + first] = value[:first]
            target[: count - first] = value[first:]
        self._next = (self._next + count) % self.capacity
        self.size = min(self.size + count, self.capacity)

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Return a batch of new tensors. Raises ValueError on an empty buffer."""
        if self.size == 0:
            raise ValueError("the replay buffer is empty: nothing to sample")
        return self.take(torch.randint(self.size, (batch_size,), generator=generator))

    def take(self, indices: Tensor) -> Batch:
        """Return the transitions at these places of the ring."""
        flat = {name: array.index_select(0, indices) for name, array in self._arrays.items()}
        return Batch(
            observations=_nested(flat, "observations/"),
            actions=flat["actions"],
            next_observations=_nested(flat, "next_observations/"),
            rewards=flat["rewards"],
            masks=flat["masks"],
            grasp_penalty=flat["grasp_penalty"],
        )


def _named(transitions: Transitions) -> list[tuple[str, NDArray[Any]]]:
    result: list[tuple[str, NDArray[Any]]] = []
    for name, value in transitions._asdict().items():
        if isinstance(value, dict):
            result += [(f"{name}/{key}", item) for key, item in value.items()]
        else:
            result.append((name, value))
    return result


def _nested(flat: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in flat.items() if k.startswith(prefix)}
