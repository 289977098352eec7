"""What the training loop needs of the wire, whatever carries it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

from serl_rt.export.publish import PolicyFile


class Received(Protocol):
    """Consecutive transitions of one controller run."""

    @property
    def run_id(self) -> str:
        """Which run."""

    @property
    def columns(self) -> Mapping[str, NDArray[Any]]:
        """Name -> (count, ...)."""


class Verdict(Protocol):
    """What a controller did with a policy."""

    @property
    def version(self) -> int:
        """Of the policy."""

    @property
    def accepted(self) -> bool:
        """Whether it acts now."""

    @property
    def swap_ms(self) -> float:
        """Time from the offer to acting [ms]."""


class Link(Protocol):
    """The learner's end of the wire; it works in its own thread."""

    def drain(self) -> Iterable[Received]:
        """Return what was stored since the last call, in order; does not wait."""

    def wait(self, timeout: float) -> bool:
        """Sleep until something arrived or `timeout` [s] passed; say whether something did."""

    def grant(self, total: int) -> None:
        """Allow lockstep controllers to produce this many transitions in all."""

    def publish(self, policy: PolicyFile) -> None:
        """Offer a policy to the controllers."""

    def policy_verdicts(self) -> Iterable[Verdict]:
        """Return what controllers did with policies since the last call."""
