"""From received columns into the replay: decoded, without evaluation, this rank's share."""

from __future__ import annotations

import numpy as np

from serl_rt.learner.data.mixing import Replay
from serl_rt.learner.data.transitions import Columns, TransitionDecoder, Transitions


class Share:
    """Every `size`-th transition of a stream: those of one rank. The others have the others."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank = rank
        self.size = size
        self._seen = 0

    def of(self, transitions: Transitions) -> Transitions:
        """Return the share of the next transitions of the stream."""
        if self.size == 1:
            return transitions
        rows = np.arange((self.rank - self._seen) % self.size, transitions.size, self.size)
        self._seen += transitions.size
        return transitions.select(rows)


class Intake:
    """Fills a replay from what controllers send."""

    def __init__(
        self, decoder: TransitionDecoder, replay: Replay, share: Share | None = None
    ) -> None:
        self.decoder = decoder
        self.replay = replay
        self.share = share or Share()

    def __call__(self, columns: Columns, run_id: str) -> int:
        """Store what is to be learned from; return how many transitions that is, of all ranks.

        Transitions of evaluation episodes are left out. Raises ValueError, naming the column.
        """
        transitions = self.decoder(columns, run_id)
        evaluation = np.asarray(columns["evaluation"]).astype(bool)
        if evaluation.any():
            transitions = transitions.select(~evaluation)
        mine = self.share.of(transitions)
        if mine.size:
            self.replay.insert(mine)
        return transitions.size
