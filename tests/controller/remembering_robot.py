"""A robot that only remembers, and SERL's HTTP routes over it."""

import threading
from typing import Any

import numpy as np
from fastapi.testclient import TestClient
from numpy.typing import ArrayLike

from serl_rt.controller.gripper_dialect import Dialect, GripperDialect, GripperType
from serl_rt.controller.http.app import make_app
from serl_rt.controller.http.guard import Guard
from serl_rt.controller.http.service import RobotService
from serl_rt.controller.robot import (
    GripperState,
    MoveInterruptedError,
    RobotConnectionError,
    RobotDescription,
    RobotState,
    UnsupportedError,
)

TOOL_DOWN = [1.0, 0.0, 0.0, 0.0]
POSE = [0.5, 0.1, 0.3, *TOOL_DOWN]


class RememberingGripper:
    """A gripper that arrives at once."""

    max_width = 0.08

    def __init__(self) -> None:
        self.width = 0.08
        self.calls: list[str] = []

    def open(self, *, wait: bool = True) -> None:
        assert not wait
        self.width = self.max_width

    def close(self, *, wait: bool = True) -> None:
        assert not wait
        self.calls.append("close")
        self.width = 0.0

    def move(self, width: float, *, speed: float | None = None, wait: bool = True) -> None:
        assert not wait
        assert 0 <= width <= self.max_width
        self.width = width

    def grasp(
        self,
        width: float = 0.0,
        *,
        speed: float | None = None,
        force: float | None = None,
        wait: bool = True,
    ) -> bool:
        if speed is not None:
            raise UnsupportedError("one speed")
        self.close(wait=wait)
        return False

    def is_grasped(self) -> bool:
        return False

    def state(self) -> GripperState:
        return GripperState(self.width, self.width / self.max_width, False, False)

    def stop(self) -> None: ...

    def activate(self) -> None:
        self.calls.append("activate")

    def disconnect(self) -> None: ...


class RememberingRobot:
    """A robot that is where it was last told to be, and keeps what it was told."""

    def __init__(self, gripper: RememberingGripper | None = None) -> None:
        self.gripper = gripper
        self.pose = np.array(POSE)
        self.poses: list[np.ndarray] = []
        self.wrenches: list[np.ndarray] = []
        self.gains: dict[str, Any] = {
            "translational_stiffness": 2000.0,
            "translational_clip": [0.01, 0.01, 0.01],
            "translational_clip_neg": [0.01, 0.01, 0.01],
            "rotational_clip": [0.05, 0.05, 0.05],
            "rotational_clip_neg": [0.05, 0.05, 0.05],
        }
        self.load: tuple[float, list[float], list[list[float]]] | None = None
        self.halted = self.stopped = self.lost = False
        self.in_charge = "operator"
        self.recovered = 0
        self.resets: list[list[float]] = []
        self.moving = threading.Event()
        self.may_arrive = threading.Event()
        self.may_arrive.set()

    def get_state(self) -> RobotState:
        if self.lost:
            raise RobotConnectionError("no state from tcp://127.0.0.1:5590 within 2 s")
        opening = self.gripper.state().opening if self.gripper else 0.0
        return RobotState(
            time_ns=1,
            joint_positions=np.arange(7) / 10,
            joint_velocities=np.arange(7) / 100,
            joint_torques=np.zeros(7),
            tcp_pose=self.pose,
            tcp_vel=np.arange(6) / 10,
            tcp_force=np.array([1.0, 2.0, 3.0]),
            tcp_torque=np.array([0.1, 0.2, 0.3]),
            jacobian=np.arange(42.0).reshape(6, 7),
            gripper_width=opening * 0.08,
            gripper_opening=opening,
            target_pose=self.pose,
            mode="hold",
            in_charge=self.in_charge,
            stopped=self.stopped,
            halted=self.halted,
            faults={},
        )

    def describe(self) -> RobotDescription:
        return RobotDescription(
            task="test",
            policy_rate_hz=10.0,
            workspace_low=[0.3, -0.3, 0.0],
            workspace_high=[0.7, 0.3, 0.6],
            q_min=[-3.0] * 7,
            q_max=[3.0] * 7,
            dq_max=[2.0] * 7,
            reset_q=[0.0] * 7,
            reset_duration_s=1.0,
            wrench_cap=[10.0] * 6,
            gripper_kind="robotiq",
            gripper_convention="serl",
            gripper_max_width=0.08,
        )

    def move_to_joint_positions(
        self, q: ArrayLike, *, duration: float | None = None, timeout: float | None = None
    ) -> None:
        self.resets.append(np.asarray(q).tolist())
        self.moving.set()
        assert self.may_arrive.wait(10)
        if self.stopped:
            raise MoveInterruptedError("the move ended early: the arm is in hold, stopped")

    def joint_reset(self, *, duration: float | None = None) -> None:
        self.move_to_joint_positions([0.0] * 7)

    def set_tcp_pose(self, pose: ArrayLike) -> None:
        self.pose = np.asarray(pose)
        self.poses.append(self.pose)

    def set_joint_positions(self, q: ArrayLike) -> None: ...

    def set_wrench(self, wrench: ArrayLike) -> None:
        self.wrenches.append(np.asarray(wrench))

    def set_gains(self, **gains: float | ArrayLike) -> None:
        self.gains |= gains

    def get_gains(self) -> dict[str, float | list[float]]:
        return dict(self.gains)

    def set_load(self, mass: float, center_of_mass: ArrayLike, inertia: ArrayLike) -> None:
        assert np.shape(inertia) == (3, 3)
        self.load = mass, np.asarray(center_of_mass).tolist(), np.asarray(inertia).tolist()

    def hold(self) -> None: ...

    def guide(self) -> None: ...

    def stop(self) -> None:
        self.stopped = self.halted = True
        self.may_arrive.set()

    def recover(self) -> None:
        self.stopped = self.halted = False
        self.recovered += 1

    def wait_period(self, period: float) -> None: ...

    def close(self) -> None: ...


HIL_FRANKA = GripperDialect(GripperType.FRANKA, Dialect.HIL_SERL)


def serve(
    robot: RememberingRobot, dialect: GripperDialect = HIL_FRANKA, **options: Any
) -> TestClient:
    service = RobotService(lambda: robot, dialect.type, dialect.dialect, **options)
    return TestClient(
        Guard(make_app(service)),  # type: ignore[arg-type]
        base_url="http://127.0.0.1:5000",
        raise_server_exceptions=False,
    )
