"""The scripted expert, and the demonstrations that are recorded of it."""

from pathlib import Path

import numpy as np
import pytest

from serl_rt.export.demonstrations import check_columns, load_demonstrations
from serl_rt.sim.envs import SimArmEnv
from serl_rt.sim.expert import PickCubeExpert
from serl_rt.sim.record import make_expert, record_demonstrations
from serl_rt.sim.record_command import main as record


@pytest.fixture(scope="module")
def env() -> SimArmEnv:
    return SimArmEnv("pick_cube", reward="sparse")


def count_successes(env: SimArmEnv, noise: float, episodes: int) -> int:
    """Run the environment's expert from the seeds 0, 1, ..."""
    expert = make_expert(env, noise, np.random.default_rng(0))
    successes = 0
    for seed in range(episodes):
        observation, _ = env.reset(seed=seed)
        expert.reset()
        ended = False
        while not ended:
            action = expert.act(observation | env.truth)
            observation, _, terminated, truncated, info = env.step(action)
            ended = terminated or truncated
        successes += info["succeed"]
    return successes


@pytest.mark.parametrize(("noise", "episodes"), [(0.0, 200), (0.2, 50)])
def test_the_expert_picks_the_cube(env: SimArmEnv, noise: float, episodes: int) -> None:
    assert count_successes(env, noise, episodes) >= 0.98 * episodes


def test_demonstrations_are_consistent_episodes() -> None:
    env = SimArmEnv("pick_cube")
    columns = record_demonstrations(env, episodes=3, noise=0.2, seed=5)
    check_columns(columns, env.contract, "recorded")
    assert sorted(set(columns["episode"])) == [0, 1, 2]
    for episode in range(3):
        rows = columns["episode"] == episode
        assert (columns["step"][rows] == np.arange(rows.sum())).all()
        assert columns["success"][rows][-1] == 1
        ends = columns["terminated"][rows] | columns["truncated"][rows]
        assert ends[-1] == 1
        assert ends[:-1].sum() == 0
        assert (np.diff(columns["time_ns"][rows]) == 100_000_000).all()
        for field in env.contract.observation:
            following = columns[f"next_observation/{field.name}"][rows][:-1]
            assert (following == columns[f"observation/{field.name}"][rows][1:]).all()


def test_demonstrations_follow_from_the_seed() -> None:
    env = SimArmEnv("pick_cube", reward="sparse")
    first = record_demonstrations(env, 2, 0.1, seed=1)
    again = record_demonstrations(SimArmEnv("pick_cube", reward="sparse"), 2, 0.1, seed=1)
    other = record_demonstrations(env, 2, 0.1, seed=2)
    assert (first["action"] == again["action"]).all()
    assert (
        first["action"].shape != other["action"].shape or (first["action"] != other["action"]).any()
    )


def test_what_was_executed_is_what_is_recorded() -> None:
    """Replaying the recorded actions gives the recorded observations."""
    env = SimArmEnv("pick_cube", reward="sparse")
    columns = record_demonstrations(env, 1, 0.2, seed=3)
    start = columns["observation/cube_position"][0]
    rng = np.random.default_rng(3)
    for _ in range(20):  # the seeds that the recording may have used
        observation, _ = env.reset(seed=int(rng.integers(2**31)))
        if (observation["cube_position"] == start).all():
            break
    for action, following in zip(
        columns["action"], columns["next_observation/cube_position"], strict=True
    ):
        observation, *_ = env.step(action)
        assert (observation["cube_position"] == following).all()


def test_too_many_failures_are_an_error(env: SimArmEnv) -> None:
    with pytest.raises(RuntimeError, match="less noise than 50"):
        record_demonstrations(env, episodes=1, noise=50.0, seed=0)


def test_failures_are_kept_where_they_are_wanted(env: SimArmEnv, tmp_path: Path) -> None:
    file = tmp_path / "all.npz"
    options = ["--episodes", "4", "--noise", "0.5", "--seed", "0", "--reward", "sparse"]
    assert record([str(file), *options, "--failures"]) == 0
    columns = load_demonstrations(file, env.contract)
    succeeded = {int(n) for n in columns["episode"][columns["success"].astype(bool)]}
    assert set(columns["episode"]) == {0, 1, 2, 3}
    assert len(succeeded) < 4
    assert record([str(file), *options]) == 0
    columns = load_demonstrations(file, env.contract)
    assert {int(n) for n in columns["episode"][columns["success"].astype(bool)]} == {0, 1, 2, 3}


def test_another_contract_is_refused() -> None:
    with pytest.raises(ValueError, match="gripper"):
        PickCubeExpert(SimArmEnv("reach").contract, 0.0, np.random.default_rng(0))


@pytest.mark.parametrize(("noise", "episodes"), [(0.0, 40), (0.2, 20)])
def test_the_expert_inserts_the_peg(noise: float, episodes: int) -> None:
    env = SimArmEnv("peg_insert", reward="sparse")
    assert count_successes(env, noise, episodes) >= 0.9 * episodes


def test_demonstrations_from_cameras_hold_each_image_once() -> None:
    env = SimArmEnv("pick_cube_vision", reward="sparse")
    columns = record_demonstrations(env, 2, 0.1, seed=0)
    check_columns(columns, env.contract, "recorded")
    np.testing.assert_array_equal(columns["starts"], columns["step"] == 0)
    assert len(columns["observation/wrist"]) == 2
    assert len(columns["next_observation/wrist"]) == len(columns["reward"])
    # The first episode again: what was recorded is what was seen.
    rng = np.random.default_rng(0)
    expert = make_expert(env, 0.1, rng)
    seen, _ = env.reset(seed=int(rng.integers(2**31)))
    np.testing.assert_array_equal(columns["observation/front"][0], seen["front"])
    expert.reset()
    seen, *_ = env.step(columns["action"][0])
    np.testing.assert_array_equal(columns["next_observation/front"][0], seen["front"])
