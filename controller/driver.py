"""A robot driver written in Python: what the controller's 1 kHz thread calls.

The process has no other user of Python while it runs, so the control thread never waits for the
interpreter. Every microsecond that `read` and `write` take counts; the control law is C++.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
RobotSettings = Mapping[str, Any]
"""The `[robot]` table of the task file: ip (str), contact_torque, collision_torque (7 values, Nm),
contact_force, collision_force (6 values, N and Nm), and where they are set load_mass [kg],
load_centre (3, m), load_inertia (9, kg m2), NE_T_EE (16, column-major)."""


class RobotAbsent(Exception):
    """The robot does not take torques; the text is a sentence for people."""

    def __init__(self, absence: str, what: str) -> None:
        """`absence` says who may end it.

        "reflex": `start` clears it. "network": `start` connects anew. "operator": somebody must
        act. "unusable": nobody can. Names of reflexes go at the end of the text: `["name", ...]`.
        """
        super().__init__(what)
        self.absence = absence


@dataclass(frozen=True)
class Sample:
    """Views of the controller's memory: `read` writes one cycle's values into them.

    SI units, base frame, matrices column by column, torques without gravity as libfranka has them.
    """

    time_s: Array  # (1,) robot clock, 1 ms a cycle
    success_rate: Array  # (1,) of the commands, 0 to 1
    q: Array  # (7,)
    dq: Array  # (7,)
    tau_J: Array  # (7,) measured
    tau_J_d: Array  # (7,) the command that the robot has
    O_T_EE: Array  # (16,) 4x4
    zero_jacobian: Array  # (42,) 6x7 of the end effector: linear rows, then angular
    coriolis: Array  # (7,)
    gravity: Array  # (7,) informational
    O_F_ext: Array  # (6,) external force and torque on the end effector


class Driver(Protocol):
    """What the controller needs of a robot. All methods run on the control thread but `attach`.

    Used by `serl-rt control --driver module:Class`, where Class is called with RobotSettings.
    """

    def attach(self, sample: dict[str, Array], tau: Array) -> None:
        """Keep the memory that `read` fills (see Sample) and `write` sends. Once, at first."""

    def start(self) -> None:
        """Bring the robot to where it takes torques, whatever state it is in.

        Connects, clears a reflex, sets it up. `read` follows at once. Raises RobotAbsent.
        """

    def read(self) -> None:
        """Wait for the next 1 kHz sample and fill the memory. Raises RobotAbsent."""

    def write(self) -> None:
        """Send the torques [Nm], without gravity. Raises RobotAbsent."""

    def stop(self) -> None:
        """End the torque control of an arm at rest; `start` may follow."""


class LoadDriver(Driver, Protocol):
    """A Driver of a robot whose load may change between `stop` and `start`."""

    def set_load(self, load: RobotSettings) -> None:
        """Keep load_mass, load_centre and load_inertia of RobotSettings for every `start` from now.

        Without them: the robot keeps what it has. An exception's text tells why it cannot be.
        """
