"""A scripted expert that picks up the cube through the same actions as a policy."""

from collections.abc import Collection
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serl_rt.export.contract import Contract, GripperAction, TcpDelta

ABOVE = 0.05
"""How far above the cube's centre the hand stays while it is not over it [m]."""
FUNNEL = (0.005, 0.02)
"""Horizontal distances between which it goes down from that height to the cube [m]."""
AT_CUBE = 0.012
"""Distance at which the gripper may close [m]."""
LOST = 0.03
"""A cube further away than this is not held [m]."""
CLOSING_S = 0.2
"""Time that the fingers need to close [s]."""
LEAD = 2.5
"""Where the last target is the anchor the hand follows slowly, so aim this much beyond the goal,"""
BRAKE_S = 0.2
"""less what it covers in this time at its present velocity [s]."""

Vector = NDArray[np.float64]


class Phase(Enum):
    """What the hand is about to do."""

    REACH = "move to the cube, from above"
    CLOSE = "close the gripper"
    LIFT = "lift"


class PickCubeExpert:
    """Reaches for the cube from above, closes, lifts; begins anew when the cube is lost."""

    def __init__(
        self,
        contract: Contract,
        noise: float,
        rng: np.random.Generator,
        beside: Collection[str] = (),
    ) -> None:
        """Make an expert for a contract whose actions are an xyz step and a gripper.

        noise: standard deviation of what is added to each component of an action. beside: names
        that act() is given although the contract does not show them.
        Raises ValueError if the contract has other actions or does not show hand and cube.
        """
        motion = next((a for a in contract.action if isinstance(a, TcpDelta)), None)
        gripper = next((a for a in contract.action if isinstance(a, GripperAction)), None)
        if motion is None or motion.size != 3 or motion.frame != "base" or gripper is None:
            raise ValueError(
                "the expert needs the actions tcp_delta (shape [3], frame base) and gripper; "
                f"{contract.name} has {', '.join(a.name for a in contract.action)}"
            )
        shown = [*(field.name for field in contract.observation), *beside]
        if missing := {"tcp_position", "cube_position"} - set(shown):
            raise ValueError(
                f"the expert needs to see {', '.join(sorted(missing))}; {contract.name} shows "
                f"{', '.join(shown)}"
            )
        self._motion, self._gripper = motion, gripper
        self._gripper_first = isinstance(contract.action[0], GripperAction)
        self._scale = np.array(motion.scale)
        self._low = np.array(contract.workspace_low)
        self._high = np.array(contract.workspace_high)
        self._closing_steps = max(2, round(CLOSING_S * contract.policy_rate_hz))
        self._rate = contract.policy_rate_hz
        self._noise, self._rng = noise, rng
        self.reset()

    def reset(self) -> None:
        """Begin an episode."""
        self.phase = Phase.REACH
        self._steps_closed = 0
        self._target: Vector | None = None
        self._last: Vector | None = None

    def act(self, observation: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Return the action, (action_dim,) in [-1, 1], for an observation in SI units."""
        tcp = observation["tcp_position"].astype(np.float64)
        cube = observation["cube_position"].astype(np.float64)
        self._advance(float(np.linalg.norm(cube - tcp)))
        goal, anchor = self._goal(tcp, cube), tcp
        if self._motion.anchor == "target":
            velocity = np.zeros(3) if self._last is None else (tcp - self._last) * self._rate
            goal = tcp + LEAD * (goal - tcp) - BRAKE_S * velocity
            anchor = tcp if self._target is None else self._target
        goal = np.clip(goal, self._low, self._high)
        step = self._perturb((goal - anchor) / self._scale)
        grip = self._perturb(np.array([self._gripper_action(closed=self.phase is not Phase.REACH)]))
        self._target = np.clip(anchor + step * self._scale, self._low, self._high)
        self._last = tcp
        parts = (grip, step) if self._gripper_first else (step, grip)
        return np.concatenate(parts).astype(np.float32)

    def _goal(self, tcp: Vector, cube: Vector) -> Vector:
        """Return where the hand should be [m]."""
        if self.phase is Phase.LIFT:
            return np.array([*tcp[:2], self._high[2]])
        if self.phase is Phase.CLOSE:
            return cube
        height = np.interp(np.hypot(*(cube - tcp)[:2]), FUNNEL, (0.0, ABOVE))
        return np.array([*cube[:2], cube[2] + height])

    def _advance(self, distance: float) -> None:
        """Choose the phase from the distance [m] to the cube and the phase before."""
        if self.phase is Phase.REACH:
            if distance < AT_CUBE:
                self.phase = Phase.CLOSE
        elif distance > LOST:
            self.phase = Phase.REACH
            self._steps_closed = 0
        else:
            self._steps_closed += 1
            if self._steps_closed >= self._closing_steps:
                self.phase = Phase.LIFT

    def _gripper_action(self, closed: bool) -> float:
        opens = -1.0 if closed else 1.0
        return opens * (1.0 if self._gripper.scale is None else float(np.sign(self._gripper.scale)))

    def _perturb(self, action: Vector) -> Vector:
        noise = self._noise * self._rng.standard_normal(action.size)
        return np.clip(np.clip(action, -1.0, 1.0) + noise, -1.0, 1.0)
