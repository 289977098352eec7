"""What a running robot adds to the demonstrations: a person's corrections, successful episodes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from serl_rt.learner.data.mixing import Replay
from serl_rt.learner.data.transitions import Columns, Transitions, episode_parts

COLUMNS = ("terminated", "truncated", "success", "intervention", "episode")
"""What it reads beside the transitions."""


@dataclass
class _Open:
    """The episode that a run is in."""

    number: int
    succeeded: bool = False
    parts: list[Transitions] = field(default_factory=list)


class Joining:
    """Copies transitions into the demonstrations, where batches find them as such.

    HIL-SERL does so with the steps in which a person acts. Successful episodes can join, too
    (self-imitation, Oh et al. 2018, without its priorities): what exploring found is imitated.
    """

    def __init__(self, demonstrations: Replay, *, interventions: bool, successes: bool) -> None:
        self.demonstrations = demonstrations
        self.interventions = interventions
        self.successes = successes
        self._open: dict[str, _Open] = {}
        """By run; only while successes join."""

    def __call__(
        self, transitions: Transitions, columns: Columns, mine: NDArray[np.bool_], run_id: str
    ) -> None:
        """Take the next transitions of a run, in their order.

        `mine`: (n,), which of them this rank keeps. An episode joins when its end arrives; of one
        that never ended, only what a person did.
        """
        corrected = mine & np.asarray(columns["intervention"]).astype(bool) & self.interventions
        if corrected.any():
            self.demonstrations.insert(transitions.select(corrected))
        for part, ended in episode_parts(columns) if self.successes else ():
            number = int(columns["episode"][part][0])
            episode = self._open.get(run_id)
            if episode is None or episode.number != number:
                episode = self._open[run_id] = _Open(number)
            episode.succeeded |= bool(np.asarray(columns["success"][part]).any())
            rest = np.zeros(transitions.size, dtype=bool)
            rest[part] = (mine & ~corrected)[part]
            if rest.any():
                episode.parts.append(transitions.select(rest))
            if ended:
                del self._open[run_id]
                for joining in episode.parts if episode.succeeded else ():
                    self.demonstrations.insert(joining)
