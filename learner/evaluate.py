"""Evaluating policies: episodes, success with its uncertainty, trajectories."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Observation = Any
Act = Callable[[Observation], NDArray[np.float32]]
"""From an environment's observation to its action."""


class Environment(Protocol):
    """A gymnasium environment, as far as it is needed here."""

    def reset(self, *, seed: int | None = None) -> tuple[Observation, dict[str, Any]]:
        """Start an episode."""

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Return observation, reward, terminated, truncated, info."""


@dataclass(frozen=True)
class Trajectory:
    """One episode."""

    observations: tuple[Observation, ...]
    """One more than there are actions."""
    actions: tuple[NDArray[np.float32], ...]
    rewards: tuple[float, ...]
    infos: tuple[Mapping[str, Any], ...]

    @property
    def total_reward(self) -> float:
        """Sum of rewards."""
        return float(sum(self.rewards))

    @property
    def success(self) -> bool:
        """Whether any step reported `succeed` or `is_success`."""
        return any(info.get("succeed") or info.get("is_success") for info in self.infos)


@dataclass(frozen=True)
class Evaluation:
    """Outcome of several episodes."""

    returns: tuple[float, ...]
    successes: tuple[bool, ...]
    lengths: tuple[int, ...]

    @property
    def success_rate(self) -> float:
        """Share of successful episodes."""
        return float(np.mean(self.successes))

    @property
    def mean_return(self) -> float:
        """Mean sum of rewards."""
        return float(np.mean(self.returns))

    def success_interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return Wilson's score interval of the success rate."""
        return wilson_interval(sum(self.successes), len(self.successes), confidence)


def run_episode(environment: Environment, act: Act, seed: int | None = None) -> Trajectory:
    """Run one episode to its end."""
    observation, _ = environment.reset(seed=seed)
    observations, actions, rewards, infos = [observation], [], [], []
    ended = False
    while not ended:
        action = act(observation)
        observation, reward, terminated, truncated, info = environment.step(action)
        observations.append(observation)
        actions.append(action)
        rewards.append(float(reward))
        infos.append(info)
        ended = terminated or truncated
    return Trajectory(tuple(observations), tuple(actions), tuple(rewards), tuple(infos))


def evaluate(environment: Environment, act: Act, episodes: int, seed: int = 0) -> Evaluation:
    """Run episodes with seeds `seed`, `seed + 1`, ..."""
    runs = [run_episode(environment, act, seed + i) for i in range(episodes)]
    return Evaluation(
        tuple(run.total_reward for run in runs),
        tuple(run.success for run in runs),
        tuple(len(run.rewards) for run in runs),
    )


def evaluate_parallel(
    environments: Sequence[Environment],
    act: Callable[[Sequence[Observation]], Sequence[NDArray[np.float32]]],
    episodes: int,
    seed: int = 0,
) -> Evaluation:
    """Run episodes in several environments in lockstep, so that `act` sees a batch.

    Episode i has seed `seed + i`, and results are in that order: the same as `evaluate` gives,
    whatever the number of environments.
    """
    slots = [_Slot(environment, index, seed) for index, environment in enumerate(environments)]
    waiting = iter(range(min(len(slots), episodes), episodes))
    active = slots[:episodes]
    done: dict[int, tuple[float, bool, int]] = {}
    while active:
        actions = act([slot.observation for slot in active])
        for slot, action in zip(list(active), actions, strict=True):
            if slot.step(action):
                done[slot.index] = (slot.total_reward, slot.success, slot.length)
                following = next(waiting, None)
                if following is None:
                    active.remove(slot)
                else:
                    slot.start(following, seed)
    returns, successes, lengths = zip(*(done[i] for i in range(episodes)), strict=True)
    return Evaluation(returns, successes, lengths)


class _Slot:
    """An environment in the middle of an episode."""

    def __init__(self, environment: Environment, index: int, seed: int) -> None:
        self.environment = environment
        self.start(index, seed)

    def start(self, index: int, seed: int) -> None:
        self.index = index
        self.total_reward, self.success, self.length = 0.0, False, 0
        self.observation, _ = self.environment.reset(seed=seed + index)

    def step(self, action: NDArray[np.float32]) -> bool:
        """Return whether the episode ended."""
        self.observation, reward, terminated, truncated, info = self.environment.step(action)
        self.total_reward += float(reward)
        self.success |= bool(info.get("succeed") or info.get("is_success"))
        self.length += 1
        return terminated or truncated


def bootstrap_interval(
    values: Sequence[float],
    statistic: Callable[[NDArray[np.float64]], float] = lambda x: float(x.mean()),
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a statistic."""
    data = np.asarray(values, np.float64)
    if data.size == 0:
        raise ValueError("bootstrap_interval: no values")
    rng = np.random.default_rng(seed)
    draws = [statistic(data[rng.integers(data.size, size=data.size)]) for _ in range(resamples)]
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(draws, [tail, 1.0 - tail])
    return float(low), float(high)


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's (1927) score interval of a proportion."""
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"wilson_interval: {successes} successes of {trials} trials")
    z = NormalDist().inv_cdf(0.5 + confidence / 2.0)
    rate = successes / trials
    center = (rate + z * z / (2 * trials)) / (1 + z * z / trials)
    spread = rate * (1 - rate) / trials + z * z / (4 * trials * trials)
    half = z / (1 + z * z / trials) * spread**0.5
    return max(0.0, center - half), min(1.0, center + half)
