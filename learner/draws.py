"""Random draws of an update, behind an interface so that recorded ones can be fed in; states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class Draws(Protocol):
    """Where an agent's noise comes from."""

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal numbers."""

    def integers(self, high: int, *shape: int) -> Tensor:
        """Return integers uniform in [0, high)."""


class GeneratorDraws:
    """Draws from a torch generator, on its device."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal numbers."""
        return torch.randn(shape, generator=self.generator, device=self.generator.device)

    def integers(self, high: int, *shape: int) -> Tensor:
        """Return integers uniform in [0, high)."""
        return torch.randint(high, shape, generator=self.generator, device=self.generator.device)


@dataclass(frozen=True)
class Generators:
    """The generators of a process that an agent does not hold itself, for checkpoints."""

    sampling: torch.Generator
    """Draws the batches; on the CPU."""

    def get(self) -> bytes:
        """Return the states of `sampling` and of torch's global generator (dropout)."""
        states = (self.sampling.get_state(), torch.get_rng_state())
        return b"".join(state.numpy().tobytes() for state in states)

    def set(self, states: bytes) -> None:
        """Set what `get` returned. Raises ValueError when it has another length."""
        both = torch.from_numpy(np.frombuffer(states, np.uint8).copy())
        size = self.sampling.get_state().numel()
        if len(both) != size + torch.get_rng_state().numel():
            raise ValueError(f"{len(both)} bytes are not the states of two generators")
        self.sampling.set_state(both[:size].clone())  # a state must be aligned
        torch.set_rng_state(both[size:].clone())
