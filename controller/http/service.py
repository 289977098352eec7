"""What each route asks of the robot, without HTTP."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from serl_rt.controller.gripper_dialect import (
    Dialect,
    GripperDialect,
    GripperType,
    gripper_dialect,
)
from serl_rt.controller.http.parameters import merge
from serl_rt.controller.robot import (
    Gripper,
    GripperError,
    NotInChargeError,
    Robot,
    RobotConnectionError,
    RobotError,
    RobotState,
    TargetRefusedError,
    UnsupportedError,
)
from serl_rt.controller.rotations import to_matrix

_LOG = logging.getLogger(__name__)
_BUSY_S = 0.3
"""How long a request waits for another's to end before it is refused: what was meant for an instant
must not be done much later."""
_SHORTEST_QUATERNION = 0.5
"""SERL's environments interpolate a quaternion's components, so it may come short; normalised, it
is right up to half its length."""
_SLOW_SPEED = 0.1
"""[m/s] of HIL-SERL's slow grasp."""


class BusyError(RobotError):
    """Another client's motion is going on."""


class RobotService:
    """The robot behind the routes. Any thread; requests that command are done one after the other.

    A request for the state never waits for a motion, and a stop waits for nothing.
    """

    def __init__(
        self,
        connect: Callable[[], Robot],
        gripper_type: GripperType | None = None,
        dialect: Dialect | None = None,
        *,
        reset_q: Sequence[float] | None = None,
    ) -> None:
        """Connect when the first request comes, and again after the connection was lost.

        connect: returns a robot of its own at each call (one commands, one observes, because a
        `Robot` is for one thread), or raises RobotConnectionError. gripper_type, dialect: how its
        gripper is counted; None: as the robot's task file says. reset_q: where a joint reset
        ends, (7,) [rad]; None: where the task's episodes begin.
        """
        self._commander = _Link(connect)
        self._observer = _Link(connect)
        self._gripper_type, self._dialect = gripper_type, dialect
        self._reset_q = reset_q
        self._motion = threading.Lock()
        self._refused: dict[str, int] = {}

    def state(self) -> RobotState:
        """Return the newest state, its wrench in the frame of the end effector.

        SERL passes on K_F_ext_hat_K, which is expressed in the stiffness frame.
        """
        with self._observer.use() as robot:
            state = robot.get_state()
        tool_R_base = to_matrix(state["tcp_pose"][3:]).T
        state["tcp_force"] = tool_R_base @ state["tcp_force"]
        state["tcp_torque"] = tool_R_base @ state["tcp_torque"]
        return state

    def gripper_position(self) -> float:
        """Return the gripper's position in SERL's or HIL-SERL's unit; 0 without a gripper."""
        with self._observer.use() as robot:
            dialect = self._dialect_of(robot)
            if dialect.type is GripperType.NONE or robot.gripper is None:
                return 0.0
            return dialect.report(robot.gripper.state())

    def follow_pose(self, pose: Sequence[float]) -> None:
        """Follow a pose: xyz [m], quaternion xyzw, which may be short.

        Raises ValueError for what is no pose, TargetRefusedError outside the workspace.
        """
        values = np.array(pose, np.float64)
        length = float(np.linalg.norm(values[3:]))
        if not _SHORTEST_QUATERNION <= length < np.inf:
            raise ValueError(f"arr[3:7] has the length {length:.3g}: send a unit quaternion xyzw")
        values[3:] /= length
        with self._command() as robot:
            self._check_followed(robot)
            self._check_workspace(robot, values[:3])
            robot.set_tcp_pose(values)

    def push(self, wrench: Sequence[float]) -> None:
        """Push with a wrench, (6,) [N, Nm] in the base frame."""
        with self._command() as robot:
            self._check_followed(robot)
            robot.set_wrench(np.array(wrench, np.float64))

    def joint_reset(self) -> None:
        """Clear errors and move to the reset configuration; returns on arrival."""
        with self._command() as robot:
            self._clear(robot)
            self._check_followed(robot)
            if self._reset_q is None:
                robot.joint_reset()
            else:
                robot.move_to_joint_positions(self._reset_q)

    def start(self) -> None:
        """Let the arm follow poses again: a person has seen to it that it may."""
        with self._command() as robot:
            robot.recover()

    def stop(self) -> None:
        """Brake now; nothing moves the arm until start(). Waits for no other request."""
        self._commander.peek().stop()

    def clear_errors(self) -> None:
        """Go on after the arm stopped at a limit or by a reflex. Free when there is nothing to do.

        Raises RobotError if a person has stopped it: a client's loop must not undo that.
        """
        with self._command() as robot:
            self._clear(robot)

    def set_parameters(self, parameters: Mapping[str, float]) -> dict[str, float]:
        """Change SERL's impedance parameters. Returns those that were moved into their range.

        Raises ValueError for an unknown name or what is no finite number.
        """
        with self._command() as robot:
            gains, clamped = merge(parameters, robot.get_gains())
            if gains:
                robot.set_gains(**gains)
        return clamped

    def set_load(self, mass: float, center: Sequence[float], inertia: Sequence[float]) -> None:
        """Tell the robot what it carries: [kg], (3,) [m], (9,) [kg m^2] column by column."""
        with self._command() as robot:
            robot.set_load(mass, center, np.reshape(np.array(inertia, np.float64), (3, 3), "F"))

    def activate_gripper(self) -> None:
        """Make the gripper ready; returns when it is."""
        with self._gripper() as gripper:
            gripper.activate()

    def open_gripper(self) -> None:
        """Begin to open."""
        with self._gripper() as gripper:
            gripper.open(wait=False)

    def close_gripper(self, *, slow: bool = False) -> None:
        """Begin to close; slowly, where the gripper has more than one speed."""
        with self._gripper() as gripper:
            if slow:
                try:
                    gripper.grasp(speed=_SLOW_SPEED, wait=False)
                    return
                except UnsupportedError:
                    pass
            gripper.close(wait=False)

    def move_gripper(self, position: float) -> None:
        """Begin to move to one of SERL's positions, 0 to 255, or to a distance [m]."""
        with self._gripper() as gripper, self._observer.use() as robot:
            width = self._dialect_of(robot).width(position, gripper.max_width)
            gripper.move(width, wait=False)

    def close(self) -> None:
        """Disconnect; the arm holds."""
        self._commander.close()
        self._observer.close()

    @contextmanager
    def _command(self) -> Iterator[Robot]:
        if not self._motion.acquire(timeout=_BUSY_S):
            raise BusyError("another request still moves the robot; try again when it is done")
        try:
            with self._commander.use() as robot:
                yield robot
        finally:
            self._motion.release()

    @contextmanager
    def _gripper(self) -> Iterator[Gripper]:
        with self._command() as robot:
            if self._dialect_of(robot).type is GripperType.NONE or robot.gripper is None:
                raise GripperError("there is no gripper (--gripper-type None, or the robot's)")
            yield robot.gripper

    def _dialect_of(self, robot: Robot) -> GripperDialect:
        return gripper_dialect(robot.describe(), self._gripper_type, self._dialect)

    def _check_followed(self, robot: Robot) -> None:
        """Raise unless a target would be followed; say in the log when the last were not."""
        state = robot.get_state()
        if state["halted"]:
            raise RobotError("a person has stopped the arm; POST /startimp when it may move again")
        if state["stopped"]:
            raise RobotError("the arm has stopped at a limit or by a reflex; POST /clearerr")
        if state["in_charge"] != "operator":
            raise NotInChargeError("a policy moves the arm; pause it first")
        refused = {name: n for name, n in state["faults"].items() if name.startswith("target_")}
        for name, count in refused.items():
            if name != "target_stale" and count > self._refused.get(name, 0):
                _LOG.warning("the controller has refused %d targets so far: %s", count, name)
        self._refused = refused

    @staticmethod
    def _check_workspace(robot: Robot, position: np.ndarray) -> None:
        limits = robot.describe()
        for axis, value, low, high in zip(
            "xyz", position, limits["workspace_low"], limits["workspace_high"], strict=True
        ):
            # The bounds as float32: SERL's environments send nothing finer.
            if not np.float32(low) - 1e-6 <= value <= np.float32(high) + 1e-6:
                raise TargetRefusedError(
                    f"{axis} = {value:.4f} m is outside the task's workspace [{low:g}, {high:g}] m"
                )

    @staticmethod
    def _clear(robot: Robot) -> None:
        state = robot.get_state()
        if state["halted"]:
            raise RobotError("a person has stopped the arm; POST /startimp when it may move again")
        if state["stopped"]:
            robot.recover()


class _Link:
    """A robot that is connected to when it is needed, and let go when it is lost."""

    def __init__(self, connect: Callable[[], Robot]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._robot: Robot | None = None

    def peek(self) -> Robot:
        """Return the robot without waiting for whoever uses it; connect if nobody has."""
        robot = self._robot
        if robot is not None:
            return robot
        with self.use() as robot:
            return robot

    @contextmanager
    def use(self) -> Iterator[Robot]:
        """Lend the robot to one thread. Raises RobotConnectionError."""
        with self._lock:
            if self._robot is None:
                self._robot = self._connect()
            try:
                yield self._robot
            except RobotConnectionError:
                self._close()
                raise

    def close(self) -> None:
        with self._lock:
            self._close()

    def _close(self) -> None:
        robot, self._robot = self._robot, None
        if robot is not None:
            robot.close()
