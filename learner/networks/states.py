"""What is between an observation and a network's first layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

Observations = Tensor | Mapping[str, Tensor]
"""A state vector (batch, dim), or named arrays (states and images)."""


def count_rows(observations: Observations) -> int:
    """Return the size of the batch."""
    first = observations if isinstance(observations, Tensor) else next(iter(observations.values()))
    return len(first)


def slice_observations(observations: Observations, start: int, stop: int) -> Observations:
    """Return rows start..stop as views."""
    if isinstance(observations, Tensor):
        return observations[start:stop]
    return {key: value[start:stop] for key, value in observations.items()}


class ObservationEncoder(Protocol):
    """Turns observations into one vector; a `torch.nn.Module`."""

    output_dim: int

    def __call__(
        self, observations: Observations, *, train: bool = False, stop_gradient: bool = False
    ) -> Tensor:
        """Observations -> (batch, output_dim).

        `stop_gradient` keeps the caller's loss from training the image encoder.
        """


class StateEncoder(nn.Module):
    """Joins named state vectors, or passes a single one through."""

    def __init__(self, output_dim: int, keys: Sequence[str] = ()) -> None:
        super().__init__()
        self.output_dim = output_dim
        self.keys = tuple(keys)

    @classmethod
    def for_observations(cls, observations: Observations) -> StateEncoder:
        """Return the encoder of observations that look like these (batch, dim) examples."""
        if isinstance(observations, Tensor):
            return cls(observations.shape[-1])
        return cls(sum(v.shape[-1] for v in observations.values()), tuple(observations))

    def forward(
        self, observations: Observations, *, train: bool = False, stop_gradient: bool = False
    ) -> Tensor:
        """Observations -> (batch, output_dim); nothing here learns or drops out."""
        if isinstance(observations, Tensor):
            return observations
        if len(self.keys) == 1:
            return observations[self.keys[0]]
        return torch.cat([observations[key] for key in self.keys], dim=-1)
