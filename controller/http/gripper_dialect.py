"""How SERL's and HIL-SERL's gripper servers count: which way, and in which unit."""

from dataclasses import dataclass
from enum import Enum

from serl_rt.controller.robot import GripperState

_SERL_SPAN = 2550.0
"""SERL moves the Franka hand to position / 2550 metres: 255 is 0.1 m, more than it opens."""


class GripperType(str, Enum):
    """SERL's flag of the same name: the gripper server that is imitated."""

    FRANKA = "Franka"
    ROBOTIQ = "Robotiq"
    NONE = "None"


class Dialect(str, Enum):
    """Whose unit a gripper's position is reported in."""

    SERL = "serl"
    HIL_SERL = "hil-serl"


@dataclass(frozen=True)
class GripperDialect:
    """The meaning of SERL's numbers.

    Reported position: HIL-SERL 0 closed to 1 open; SERL the fingers' distance [m] of a Franka hand,
    and 0 open to 255 closed of a Robotiq. Commanded position, both: 0 to 255, where 255 is open for
    a Franka hand and closed for a Robotiq.
    """

    type: GripperType
    dialect: Dialect

    def report(self, state: GripperState) -> float:
        """Return a gripper's position as the environments expect it."""
        if self.dialect is Dialect.HIL_SERL:
            return state.opening
        if self.type is GripperType.FRANKA:
            return state.width
        return round(255 * (1 - state.opening))

    def width(self, position: float, max_width: float) -> float:
        """Return the distance between the fingers [m] that a commanded position asks for.

        Positions outside 0 to 255 count as the nearest of them, fractions are cut off.
        """
        whole = min(255, max(0, int(position)))
        if self.type is GripperType.FRANKA:
            return min(whole / _SERL_SPAN, max_width)
        return (1 - whole / 255) * max_width
