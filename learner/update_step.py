"""One update, the same on every rank: draw a batch, change the parameters, look at the losses."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from serl_rt.learner.agents.agent import Agent
from serl_rt.learner.agents.losses import Info
from serl_rt.learner.data.batch import Batch, batch_to_device, named_tensors
from serl_rt.learner.data.mixing import Source, sample_parts

LOSSES = ("loss", "gradient_penalty")
"""How the names of those metrics end that parameters are trained by."""


class NonFiniteLossError(RuntimeError):
    """A loss became NaN or infinite; the message says which one, when, and where its batch is."""


@dataclass
class UpdateStep:
    """Updates critics and actor once."""

    agent: Agent
    source: Source
    """What batches are drawn from."""
    sampling: torch.Generator
    """Draws the batches."""
    batch_size: int
    """Transitions for each critic update, on this rank."""
    ratio: int
    """Critic updates for each update of the actor."""
    suspect: Path
    """Where a batch is written (.npz) whose loss is not finite."""
    average: Callable[[Info], Info] = lambda info: info
    """Makes metrics of one rank those of all."""

    def __call__(self, updates: int) -> Info:
        """Do the update that makes `updates` critic updates in all; return its metrics.

        Raises NonFiniteLossError, on every rank at the same update.
        """
        batch = sample_parts(self.source, self.ratio, self.batch_size, self.sampling)
        batch = batch_to_device(batch, self.agent.state.device)
        if self.ratio == 1:
            _, info = self.agent.update(batch)
        else:
            _, info = self.agent.update_high_utd(batch, utd_ratio=self.ratio)
        self.agent.state.move_averages()
        info = self.average(info)
        for name, value in info.items():
            if name.endswith(LOSSES) and not math.isfinite(float(value)):
                self._write(batch)
                raise NonFiniteLossError(
                    f"{name} is {float(value)} at update {updates}; its batch is in {self.suspect}"
                )
        return info

    def _write(self, batch: Batch) -> None:
        contents: dict[str, Any] = {name: t.cpu().numpy() for name, t in named_tensors(batch)}
        self.suspect.parent.mkdir(parents=True, exist_ok=True)
        np.savez(self.suspect, **contents)
