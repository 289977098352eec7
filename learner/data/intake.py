"""From received columns into the replay: decoded, without evaluation, this rank's share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from serl_rt.learner.data.joining import COLUMNS as JOINING_COLUMNS
from serl_rt.learner.data.joining import Joining
from serl_rt.learner.data.mixing import Replay
from serl_rt.learner.data.transitions import Columns, TransitionDecoder


class Share:
    """What one rank keeps of a stream that all ranks see; the others keep the rest.

    Transitions are dealt out one by one, or, where they belong together (images, of which each
    frame is stored once), episode by episode.
    """

    def __init__(self, rank: int = 0, size: int = 1, *, by_episode: bool = False) -> None:
        self.rank = rank
        self.size = size
        self.by_episode = by_episode
        self._seen = 0
        """Transitions, or episodes."""
        self._current: dict[str, tuple[int, int]] = {}
        """Of each run: the episode that it is in, and whose that is."""

    def of(self, run_id: str, episodes: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which of a run's next transitions are kept, (n,); `episodes`: their numbers."""
        if self.size == 1:
            return np.ones(len(episodes), dtype=bool)
        if self.by_episode:
            owners = np.array([self._owner(run_id, int(number)) for number in episodes])
        else:
            owners = (self._seen + np.arange(len(episodes))) % self.size
            self._seen += len(episodes)
        mine: NDArray[np.bool_] = owners == self.rank
        return mine

    def _owner(self, run_id: str, episode: int) -> int:
        current = self._current.get(run_id)
        if current is None or current[0] != episode:
            current = self._current[run_id] = (episode, self._seen % self.size)
            self._seen += 1
        return current[1]


class Intake:
    """Fills a replay from what controllers send."""

    def __init__(
        self,
        decoder: TransitionDecoder,
        replay: Replay,
        share: Share | None = None,
        *,
        corrections_only: bool = False,
        joining: Joining | None = None,
    ) -> None:
        """`corrections_only`: learn only from steps in which a person took over (HG-DAgger).

        `joining`: what of all this becomes a demonstration, too.
        """
        self.decoder = decoder
        self.replay = replay
        self.share = share or Share()
        self.corrections_only = corrections_only
        self.joining = joining

    def __call__(self, columns: Columns, run_id: str) -> int:
        """Store what is to be learned from; return how many transitions came, of all ranks.

        Transitions of evaluation episodes are left out of both.
        Raises ValueError, naming the column.
        """
        transitions = self.decoder(columns, run_id)
        training = ~np.asarray(columns["evaluation"]).astype(bool)
        learned = training
        if self.corrections_only:
            learned = training & np.asarray(columns["intervention"]).astype(bool)
        if not learned.all():
            transitions = transitions.select(learned)
        mine = self.share.of(run_id, columns["episode"][learned])
        if mine.any():
            self.replay.insert(transitions if mine.all() else transitions.select(mine))
        if self.joining is not None and learned.any():
            told = {name: np.asarray(columns[name])[learned] for name in JOINING_COLUMNS}
            self.joining(transitions, told, mine, run_id)
        return int(training.sum())
