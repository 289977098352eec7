"""SERL's FrankaEnv: a task of an arm as a gymnasium environment, over any `Robot`.

The same environment runs over the simulated arm in lock-step (`serl_rt.sim.robot.SimRobot`), over a
controller with a simulated arm or server, and over a real arm (`FrankaRobot`, `RobotClient`).
"""

import os
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray

from serl_rt.controller import rotations
from serl_rt.controller.franka_env_config import load_env_config, unit
from serl_rt.controller.gripper_dialect import gripper_dialect
from serl_rt.controller.robot import Robot, RobotError, RobotState
from serl_rt.export.task import load_task
from serl_rt.export.toml_config import ConfigError

Vector = NDArray[np.float64]
Camera = Callable[[], NDArray[np.uint8]]
"""Returns the newest picture, (height, width, 3) RGB."""

RESET_SPEED = 0.1
"""Of the tool centre point on the way to the reset pose [m/s],"""
RESET_TURN_SPEED = 0.5
"""and of its rotation [rad/s]."""
RESET_SETTLE_S = 1.0
"""How long the arm may take to arrive there."""
RESET_TOLERANCE = 0.01
"""It has arrived this close [m]."""


class FrankaEnv(gymnasium.Env[dict[str, Any], NDArray[np.float32]]):
    """Steps an arm at the task's policy rate.

    Action, (7,) in [-1, 1]: a step of xyz, of the rotation (Euler xyz, base frame), the gripper
    (below -threshold closes, above opens). The next target is the *measured* pose plus the step,
    clipped to the task's workspace and rotation box.

    Observation: `state` with tcp_pose (7,), tcp_vel (6,), gripper_pose (1,) (0 closed, 1 open,
    unless `convention` in the task's [gripper] table says otherwise), tcp_force (3,),
    tcp_torque (3,), SI units, base frame; `images` by camera name, if there are cameras.
    `terminated` is success, `truncated` the step limit or an arm that was stopped
    (`info["stopped"]`). `info["succeed"]` says whether the pose was reached.
    """

    metadata: dict[str, Any] = {"render_modes": []}
    # A real arm never comes back to the same bits.
    spec = EnvSpec("serl_rt/FrankaEnv-v0", f"{__name__}:FrankaEnv", nondeterministic=True)

    def __init__(
        self,
        robot: Robot,
        task: str | os.PathLike[str],
        *,
        cameras: Mapping[str, Camera] | None = None,
        image_shape: tuple[int, int, int] = (128, 128, 3),
        precision: Mapping[str, float | list[float]] | None = None,
    ) -> None:
        """Use a robot for a task: a bundled one by name, or a task file.

        cameras: by the names they have in the observation; all pictures have `image_shape`.
        precision: gains while the arm goes to its reset pose; the task's own otherwise.
        Raises ConfigError naming the file, the key and what is allowed.
        """
        file = load_task(task)
        self.config, self._goal, convention = load_env_config(file.path)
        if file.episode.reward == "classifier":
            raise ConfigError(
                f'{file.path}: [episode] reward = "classifier" is asked by serl-rt control and by '
                "the simulated environments only; FrankaEnv judges by [pose_reward]: write sparse"
            )
        self.robot = robot
        self._dialect = gripper_dialect(robot.describe(), dialect=convention)
        self.hz = file.contract.policy_rate_hz
        self.max_episode_length = file.episode.max_steps
        self._low = np.array(file.contract.workspace_low)
        self._high = np.array(file.contract.workspace_high)
        self._nominal = unit(self.config.nominal_orientation, f"{file.path}: nominal_orientation")
        self._precision = dict(precision or {})
        self._cameras = dict(cameras or {})
        self._compliance: dict[str, Any] = robot.get_gains() if self._precision else {}
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (7,), np.float32)
        self.observation_space = observation_space(list(self._cameras), image_shape)
        self._steps = self._episodes = 0
        self._open: bool | None = None
        self._moved_gripper_s = float("-inf")
        self._state: RobotState = robot.get_state()
        self._start: Vector | None = None

    # ---- the episode

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Execute one action for one policy period.

        Raises ValueError for an action that is not 7 finite numbers.
        """
        values = np.asarray(action, dtype=np.float64)
        if values.shape != (7,) or not np.all(np.isfinite(values)):
            raise ValueError(f"action = {action}: 7 finite numbers are needed")
        values = np.clip(values, -1.0, 1.0)
        gripped = self._command_gripper(values[6] * self.config.action_scale[2])
        self.robot.set_tcp_pose(self.clip_safety_box(self._next_pose(values)))
        self.robot.wait_period(1.0 / self.hz)
        self._steps += 1
        self._state = self.robot.get_state()
        success = self._reached(self._state)
        stopped = self._state["stopped"]
        truncated = not success and (stopped or self._steps >= self.max_episode_length)
        reward = float(success) - (self.config.gripper_penalty if gripped else 0.0)
        info = {"succeed": success, "is_success": success, "stopped": stopped}
        return self._observe(), reward, success, truncated, info

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Bring the arm to an episode's start; random parts follow from the seed.

        An arm that stopped at a limit or a reflex goes on; one that a person has stopped does not.
        Raises RobotError.
        """
        super().reset(seed=seed)
        self._state = self.robot.get_state()
        if self._state["halted"]:
            raise RobotError(
                "somebody has stopped the arm: call robot.recover() when it may move again"
            )
        if self._state["stopped"]:
            self.robot.recover()
        period = self.config.joint_reset_period
        if self._episodes == 0 or (period > 0 and self._episodes % period == 0):
            self._lift()
            self.robot.joint_reset()
        elif self.config.reset_lift > 0.0:
            self._lift()
        self._state = self.robot.get_state()
        self._go_to(self._reset_pose())
        self._episodes += 1
        self._steps = 0
        self._state = self.robot.get_state()
        return self._observe(), {}

    def close(self) -> None:
        """Let the arm hold; the robot stays usable."""
        self.robot.hold()

    # ---- parts of it

    def clip_safety_box(self, pose: Vector) -> Vector:
        """Return the pose, (7,), inside the workspace and the rotation box."""
        turned = rotations.clip_rotation(
            pose[3:], self._nominal, self.config.rotation_low, self.config.rotation_high
        )
        return np.concatenate([np.clip(pose[:3], self._low, self._high), turned])

    def _next_pose(self, action: Vector) -> Vector:
        pose = self._state["tcp_pose"]
        turn = rotations.from_euler(action[3:6] * self.config.action_scale[1])
        position = pose[:3] + action[:3] * self.config.action_scale[0]
        return np.concatenate([position, rotations.multiply(turn, pose[3:])])

    def _command_gripper(self, value: float) -> bool:
        """Open or close if the action says so and the gripper is not there; True if it moved."""
        gripper = self.robot.gripper
        wanted = None if abs(value) <= self.config.gripper_threshold else value > 0.0
        now = 1e-9 * self._state["time_ns"]
        rested = now - self._moved_gripper_s >= self.config.gripper_sleep
        if gripper is None or wanted is None or wanted == self._open or not rested:
            return False
        if wanted:
            gripper.open(wait=False)
        else:
            gripper.close(wait=False)
        self._open, self._moved_gripper_s = wanted, now
        return True

    def _reached(self, state: RobotState) -> bool:
        goal = self._goal
        if goal is None:
            return False
        missing = np.abs(np.array(goal.position) - state["tcp_pose"][:3])
        if np.any(missing >= goal.position_tolerance):
            return False
        if goal.orientation is None:
            return True
        turn = rotations.multiply(goal.orientation, rotations.inverse(state["tcp_pose"][3:]))
        return bool(np.all(np.abs(rotations.to_rotation_vector(turn)) < goal.rotation_tolerance))

    def _reset_pose(self) -> Vector:
        if self._start is None:  # where the first joint reset has ended
            self._start = self._state["tcp_pose"].copy()
        position, orientation = self._start[:3].copy(), self._start[3:]
        if self.config.reset_position is not None:
            position = np.array(self.config.reset_position)
        if self.config.reset_orientation is not None:
            orientation = unit(self.config.reset_orientation, "reset_orientation")
        position[:2] += self.np_random.uniform(-1.0, 1.0, 2) * self.config.random_xy
        yaw = self.np_random.uniform(-1.0, 1.0) * self.config.random_rz
        turned = rotations.multiply(rotations.from_euler([0.0, 0.0, yaw]), orientation)
        return np.concatenate([position, turned])

    def _lift(self) -> None:
        pose = self._state["tcp_pose"].copy()
        pose[2] += self.config.reset_lift
        if self.config.reset_lift > 0.0:
            self._go_to(pose)

    def _go_to(self, pose: Vector) -> None:
        """Move straight to a pose inside the box, with the precision gains."""
        goal = self.clip_safety_box(pose)
        begin = self._state["tcp_pose"]
        way = float(np.linalg.norm(goal[:3] - begin[:3]))
        turn = rotations.multiply(goal[3:], rotations.inverse(begin[3:]))
        angle = float(np.linalg.norm(rotations.to_rotation_vector(turn)))
        duration = max(way / RESET_SPEED, angle / RESET_TURN_SPEED)
        steps = max(1, int(np.ceil(duration * self.hz)))
        if self._precision:
            self.robot.set_gains(**self._precision)
        try:
            self._follow(begin, goal, steps)
        finally:
            if self._precision:
                self.robot.set_gains(**self._compliance)

    def _follow(self, begin: Vector, goal: Vector, steps: int) -> None:
        self.robot.wait_period(0.0)  # the pace begins here
        for step in range(1, steps + 1 + int(np.ceil(RESET_SETTLE_S * self.hz))):
            part = min(1.0, step / steps)
            position = begin[:3] + part * (goal[:3] - begin[:3])
            turned = rotations.slerp(begin[3:], goal[3:], part)
            self.robot.set_tcp_pose(np.concatenate([position, turned]))
            self.robot.wait_period(1.0 / self.hz)
            state = self.robot.get_state()
            if state["stopped"]:
                raise RobotError("the arm was stopped on the way to its reset pose")
            missing = float(np.linalg.norm(goal[:3] - state["tcp_pose"][:3]))
            if part >= 1.0 and missing < RESET_TOLERANCE:
                break

    def _observe(self) -> dict[str, Any]:
        state = self._state
        values = {
            "tcp_pose": state["tcp_pose"],
            "tcp_vel": state["tcp_vel"],
            "gripper_pose": [
                self._dialect.position(state["gripper_opening"], state["gripper_width"])
            ],
            "tcp_force": state["tcp_force"],
            "tcp_torque": state["tcp_torque"],
        }
        observation: dict[str, Any] = {
            "state": {name: np.asarray(value, np.float32) for name, value in values.items()}
        }
        if self._cameras:
            observation["images"] = {name: read() for name, read in self._cameras.items()}
        return observation


def observation_space(
    cameras: list[str], image_shape: tuple[int, int, int]
) -> gymnasium.spaces.Dict:
    """Return the space of SERL's observations."""
    sizes = {"tcp_pose": 7, "tcp_vel": 6, "gripper_pose": 1, "tcp_force": 3, "tcp_torque": 3}
    spaces: dict[str, gymnasium.Space[Any]] = {
        "state": gymnasium.spaces.Dict(
            {
                name: gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)
                for name, size in sizes.items()
            }
        )
    }
    if cameras:
        picture = gymnasium.spaces.Box(0, 255, image_shape, np.uint8)
        spaces["images"] = gymnasium.spaces.Dict(dict.fromkeys(cameras, picture))
    return gymnasium.spaces.Dict(spaces)
