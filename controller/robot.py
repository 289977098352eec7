"""What a robot arm and a gripper can do, whoever does it: a running controller, or a simulation.

Quantities are SI, in the base frame, as float64 arrays. A pose is (7,): xyz [m] and the unit
quaternion xyzw of the end effector (tool centre point). A wrench is (6,): force [N], torque [Nm].
"""

from dataclasses import dataclass
from typing import Protocol, TypedDict, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Vector = NDArray[np.float64]


class RobotState(TypedDict):
    """One sample of the robot; every value is of the same control tick."""

    time_ns: int
    """Clock of the robot [ns]."""
    joint_positions: Vector
    """(7,) [rad]."""
    joint_velocities: Vector
    """(7,) [rad/s]."""
    joint_torques: Vector
    """(7,) measured link-side torques, as the robot reports them [Nm]."""
    tcp_pose: Vector
    """(7,) xyz [m], quaternion xyzw."""
    tcp_vel: Vector
    """(6,) linear [m/s] and angular [rad/s] velocity, J(q) dq."""
    tcp_force: Vector
    """(3,) external force on the end effector [N]."""
    tcp_torque: Vector
    """(3,) external torque on the end effector [Nm]."""
    jacobian: Vector
    """(6, 7) [m/rad, rad/rad]."""
    gripper_width: float
    """Distance between the fingers [m]; 0 without a gripper."""
    gripper_opening: float
    """The same as a fraction: 0 closed, 1 open."""
    target_pose: Vector
    """(7,) what the impedance law follows now; the measured pose in other modes."""
    mode: str
    """hold, cartesian_impedance, joint_impedance, cartesian_wrench, joint_move or
    gravity_compensation (hand guiding)."""
    in_charge: str
    """Whose targets are followed: "policy" or "operator"."""
    stopped: bool
    """The arm was stopped, by a person or at a limit; hold(), guide() or a joint move ends that."""
    halted: bool
    """A person has stopped it; hold(), guide() or recover() says that it may move again."""
    faults: dict[str, int]
    """Name of each fault that has happened -> how often, since the controller began."""


class RobotDescription(TypedDict):
    """The limits of a robot and its task."""

    task: str
    policy_rate_hz: float
    workspace_low: list[float]
    """(3,) [m]; a pose outside the workspace is refused."""
    workspace_high: list[float]
    q_min: list[float]
    """(7,) [rad]."""
    q_max: list[float]
    dq_max: list[float]
    """(7,) [rad/s]."""
    reset_q: list[float]
    """(7,) [rad] where the task's episodes begin."""
    reset_duration_s: float
    wrench_cap: list[float]
    """(6,) largest wrench [N, Nm]; more is clipped."""
    gripper_kind: str
    """none, sim, franka or robotiq; empty: the simulation's."""
    gripper_convention: str
    """How environments and HTTP count the gripper's position: see gripper_dialect."""
    gripper_max_width: float
    """[m]; 0 without a gripper."""


class RobotError(RuntimeError):
    """The robot did not do what was asked; the text says why and what to do."""


class TargetRefusedError(RobotError):
    """The controller refused a target; the arm follows the one before. The text has the limit."""


class MoveInterruptedError(RobotError):
    """A blocking motion ended before its goal: stopped, replaced by another target, or a fault."""


class RobotConnectionError(RobotError):
    """The controller or the robot cannot be reached, or does not answer."""


class NotInChargeError(RobotError):
    """A policy moves the arm; pause it first."""


class UnsupportedError(RobotError):
    """This robot, driver or gripper cannot do that."""


class GripperError(RobotError):
    """A gripper failed or did not arrive in time."""


@dataclass(frozen=True)
class GripperState:
    """What a gripper reports."""

    width: float
    """Distance between the fingers [m]."""
    opening: float
    """The same as a fraction: 0 closed, 1 open."""
    moving: bool
    """A command is being executed."""
    is_grasped: bool
    """The fingers hold something."""
    failure: str = ""
    """Why the last command failed; empty if it did not."""


