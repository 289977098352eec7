"""How many transitions each connected lockstep controller may produce."""

from dataclasses import dataclass


@dataclass
class _Run:
    next_seq: int
    """Stored transitions of the run."""
    credit: int
    """What it may produce, counted from its first."""


class CreditLedger:
    """Shares one allowance, `granted` transitions in all, among the connected lockstep runs.

    What is granted but neither stored nor allotted goes to whoever has least left, so that equal
    controllers stay equally busy. A run's credit never falls; what a run leaves unused when it is
    lost is shared anew. Realtime runs have no credit: what they store uses up the allowance.
    """

    def __init__(self, stored: int) -> None:
        """`stored`: transitions in the log, over all runs."""
        self.granted = 0
        self._stored = stored
        self._runs: dict[str, _Run] = {}

    def grant(self, total: int) -> None:
        """Set the allowance: transitions in all, counted from the first in the log."""
        self.granted = total
        self._share()

    def join(self, run_id: str, next_seq: int) -> None:
        """A lockstep run is connected, or connected again."""
        self._runs[run_id] = _Run(next_seq, next_seq)
        self._share()

    def leave(self, run_id: str) -> None:
        """A run is gone."""
        if self._runs.pop(run_id, None) is not None:
            self._share()

    def store(self, run_id: str, next_seq: int, count: int) -> None:
        """`count` transitions of a run, lockstep or not, were stored."""
        self._stored += count
        run = self._runs.get(run_id)
        if run is not None:
            run.next_seq = next_seq
            run.credit = max(run.credit, next_seq)

    def credit(self, run_id: str) -> int:
        """Return the credit of a run; 0 for one that is not lockstep."""
        run = self._runs.get(run_id)
        return run.credit if run is not None else 0

    def _share(self) -> None:
        runs = sorted(self._runs.values(), key=lambda run: run.credit - run.next_seq)
        left = [run.credit - run.next_seq for run in runs]
        free = self.granted - self._stored - sum(left)
        lowest = 0
        while free > 0 and runs:
            # Raise the lowest ones to the next level, or as far as it goes.
            while lowest + 1 < len(runs) and left[lowest + 1] == left[0]:
                lowest += 1
            members = lowest + 1
            room = (left[members] - left[0]) * members if members < len(runs) else free
            amount = min(free, room)
            for index in range(members):
                share = amount // members + (index < amount % members)
                runs[index].credit += share
                left[index] += share
            free -= amount
