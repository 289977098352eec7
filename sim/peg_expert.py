"""A scripted expert that inserts the peg through the same actions as a policy."""

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serl_rt.export.contract import Contract, TcpDelta

ABOVE = 0.03
"""How far above the hole the peg's tip stays while it is not over it [m]."""
OVER_HOLE = 0.003
"""Horizontal distance at which it may go down to the rim [m]."""
IN_HOLE = 0.006
"""Horizontal distance at which it goes on down; the rim slopes and guides it [m]."""
DEEP = 0.045
"""Where it goes, below the rim [m]."""


class PegInsertExpert:
    """Moves over the hole, then down; goes up again when it is beside it."""

    def __init__(
        self,
        contract: Contract,
        noise: float,
        rng: np.random.Generator,
        beside: Collection[str] = (),
    ) -> None:
        """Make an expert for a contract whose action is an xyz step from the measured pose.

        noise: standard deviation of what is added to each component of an action. beside: names
        that act() is given although the contract does not show them.
        Raises ValueError if the contract has other actions or tip and hole are not given.
        """
        motion = contract.action[0]
        if (
            len(contract.action) != 1
            or not isinstance(motion, TcpDelta)
            or (motion.size, motion.frame, motion.anchor) != (3, "base", "measured")
        ):
            raise ValueError(
                "the expert needs one action, tcp_delta (shape [3], frame base, anchor measured); "
                f"{contract.name} has {', '.join(a.name for a in contract.action)}"
            )
        shown = [*(field.name for field in contract.observation), *beside]
        if "tip_to_hole" not in shown:
            raise ValueError(
                f"the expert needs to see tip_to_hole; {contract.name} shows {', '.join(shown)}"
            )
        self._scale = np.array(motion.scale)
        self._noise, self._rng = noise, rng

    def reset(self) -> None:
        """Begin an episode: it remembers nothing."""

    def act(self, observation: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Return the action, (3,) in [-1, 1], for an observation in SI units."""
        way = observation["tip_to_hole"].astype(np.float64)
        aside = np.hypot(way[0], way[1])
        inside = way[2] >= -0.001
        if aside > (IN_HOLE if inside else OVER_HOLE):
            way[2] += ABOVE
        elif aside < IN_HOLE:
            way[2] -= DEEP
        step = np.clip(way / self._scale, -1.0, 1.0)
        step += self._noise * self._rng.standard_normal(3)
        return np.asarray(np.clip(step, -1.0, 1.0), dtype=np.float32)