@runtime_checkable
class Gripper(Protocol):
    """A parallel gripper. A new command interrupts the one before, from any thread.

    With `wait` a command returns when it is done and raises GripperError if it failed; without, it
    returns at once, and `state().failure` tells.
    """

    @property
    def max_width(self) -> float:
        """Distance between the fingers when fully open [m]."""
        ...

    def open(self, *, wait: bool = True) -> None:
        """Open fully."""
        ...

    def close(self, *, wait: bool = True) -> None:
        """Close on whatever is between the fingers; no failure if that is nothing."""
        ...

    def move(self, width: float, *, speed: float | None = None, wait: bool = True) -> None:
        """Move the fingers to a distance [m] from each other, at a speed [m/s].

        Raises ValueError outside [0, max_width].
        """
        ...

    def grasp(
        self,
        width: float = 0.0,
        *,
        speed: float | None = None,
        force: float | None = None,
        wait: bool = True,
    ) -> bool:
        """Close until something is held with a force [N]; True if it is (False without `wait`).

        `width`: where the object is expected [m]. Speed [m/s] and force default to the gripper's.
        """
        ...

    def is_grasped(self) -> bool:
        """Whether the fingers hold something."""
        ...

    def state(self) -> GripperState:
        """Return the newest state; does not wait for the gripper."""
        ...

    def stop(self) -> None:
        """Stop the fingers where they are."""
        ...

    def activate(self) -> None:
        """Make the gripper ready (Robotiq: activate, Franka hand: homing); blocks until it is."""
        ...

    def disconnect(self) -> None:
        """Release the device. The fingers stay where they are."""
        ...


@runtime_checkable
class Robot(Protocol):
    """An arm under a 1 kHz impedance controller. Not thread safe, but for stop().

    Targets are streamed: set_tcp_pose(), set_joint_positions() and set_wrench() return at once, the
    newest counts, and when the stream dries up the arm holds. The controller checks each target
    (workspace, joint limits, speed) and refuses what it may not follow: the next get_state() counts
    it in `faults`, and the arm follows the target before.
    """

    @property
    def gripper(self) -> Gripper | None:
        """The gripper, if there is one."""
        ...

    def get_state(self) -> RobotState:
        """Return the newest sample. Raises RobotConnectionError."""
        ...

    def move_to_joint_positions(
        self, q: ArrayLike, *, duration: float | None = None, timeout: float | None = None
    ) -> None:
        """Move on a minimum-jerk path to (7,) joint positions [rad]; returns on arrival.

        duration [s]: None is the shortest that half of the robot's velocity and acceleration
        limits allow. Ctrl-C stops the arm. Raises TargetRefusedError before it moves (joint limit,
        too fast), MoveInterruptedError, NotInChargeError.
        """
        ...

    def joint_reset(self, *, duration: float | None = None) -> None:
        """Move to the task's reset configuration, like move_to_joint_positions()."""
        ...

    def set_tcp_pose(self, pose: ArrayLike) -> None:
        """Follow a pose, (7,), with Cartesian impedance."""
        ...

    def set_joint_positions(self, q: ArrayLike) -> None:
        """Follow joint positions, (7,) [rad], with joint impedance."""
        ...

    def set_wrench(self, wrench: ArrayLike) -> None:
        """Push with a wrench, (6,), inside the wrench box; without a new one for 0.1 s it holds."""
        ...

    def set_gains(self, **gains: float | ArrayLike) -> None:
        """Change parameters of the impedance law while it runs; the others stay.

        translational_stiffness [N/m], translational_damping [N s/m], rotational_stiffness [Nm],
        rotational_damping [Nm s/rad], nullspace_stiffness, joint1_nullspace_stiffness,
        translational_Ki, rotational_Ki, translational_clip, translational_clip_neg (3,) [m],
        rotational_clip, rotational_clip_neg (3,). Raises ValueError with the name and its range.
        """
        ...

    def get_gains(self) -> dict[str, float | list[float]]:
        """Return the parameters that were last set, by the names of set_gains()."""
        ...

    def set_load(self, mass: float, center_of_mass: ArrayLike, inertia: ArrayLike) -> None:
        """Tell the robot what it carries: [kg], (3,) [m] from the flange, (3, 3) [kg m^2].

        Afterwards the arm holds, stopped: a robot takes a load only while no control runs. Raises
        RobotError with the reason if it does not, UnsupportedError where the load is fixed.
        """
        ...

    def hold(self) -> None:
        """Stay where the arm is; ends a stop."""
        ...

    def guide(self) -> None:
        """Let a person move the arm: only damping."""
        ...

    def stop(self) -> None:
        """Brake now and hold; a policy is paused. Any thread; never waits for another call."""
        ...

    def recover(self) -> None:
        """After a stop or a reflex: clear the robot's errors and hold. Raises RobotError."""
        ...

    def wait_period(self, period: float) -> None:
        """Let time pass until `period` [s] after this last returned; at once if that is over.

        It keeps the pace of a loop. A simulation in lock-step runs that long.
        """
        ...

    def describe(self) -> RobotDescription:
        """Return what does not change while the robot runs."""
        ...

    def close(self) -> None:
        """Stop using the robot; it holds."""
        ...
