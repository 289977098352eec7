"""The fields that a contract is made of: observations, images, actions."""

import math
from dataclasses import dataclass
from typing import ClassVar

from serl_rt.export.toml_config import setting

UNITS = ("1", "m", "m/s", "rad", "rad/s", "N", "Nm", "m,1", "m/s,rad/s", "N,Nm")
"""Units of a field; "m,1" is a position with a unit quaternion (xyzw)."""
FRAMES = ("", "base", "tool", "start")
"""`tool` turns with the end effector; `start` is the tool's pose when the episode began."""
MAX_SIZE = 4096
"""Most components of one observation field."""


@dataclass(frozen=True)
class ComputedField:
    """An observation that the controller computes from the robot's state."""

    size: int
    unit: str
    frames: tuple[str, ...]


COMPUTED_FIELDS = {
    "q": ComputedField(7, "rad", ("",)),
    "dq": ComputedField(7, "rad/s", ("",)),
    "tau": ComputedField(7, "Nm", ("",)),
    "tcp_pose": ComputedField(7, "m,1", ("base",)),
    "tcp_pose_relative": ComputedField(7, "m,1", ("start",)),
    "tcp_position": ComputedField(3, "m", ("base",)),
    "tcp_vel": ComputedField(6, "m/s,rad/s", ("base", "tool")),
    "tcp_linear_vel": ComputedField(3, "m/s", ("base", "tool")),
    "tcp_force": ComputedField(3, "N", ("base", "tool")),
    "tcp_torque": ComputedField(3, "Nm", ("base", "tool")),
    "gripper": ComputedField(1, "1", ("",)),
    "gripper_command": ComputedField(1, "1", ("",)),
}
"""Any other observation must be pushed by the task under its name."""


@dataclass(frozen=True)
class ObservationField:
    """One named input of the policy, in SI units."""

    name: str = setting()
    shape: tuple[int, ...] = setting(low=1, high=MAX_SIZE)
    unit: str = setting(choices=UNITS)
    frame: str = setting(choices=FRAMES)
    low: tuple[float, ...] = setting(low=-1e30, high=1e30)
    """Expected smallest value per component, C order; used to normalise, not to clip."""
    high: tuple[float, ...] = setting(low=-1e30, high=1e30)
    """Expected largest value per component."""
    dtype: str = setting("float32", choices=("float32",))

    @property
    def size(self) -> int:
        """Number of components."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class ImageField:
    """One camera image, uint8 RGB of shape (height, width, 3)."""

    name: str = setting()
    height: int = setting(low=1, high=4096, unit="pixels")
    width: int = setting(low=1, high=4096, unit="pixels")


@dataclass(frozen=True)
class TcpDelta:
    """A step of the tool centre point; each component is in [-1, 1] and multiplied by `scale`."""

    shape: tuple[int, ...] = setting(length=1, choices=(3, 6))
    """(3,): xyz; (6,): xyz and rotation vector."""
    scale: tuple[float, ...] = setting(low=0.0, high=10.0)
    """Largest step per component [m, rad]."""
    frame: str = setting("base", choices=("base", "tool"))
    anchor: str = setting("measured", choices=("measured", "target"))
    """What the step is added to: the measured pose or the last target."""
    name: ClassVar[str] = "tcp_delta"

    @property
    def size(self) -> int:
        """Number of components."""
        return self.shape[0]


@dataclass(frozen=True)
class JointDelta:
    """A step of the seven joints."""

    scale: tuple[float, ...] = setting(length=7, low=0.0, high=10.0)
    """Largest step per joint [rad]."""
    shape: tuple[int, ...] = setting((7,), length=1, choices=(7,))
    anchor: str = setting("measured", choices=("measured", "target"))
    name: ClassVar[str] = "joint_delta"

    @property
    def size(self) -> int:
        """Number of components."""
        return 7


@dataclass(frozen=True)
class GripperAction:
    """What the gripper does."""

    kind: str = setting(choices=("binary", "ternary", "continuous", "continuous_delta"))
    """binary: below -threshold close, above +threshold open, between keep; ternary: the same for
    the values -1, 0, 1 of a discrete head (threshold 0.5); continuous: opening = (a + 1) / 2;
    continuous_delta: opening += scale * a."""
    shape: tuple[int, ...] = setting((1,), length=1, choices=(1,))
    threshold: float | None = setting(None, low=0.0, high=0.99)
    """Only and always for binary."""
    scale: float | None = setting(None, low=-1.0, high=1.0)
    """Only and always for continuous_delta: largest step of the opening fraction; negative when
    positive actions close."""
    name: ClassVar[str] = "gripper"

    @property
    def size(self) -> int:
        """Number of components."""
        return 1


ActionField = TcpDelta | JointDelta | GripperAction
ACTION_TYPES: dict[str, type[TcpDelta] | type[JointDelta] | type[GripperAction]] = {
    "tcp_delta": TcpDelta,
    "joint_delta": JointDelta,
    "gripper": GripperAction,
}
