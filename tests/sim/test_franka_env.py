"""SERL's environment over the simulated arm in lock-step, and its wrappers."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from serl_rt.controller import rotations
from serl_rt.controller._core import ControllerError
from serl_rt.controller.franka_env import FrankaEnv
from serl_rt.controller.robot import RobotError
from serl_rt.controller.wrappers import (
    EulerPose,
    FixedGripper,
    FlatState,
    Intervention,
    RelativeFrame,
)
from serl_rt.export.task import find_task
from serl_rt.export.toml_config import ConfigError
from serl_rt.sim.robot import SimRobot

SETTINGS = """
[franka_env]
action_scale = [0.02, 0.1, 1.0]
joint_reset_period = 2
random_xy = 0.03
random_rz = 0.2
"""


def make(folder: Path, settings: str = SETTINGS, **kwargs: object) -> FrankaEnv:
    task = folder / "task.toml"
    task.write_text(find_task("pick_cube").read_text() + settings)
    return FrankaEnv(SimRobot(str(task)), task, **kwargs)  # type: ignore[arg-type]


def test_gymnasium_accepts_it(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it advises normalised observations
        check_env(make(tmp_path), skip_render_check=True, skip_close_check=True)


def test_a_classifier_as_its_reward_is_refused(tmp_path: Path) -> None:
    task = tmp_path / "task.toml"
    text = find_task("pick_cube").read_text().replace('reward = "dense"', 'reward = "classifier"')
    task.write_text(text)
    with pytest.raises(ConfigError, match=r"FrankaEnv judges by \[pose_reward\]"):
        FrankaEnv(SimRobot("pick_cube"), task)


@pytest.mark.parametrize(
    ("convention", "open_"),
    [("", 1.0), ('convention = "metres"', 0.08), ('convention = "serl"', 0.08)],
)
def test_the_task_says_how_the_gripper_counts(
    convention: str, open_: float, tmp_path: Path
) -> None:
    env = make(tmp_path, f"{SETTINGS}\n[gripper]\n{convention}\n")
    observation, _ = env.reset(seed=1)
    assert observation["state"]["gripper_pose"] == pytest.approx([open_], rel=0.05)


def test_another_convention_of_the_gripper_is_refused(tmp_path: Path) -> None:
    task = tmp_path / "task.toml"
    text = find_task("pick_cube").read_text()
    task.write_text(f'{text}\n[gripper]\nconvention = "inches"\n')
    with pytest.raises(ConfigError, match=r'convention = "inches".*hil-serl'):
        FrankaEnv(SimRobot("pick_cube"), task)
    with pytest.raises(ControllerError, match="convention"):
        SimRobot(str(task))


def test_steps_go_from_the_measured_pose_and_stay_in_the_box(tmp_path: Path) -> None:
    env = make(tmp_path)
    before = env.reset(seed=1)[0]["state"]["tcp_pose"]
    for _ in range(10):
        observation, _, terminated, truncated, info = env.step(
            np.array([1, 0, 0, 0, 0, 0, 0], np.float32)
        )
    after = observation["state"]["tcp_pose"]
    assert not terminated
    assert not truncated
    assert 0.03 < after[0] - before[0] < 0.2
    for _ in range(60):
        observation = env.step(np.array([0, 0, -1, 1, 1, 1, 0], np.float32))[0]
    pose = env.clip_safety_box(observation["state"]["tcp_pose"].astype(np.float64))
    assert np.allclose(pose[:3], observation["state"]["tcp_pose"][:3], atol=0.01)
    tilt = rotations.to_euler(
        rotations.multiply(observation["state"]["tcp_pose"][3:], rotations.inverse([1, 0, 0, 0]))
    )
    assert np.all(np.abs(tilt) < np.array([0.1, 0.1, 0.5]) + 0.05)


def test_random_resets_follow_from_the_seed(tmp_path: Path) -> None:
    env = make(tmp_path)
    poses = [env.reset(seed=seed)[0]["state"]["tcp_pose"] for seed in (1, 2, 1)]
    assert np.allclose(poses[0], poses[2], atol=0.01)
    assert not np.allclose(poses[0], poses[1], atol=0.01)


def test_a_reached_pose_is_success(tmp_path: Path) -> None:
    env = make(tmp_path)
    x, y, z = env.reset(seed=0)[0]["state"]["tcp_pose"][:3]
    goal = f"\n[pose_reward]\nposition = [{x + 0.03:.4f}, {y:.4f}, {z:.4f}]\n"
    task = tmp_path / "goal.toml"
    task.write_text((tmp_path / "task.toml").read_text() + goal)
    env = FrankaEnv(env.robot, task)
    env.reset(seed=0)
    for _ in range(15):
        pose = env.robot.get_state()["tcp_pose"]
        step = np.clip((np.array([x + 0.03, y, z]) - pose[:3]) / 0.02, -1, 1)
        _, reward, terminated, truncated, info = env.step(np.array([*step, 0, 0, 0, 0], np.float32))
        if terminated:
            break
    assert terminated
    assert not truncated
    assert reward == 1.0
    assert info["succeed"]


def test_a_person_s_stop_ends_the_episode_and_is_not_undone(tmp_path: Path) -> None:
    env = make(tmp_path)
    env.reset(seed=0)
    env.robot.stop()
    _, _, terminated, truncated, info = env.step(np.zeros(7, np.float32))
    assert truncated
    assert not terminated
    assert info["stopped"]
    with pytest.raises(RobotError, match="stopped the arm"):
        env.reset()
    env.robot.recover()
    env.reset()


def test_bad_actions_and_bad_settings_are_named(tmp_path: Path) -> None:
    env = make(tmp_path)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="7 finite numbers"):
        env.step(np.full(7, np.nan, np.float32))
    with pytest.raises(ConfigError, match="random_yx"):
        make(tmp_path, "\n[franka_env]\nrandom_yx = 1.0\n")
    with pytest.raises(ConfigError, match="unit quaternion"):
        make(tmp_path, "\n[franka_env]\nnominal_orientation = [1.0, 1.0, 0.0, 0.0]\n")


class Hand:
    """A device that a person holds for the first two steps."""

    def __init__(self) -> None:
        self.steps = 0

    def read(self) -> np.ndarray | None:
        self.steps += 1
        return np.array([0.0, 0.0, 1.0, 0.0, 0.0, 0.0]) if self.steps <= 2 else None


def test_wrappers_in_serls_order(tmp_path: Path) -> None:
    camera = {"wrist": lambda: np.full((16, 16, 3), 7, np.uint8)}
    env = make(tmp_path, cameras=camera, image_shape=(16, 16, 3))
    wrapped = FlatState(EulerPose(RelativeFrame(Intervention(FixedGripper(env), Hand()))))
    observation, _ = wrapped.reset(seed=3)
    assert observation["state"].shape == (19,)  # with Euler angles in place of the quaternion
    assert observation["wrist"].shape == (16, 16, 3)
    assert wrapped.observation_space.contains(observation)
    # gripper_pose, tcp_force, tcp_pose, ...: the pose is relative to the reset pose
    assert np.allclose(observation["state"][4:10], 0.0, atol=1e-5)
    infos = [wrapped.step(np.zeros(6, np.float32))[4] for _ in range(3)]
    assert ["intervene_action" in info for info in infos] == [True, True, False]
    # The person pushed up in the base frame; the tool points down.
    assert infos[0]["intervene_action"][2] < -0.9
