"""The gymnasium environments: the API's rules, seeds, contracts, what a person sees."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_sb3

from serl_rt.controller._core import ControllerError
from serl_rt.export.task import load_task
from serl_rt.sim import ENVIRONMENTS
from serl_rt.sim.envs import SimArmEnv


def trajectory(env: SimArmEnv, seed: int | None, actions_seed: int, steps: int = 30) -> bytes:
    """Bits of the observations and rewards of random actions."""
    rng = np.random.default_rng(actions_seed)
    observation, _ = env.reset(seed=seed)
    bits = [value.tobytes() for value in observation.values()]
    for _ in range(steps):
        action = rng.uniform(-1, 1, env.contract.action_dim).astype(np.float32)
        observation, reward, *_ = env.step(action)
        bits += [value.tobytes() for value in observation.values()] + [np.float64(reward).tobytes()]
    return b"".join(bits)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_gymnasium_accepts_it(name: str) -> None:
    env = gymnasium.make(name, disable_env_checker=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # SI units have no bounds; expected ranges are in the contract.
        warnings.filterwarnings("ignore", message=".*(infinity|-inf|close to the).*")
        check_env(env.unwrapped, skip_render_check=True)


def test_closing_the_gripper_costs_the_grasp_penalty() -> None:
    env = SimArmEnv("pick_cube")
    env.reset(seed=0)
    commands = (1.0, -1.0, -1.0, 0.0, 1.0)
    penalties = [env.step(np.array([0, 0, 0, c], np.float32))[4]["grasp_penalty"] for c in commands]
    np.testing.assert_allclose(penalties, [0.0, -0.02, 0.0, 0.0, -0.02])


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_stable_baselines3_accepts_it(name: str) -> None:
    check_env_sb3(gymnasium.make(name).unwrapped)


@pytest.mark.parametrize(("name", "task"), ENVIRONMENTS.items())
def test_spaces_are_the_task_files_contract(name: str, task: str) -> None:
    env = gymnasium.make(name).unwrapped
    assert isinstance(env, SimArmEnv)
    assert env.contract == load_task(task).contract
    observation, _ = env.reset(seed=0)
    fields = [field.name for field in env.contract.observation]
    images = {image.name: (image.height, image.width, 3) for image in env.contract.images}
    assert list(observation) == [*fields, *images]
    assert env.observation_space.contains(observation)
    assert all(observation[name].dtype == np.float32 for name in fields)
    for name, shape in images.items():
        assert observation[name].shape == shape
        assert observation[name].dtype == np.uint8


@pytest.mark.parametrize("task", ENVIRONMENTS.values())
def test_same_seed_same_bits(task: str) -> None:
    first, second = SimArmEnv(task), SimArmEnv(task)
    bits = trajectory(first, 7, 0)
    assert trajectory(second, 7, 0) == bits
    assert trajectory(first, 7, 0) == bits  # also after other episodes
    assert trajectory(first, 8, 0) != bits
    assert trajectory(first, 7, 1) != bits


@pytest.mark.parametrize("task", ENVIRONMENTS.values())
def test_later_resets_differ_and_follow_from_the_first_seed(task: str) -> None:
    def places(env: SimArmEnv, seed: int) -> list[tuple[float, ...]]:
        key = {"reach": "goal_position"}.get(
            task, "hole_position" if task.startswith("peg") else "cube_position"
        )
        result = []
        for i in range(5):
            env.reset(seed=seed if i == 0 else None)
            result.append(tuple(env.truth[key].tolist()))
        return result

    env = SimArmEnv(task)
    first = places(env, 3)
    assert len(set(first)) == 5
    assert places(env, 3) == first
    assert places(env, 4) != first


@pytest.mark.parametrize("task", ENVIRONMENTS.values())
def test_an_episode_is_truncated_not_terminated_by_its_time_limit(task: str) -> None:
    env = SimArmEnv(task, reward="sparse")
    env.reset(seed=0)
    steps, truncated = 0, False
    while not truncated:
        _, reward, terminated, truncated, info = env.step(np.zeros(env.contract.action_dim, "f4"))
        steps += 1
        assert not terminated
        assert reward == 0.0
        assert info["succeed"] is False
    assert steps == load_task(task).episode.max_steps


def test_a_sparse_task_ends_at_success_a_dense_one_goes_on() -> None:
    for reward, ends in (("sparse", True), ("dense", False)):
        env = SimArmEnv("reach", reward=reward)
        observation, _ = env.reset(seed=1)
        for _ in range(40):
            action = np.clip(observation["tcp_to_goal"] / 0.05, -1, 1).astype(np.float32)
            observation, value, terminated, _, info = env.step(action)
            if info["succeed"]:
                break
        assert info["succeed"]
        assert np.linalg.norm(observation["tcp_to_goal"]) < 0.02
        assert value > 0.5
        assert terminated is ends


def test_serls_keys_join_the_fields_and_keep_the_images() -> None:
    env = gymnasium.make("serl_rt/PandaPickCubeVision-v0", keys="serl")
    observation, _ = env.reset(seed=0)
    assert list(observation) == ["state", "front", "wrist"]
    assert env.observation_space.contains(observation)
    plain = SimArmEnv("pick_cube_vision")
    fields, _ = plain.reset(seed=0)
    names = [field.name for field in plain.contract.observation]
    np.testing.assert_array_equal(observation["state"], np.concatenate([fields[n] for n in names]))
    np.testing.assert_array_equal(observation["wrist"], fields["wrist"])
    assert "cube_position" not in fields
    assert plain.truth["cube_position"].shape == (3,)
    with pytest.raises(ValueError, match="contract"):
        SimArmEnv("pick_cube_vision", keys="hil")


def test_a_peg_is_held_and_what_it_touches_is_felt() -> None:
    env = SimArmEnv("peg_insert")
    observation, _ = env.reset(seed=0)
    assert observation["tip_to_hole"] == pytest.approx(env.truth["tip_to_hole"])
    tip = env.truth["hole_position"] - env.truth["tip_to_hole"]
    assert observation["tcp_position"] - tip == pytest.approx([0, 0, 0.07], abs=1e-3)
    assert np.abs(observation["tcp_force"]).max() < 0.1
    for step in range(40):  # over the socket's rim, 2 cm beside the hole, then down
        way = env.truth["tip_to_hole"] + np.array([0.0, 0.02, 0.03 if step < 20 else -0.03])
        observation, *_, info = env.step(np.clip(way / 0.02, -1, 1).astype(np.float32))
    assert not info["succeed"]
    assert observation["tcp_force"][2] < -1  # the arm presses down
    held = observation["tcp_position"] - (env.truth["hole_position"] - env.truth["tip_to_hole"])
    assert held == pytest.approx([0, 0, 0.07], abs=3e-3)


def test_actions_outside_the_contract_are_refused() -> None:
    env = SimArmEnv("pick_cube")
    env.reset(seed=0)
    for action in ([0, 0, 0], [0, 0, np.nan, 0], [0, 0, 1.5, 0], [[0, 0, 0, 0]]):
        with pytest.raises(ControllerError, match="action"):
            env.step(np.array(action, np.float32))


def test_serls_task_sees_and_does_what_serls_does() -> None:
    env = gymnasium.wrappers.FlattenObservation(gymnasium.make("serl_rt/PandaPickCubeSerl-v0"))
    observation, _ = env.reset(seed=0)
    assert observation.shape == (10,)
    assert env.action_space.shape == (4,)
    arm = env.unwrapped
    assert isinstance(arm, SimArmEnv)
    assert arm.contract.policy_rate_hz == 50
    cube, opening, tcp = observation[:3], observation[3], observation[4:7]
    assert cube[2] == pytest.approx(0.02, abs=1e-3)
    assert opening == 1
    assert tcp == pytest.approx([0.307, 0, 0.490], abs=2e-3)
    for _ in range(10):  # positive gripper actions close; steps add up on the target
        observation, *_ = env.step(np.array([0, 0, -0.1, 1], np.float32))
    assert observation[3] == 0
    for _ in range(85):
        observation, *_ = env.step(np.zeros(4, np.float32))
    assert observation[4:7] == pytest.approx([*tcp[:2], tcp[2] - 0.1], abs=3e-3)


def test_render_shows_the_scene_and_the_goal() -> None:
    env = SimArmEnv("reach", render_mode="rgb_array", width=160, height=120)
    env.reset(seed=0)
    pictures = [env.render()]
    env.reset(seed=1)
    pictures.append(env.render())
    for picture in pictures:
        assert picture is not None
        assert picture.shape == (120, 160, 3)
        assert picture.dtype == np.uint8
        assert picture.std() > 10
    # The arm is where it was; only the green marker moved.
    changed = (pictures[0] != pictures[1]).any(axis=-1)
    assert 0 < changed.mean() < 0.1
    env.close()
    assert SimArmEnv("reach").render() is None


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="pick_cube"):
        SimArmEnv("juggle")
    with pytest.raises(ValueError, match="dense"):
        SimArmEnv("reach", reward="kind")
    with pytest.raises(ValueError, match="rgb_array"):
        SimArmEnv("reach", render_mode="human")
    env = SimArmEnv("reach", render_mode="rgb_array", camera="back")
    env.reset(seed=0)
    with pytest.raises(ValueError, match="overview, front, wrist"):
        env.render()
