"""How many updates belong to how many transitions, and when training is done."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True)
class Pacing:
    """Keeps critic updates and training transitions at the recipe's ratio."""

    utd_ratio: float
    """Critic updates per transition."""
    start_training: int
    """Transitions before the first update."""
    slack: int
    """Transitions by which a lockstep controller may be ahead of what the next update needs."""
    step: int = 1
    """Critic updates that are made at once."""

    def updates_due(self, env_steps: int) -> int:
        """Return how many critic updates this many transitions allow in all."""
        return max(0, math.floor((env_steps - self.start_training) * self.utd_ratio))

    def transitions_allowed(self, updates: int) -> int:
        """Return how many transitions this many critic updates allow in all.

        Always enough for the next update, so that neither side waits for the other.
        """
        needed = math.ceil((updates + self.step) / self.utd_ratio)
        return self.start_training + needed + self.slack


class SuccessWindow:
    """The outcomes of the last evaluation episodes."""

    def __init__(self, episodes: int, rate: float) -> None:
        self.episodes = episodes
        self.rate = rate
        self._outcomes: deque[bool] = deque(maxlen=max(episodes, 1))

    def add(self, success: bool) -> None:
        """Take the outcome of one more evaluation episode."""
        self._outcomes.append(success)

    @property
    def success_rate(self) -> float:
        """Share of successes in the window (0 while it is empty)."""
        return sum(self._outcomes) / len(self._outcomes) if self._outcomes else 0.0

    @property
    def count(self) -> int:
        """Episodes in the window."""
        return len(self._outcomes)

    def reached(self) -> bool:
        """Whether the window is full and good enough."""
        full = self.episodes > 0 and len(self._outcomes) == self.episodes
        return full and self.success_rate >= self.rate
