"""Random draws of an update, behind an interface so that recorded ones can be fed in."""

from __future__ import annotations

from typing import Protocol

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
