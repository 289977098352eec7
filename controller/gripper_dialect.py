"""How environments count a gripper's position: SERL's way, HIL-SERL's way, or in metres."""

from dataclasses import dataclass
from enum import Enum

from serl_rt.controller.robot import GripperState, RobotDescription

_SERL_SPAN = 2550.0
"""SERL moves the Franka hand to position / 2550 metres: 255 is 0.1 m, more than it opens."""


class GripperType(str, Enum):
    """SERL's flag of the same name: the gripper server that is imitated."""

    FRANKA = "Franka"
    ROBOTIQ = "Robotiq"
    NONE = "None"


class Dialect(str, Enum):
    """Whose unit a gripper's position has; the task file's `convention`."""

    SERL = "serl"
    HIL_SERL = "hil-serl"
    METRES = "metres"


@dataclass(frozen=True)
class GripperDialect:
    """The meaning of a gripper's numbers.

    Reported position: HIL-SERL 0 closed to 1 open; SERL the fingers' distance [m] of a Franka hand,
    and 0 open to 255 closed of a Robotiq. Commanded position, both: 0 to 255, where 255 is open for
    a Franka hand and closed for a Robotiq. With METRES both are the fingers' distance [m].
    """

    type: GripperType
    dialect: Dialect

    def report(self, state: GripperState) -> float:
        """Return a gripper's position as the environments expect it."""
        return self.position(state.opening, state.width)

    def position(self, opening: float, width: float) -> float:
        """Return the position of a gripper that is open by a fraction 0..1, and so far [m]."""
        if self.dialect is Dialect.HIL_SERL:
            return opening
        if self.dialect is Dialect.METRES or self.type is GripperType.FRANKA:
            return width
        return round(255 * (1 - opening))

    def width(self, position: float, max_width: float) -> float:
        """Return the distance between the fingers [m] that a commanded position asks for.

        What is outside of the range counts as the nearest in it; of 0 to 255 fractions are cut off.
        """
        if self.dialect is Dialect.METRES:
            return min(max_width, max(0.0, position))
        whole = min(255, max(0, int(position)))
        if self.type is GripperType.FRANKA:
            return min(whole / _SERL_SPAN, max_width)
        return (1 - whole / 255) * max_width


def gripper_dialect(
    robot: RobotDescription, kind: GripperType | None = None, dialect: Dialect | None = None
) -> GripperDialect:
    """Return how a robot's gripper is counted: as its task file says, unless it is said here."""
    types = {"robotiq": GripperType.ROBOTIQ, "none": GripperType.NONE}
    return GripperDialect(
        types.get(robot["gripper_kind"], GripperType.FRANKA) if kind is None else kind,
        Dialect(robot["gripper_convention"] or Dialect.HIL_SERL) if dialect is None else dialect,
    )
