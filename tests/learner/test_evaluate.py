"""Evaluation helpers."""

import numpy as np
import pytest
from point_mass import HORIZON, PointMass

from serl_rt.learner.evaluate import (
    bootstrap_interval,
    evaluate,
    evaluate_parallel,
    run_episode,
    wilson_interval,
)


class Environment:
    """The point mass as a gymnasium environment."""

    def reset(self, *, seed: int | None = None) -> tuple[np.ndarray, dict[str, bool]]:
        self.point = PointMass(seed or 0)
        return self.point.state(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, bool]]:
        state, reward, truncated, success = self.point.step(action)
        return state, reward, False, truncated, {"succeed": success}


def towards_goal(state: np.ndarray) -> np.ndarray:
    return np.clip(-state[:2] - 0.5 * state[2:], -1, 1)


def test_a_trajectory_has_one_more_observation_than_actions() -> None:
    trajectory = run_episode(Environment(), towards_goal, seed=3)
    assert len(trajectory.observations) == len(trajectory.actions) + 1 == HORIZON + 1
    assert trajectory.success
    assert trajectory.total_reward == pytest.approx(sum(trajectory.rewards))


@pytest.mark.parametrize("count", [1, 3, 7])
def test_parallel_evaluation_gives_the_same_as_one_by_one(count: int) -> None:
    alone = evaluate(Environment(), towards_goal, episodes=5, seed=2)
    together = evaluate_parallel(
        [Environment() for _ in range(count)],
        lambda states: [towards_goal(state) for state in states],
        episodes=5,
        seed=2,
    )
    assert together == alone
    assert alone.success_rate == 1.0
    assert alone.success_interval()[0] == pytest.approx(0.5655, abs=1e-3)


def test_wilson_interval_agrees_with_published_values() -> None:
    # Newcombe 1998, table I: 81 of 263 and 0 of 20.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    with pytest.raises(ValueError, match="3 successes of 2 trials"):
        wilson_interval(3, 2)


def test_bootstrap_interval_covers_the_mean_of_a_known_distribution() -> None:
    values = np.random.default_rng(0).normal(2.0, 1.0, 400)
    low, high = bootstrap_interval(values)
    assert low < 2.0 < high
    assert high - low == pytest.approx(2 * 1.96 / 20, rel=0.15)
    with pytest.raises(ValueError, match="no values"):
        bootstrap_interval([])
