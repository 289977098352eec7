"""Batches that are part demonstrations (RLPD: half, Ball et al. 2023)."""

from __future__ import annotations

from typing import Protocol

import torch

from serl_rt.learner.data.batch import Batch, concat_batches
from serl_rt.learner.data.transitions import Transitions


class Source(Protocol):
    """Something that batches are drawn from."""

    def __len__(self) -> int: ...

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Return a batch of this size."""


class Replay(Source, Protocol):
    """A source that is filled as transitions arrive."""

    def insert(self, transitions: Transitions) -> None:
        """Append transitions, over the oldest where it is full."""


class DemonstrationMixer:
    """Draws a fixed share of every batch from demonstrations and marks it.

    Without demonstrations all of the batch is online; while nothing is online yet, all of it is
    demonstrations, so that learning can start from them.
    """

    def __init__(self, online: Source, demonstrations: Source, fraction: float = 0.5) -> None:
        if not 0.0 <= fraction <= 1.0:
            raise ValueError(f"fraction = {fraction}: must be from 0 to 1")
        self.online = online
        self.demonstrations = demonstrations
        self.fraction = fraction

    def __len__(self) -> int:
        return len(self.online) + len(self.demonstrations)

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Return online transitions first, then demonstrations.

        Raises ValueError when both are empty.
        """
        count = self._demonstration_count(batch_size)
        parts = []
        if count < batch_size:
            online = self.online.sample(batch_size - count, generator)
            parts.append(online._replace(demonstrations=torch.zeros(batch_size - count)))
        if count > 0:
            demonstrations = self.demonstrations.sample(count, generator)
            parts.append(demonstrations._replace(demonstrations=torch.ones(count)))
        return concat_batches(parts)

    def _demonstration_count(self, batch_size: int) -> int:
        if len(self.demonstrations) == 0:
            return 0
        if len(self.online) == 0:
            return batch_size
        return round(self.fraction * batch_size)


def sample_parts(source: Source, parts: int, batch_size: int, generator: torch.Generator) -> Batch:
    """Return `parts` independent batches one after the other, for `update_high_utd`."""
    if parts == 1:
        return source.sample(batch_size, generator)
    return concat_batches([source.sample(batch_size, generator) for _ in range(parts)])
