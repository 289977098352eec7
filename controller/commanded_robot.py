"""A `Robot` made of a controller's commands, wherever they are carried out."""

from types import TracebackType
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from serl_rt.controller.commands import ArmCommands
from serl_rt.controller.gripper import ControllerGripper
from serl_rt.controller.robot import (
    Gripper,
    MoveInterruptedError,
    NotInChargeError,
    RobotDescription,
    RobotError,
    RobotState,
    TargetRefusedError,
)
from serl_rt.export.operator_messages import StreamTarget
from serl_rt.export.wire_header import Value

Self = TypeVar("Self", bound="CommandedRobot")

POLL_S = 0.005
"""How often a blocking motion looks at the state [s]."""
ARRIVED_RAD = 0.03
"""A move that ends further from its goal did not arrive [rad]."""
RECOVERY_S = 10.0
"""How long a robot may take to come back from a reflex [s]."""


class CommandedRobot:
    """A robot under a controller's commands; see `serl_rt.controller.robot.Robot`."""

    def __init__(self, commands: ArmCommands, *, target_timeout: float = 0.5) -> None:
        """Use a controller that runs.

        target_timeout: the arm holds this long after the last streamed target [s], 0.02 to 5;
        after a wrench 0.1 s at most.
        """
        self._commands = commands
        self._target_timeout = target_timeout
        self._description = cast(RobotDescription, self.command("describe"))
        present = self._description["gripper_max_width"] > 0.0
        self._gripper = ControllerGripper(commands) if present else None
        self._last_period: float | None = None

    @property
    def gripper(self) -> Gripper | None:
        """The gripper, if there is one."""
        return self._gripper

    def command(self, name: str, **args: Value) -> Value:
        """Have the controller carry out one of its commands; `help` lists them."""
        return self._commands.command(name, args)

    def describe(self) -> RobotDescription:
        """Return what does not change while the robot runs."""
        return self._description

    def get_state(self) -> RobotState:
        """Return the newest sample."""
        sample = self._commands.sample()
        status = cast(dict[str, Any], sample.status)
        opening = float(sample.gripper[0])
        return RobotState(
            time_ns=sample.time_ns,
            joint_positions=sample.q,
            joint_velocities=sample.dq,
            joint_torques=sample.tau_J,
            tcp_pose=sample.tcp_pose,
            tcp_vel=sample.tcp_vel,
            tcp_force=sample.tcp_wrench[:3],
            tcp_torque=sample.tcp_wrench[3:],
            jacobian=sample.jacobian.reshape(6, 7),
            gripper_width=opening * self._description["gripper_max_width"],
            gripper_opening=opening,
            target_pose=sample.reference,
            mode=status["mode"],
            in_charge=status["in_charge"],
            stopped=status["stopped"],
            halted=status["halted"],
            faults=dict(status["faults"]),
        )

    def move_to_joint_positions(
        self, q: ArrayLike, *, duration: float | None = None, timeout: float | None = None
    ) -> None:
        """Move on a minimum-jerk path; returns on arrival."""
        goal = vector("q", q, 7)
        self._move("move_joints", goal, duration, timeout, q=goal.tolist())

    def joint_reset(self, *, duration: float | None = None) -> None:
        """Move to where the task's episodes begin; returns on arrival."""
        self._move("joint_reset", np.array(self._description["reset_q"]), duration, None)

    def _move(
        self,
        name: str,
        goal: NDArray[np.float64],
        duration: float | None,
        timeout: float | None,
        **args: Value,
    ) -> None:
        if duration is not None:
            args["duration_s"] = float(duration)
        try:
            plan = cast(dict[str, Any], self.command(name, **args))
        except NotInChargeError:
            raise
        except RobotError as error:
            raise TargetRefusedError(str(error)) from None
        sequence = plan["sequence"]
        longest = plan["duration_s"] + plan["settle_s"] + 2.0
        end = self._commands.now() + (longest if timeout is None else min(longest, timeout))
        try:
            while not self._arrived(sequence, goal):
                if self._commands.now() > end:
                    self.stop()
                    raise MoveInterruptedError(f"{name} did not end in time; the arm was stopped")
                self._commands.wait(POLL_S)
        except KeyboardInterrupt:
            self.stop()
            raise

    def _arrived(self, sequence: int, goal: NDArray[np.float64]) -> bool:
        sample = self._commands.sample()
        status = cast(dict[str, Any], sample.status)
        refused = status["refused"]
        if refused is not None and refused["sequence"] == sequence:
            raise TargetRefusedError(
                f"{refused['fault']}: {refused['value']:.4g}, allowed: {refused['limit']:.4g}"
            )
        if status["move_done_sequence"] == sequence:
            missing = float(np.max(np.abs(sample.q - goal)))
            if missing > ARRIVED_RAD:
                raise MoveInterruptedError(
                    f"the arm did not reach its goal: {missing:.3f} rad are left in a joint; "
                    "something is in the way"
                )
            return True
        current = status["target_sequence"]
        if current == sequence and status["mode"] != "joint_move":
            raise MoveInterruptedError(
                f"the move ended early: the arm is in {status['mode']}"
                + (", stopped" if status["stopped"] else "")
            )
        if sequence < current:
            raise MoveInterruptedError("another target has replaced the move")
        return False

    def set_tcp_pose(self, pose: ArrayLike) -> None:
        """Follow a pose, (7,), with Cartesian impedance."""
        values = vector("pose", pose, 7)
        norm = float(np.linalg.norm(values[3:]))
        if not 0.99 <= norm <= 1.01:
            raise ValueError(f"pose[3:] = {values[3:]}: a unit quaternion xyzw is needed")
        values[3:] /= norm
        self._stream("pose", values)

    def set_joint_positions(self, q: ArrayLike) -> None:
        """Follow joint positions, (7,) [rad], with joint impedance."""
        self._stream("joints", vector("q", q, 7))

    def set_wrench(self, wrench: ArrayLike) -> None:
        """Push with a wrench, (6,) [N, Nm]."""
        self._stream("wrench", vector("wrench", wrench, 6))

    def intervene(self, action: ArrayLike, valid: float) -> None:
        """Put a person's action in place of the policy's, for the steps of the next `valid` [s].

        action: the contract's, in [-1, 1]. Only of use while a policy acts.
        """
        values = np.asarray(action, dtype=np.float64)
        self._commands.send_target(StreamTarget("action", values.tolist(), valid))

    def _stream(self, kind: str, values: NDArray[np.float64]) -> None:
        self.stream(StreamTarget(kind, values.tolist(), self._target_timeout))

    def stream(self, target: StreamTarget) -> None:
        """Send a target as it is; the controller checks it."""
        self._commands.send_target(target)

    def set_gains(self, **gains: float | ArrayLike) -> None:
        """Change parameters of the impedance law; see Robot.set_gains()."""
        args: dict[str, Value] = {
            name: float(value) if np.ndim(value) == 0 else np.asarray(value, np.float64).tolist()  # type: ignore[arg-type]
            for name, value in gains.items()
        }
        try:
            self.command("set_gains", **args)
        except NotInChargeError:
            raise
        except RobotError as error:
            raise ValueError(str(error)) from None

    def get_gains(self) -> dict[str, float | list[float]]:
        """Return the parameters of the impedance law that were last set."""
        return cast(dict[str, float | list[float]], self.command("gains"))

    def set_load(self, mass: float, center_of_mass: ArrayLike, inertia: ArrayLike) -> None:
        """Tell the robot what it carries; returns when it does, or raises with the reason.

        A robot takes a load only while no control runs: the arm brakes, its control ends and begins
        anew. Afterwards it is stopped, as after a reflex, until hold(), recover() or a joint move.
        """
        columns = vector("inertia", np.asarray(inertia, np.float64).ravel(order="F"), 9)
        number: Any = self.command(
            "set_load",
            mass_kg=float(mass),
            F_x_Cload=vector("center_of_mass", center_of_mass, 3).tolist(),
            load_inertia=columns.tolist(),
        )
        end = self._commands.now() + RECOVERY_S
        ticks: int | None = None  # at the end of the change: what comes before one more is undone
        while True:
            status = cast(dict[str, Any], self.command("status"))
            load = status["robot"]["load"]
            if load["done"] >= number:
                if load["failure"]:
                    raise RobotError(f"the load is as before: {load['failure']}")
                if ticks is not None and status["ticks"] > ticks:
                    return
                ticks = status["ticks"] if ticks is None else ticks
            if self._commands.now() > end:
                raise RobotError(f"the robot does not take the load within {RECOVERY_S} s")
            self._commands.wait(POLL_S)

    def hold(self) -> None:
        """Stay where the arm is; ends a stop. Returns when it is in force."""
        self._await(self.command("hold"))

    def guide(self) -> None:
        """Let a person move the arm. Returns when it is in force."""
        self._await(self.command("guide"))

    def stop(self) -> None:
        """Brake now and hold."""
        self.command("stop")

    def recover(self) -> None:
        """Clear the robot's errors and hold. Returns when the arm holds."""
        self._await(self.command("recover"))

    def _await(self, sequence: Value) -> None:
        """Wait until the 1 kHz loop has taken a target over: a later one would replace it."""
        end = self._commands.now() + RECOVERY_S
        while True:
            status = cast(dict[str, Any], self._commands.sample().status)
            if status["target_sequence"] == sequence:
                return
            refused = status["refused"]
            if refused is not None and refused["sequence"] == sequence:
                raise TargetRefusedError(f"the controller refused: {refused['fault']}")
            if self._commands.now() > end:
                raise RobotError(f"the arm does not react within {RECOVERY_S} s; is it there?")
            self._commands.wait(0.002)

    def wait_period(self, period: float) -> None:
        """Let time pass until `period` [s] after this last returned; at once if that is over."""
        now = self._commands.now()
        end = (now if self._last_period is None else self._last_period) + period
        if end > now:
            self._commands.wait(end - now)
            self._last_period = end
        else:
            self._last_period = now

    def close(self) -> None:
        """Disconnect; without new targets the arm holds."""
        self._commands.close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def vector(name: str, values: ArrayLike, length: int) -> NDArray[np.float64]:
    """Return a copy as float64. Raises ValueError: not that many finite numbers."""
    array: NDArray[np.float64] = np.array(values, dtype=np.float64)
    if array.shape != (length,) or not np.all(np.isfinite(array)):
        raise ValueError(f"{name} = {array}: {length} finite numbers are needed")
    return array
