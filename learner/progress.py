"""The counters of a run, and who shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from serl_rt.learner.pacing import SuccessWindow


@dataclass
class Progress:
    """The counters of a run; saved with every checkpoint."""

    env_steps: int = 0
    """Training transitions received."""
    evaluation_steps: int = 0
    """Transitions of evaluation episodes; not learned from."""
    episodes: int = 0
    evaluation_episodes: int = 0
    updates: int = 0
    """Critic updates."""
    version: int = 0
    """Newest published policy."""
    wall_s: float = 0.0
    """Time in the loop, over all starts of the run."""


class Display(Protocol):
    """Shows progress to a person."""

    def show(self, progress: Progress, window: SuccessWindow, info: Mapping[str, float]) -> None:
        """Take the newest numbers; may skip most calls."""
