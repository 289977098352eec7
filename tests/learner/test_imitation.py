"""HG-DAgger from demonstrations over corrected episodes to a policy that needs no correction."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from point_mass import PointMass

from serl_rt.learner.agents.bc import BCAgent
from serl_rt.learner.data.replay import ReplayBuffer
from serl_rt.learner.data.transitions import STATE, Transitions
from serl_rt.learner.evaluate import Evaluation, evaluate
from serl_rt.learner.imitation import SupervisedEpisode, clone, run_supervised_episode
from serl_rt.learner.optim import OptimizerConfig

SPEC = {STATE: ((4,), torch.float32)}


class Plane:
    """The point mass as an environment; `side` = 1 starts only where the demonstrations do."""

    def __init__(self, side: int = 0) -> None:
        self.point = PointMass(seed=0)
        self.side = side

    def reset(self, *, seed: int | None = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        self.point.rng = np.random.default_rng(seed)
        self.point.reset()
        if self.side:
            self.point.offset[0] = abs(self.point.offset[0]) * 0.5 + 0.5
        return self.point.state(), {}

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        state, reward, truncated, success = self.point.step(action)
        return state, reward, False, truncated, {"is_success": success and self.point.steps > 15}


def expert(state: NDArray[np.float32]) -> NDArray[np.float32]:
    """Go to the goal; a bend at the middle makes it hard to guess one side from the other."""
    pull = np.where(state[:1] > 0, -3.0, -1.5)
    return np.clip(pull * state[:2] - state[2:], -1, 1).astype(np.float32)


def store(replay: ReplayBuffer, episode: SupervisedEpisode) -> None:
    """Keep the operator's steps."""
    trajectory, rows = episode.trajectory, episode.intervened
    if not rows.any():
        return
    states = np.stack(trajectory.observations)
    count = int(rows.sum())
    replay.insert(
        Transitions(
            {STATE: states[:-1][rows]},
            np.stack(trajectory.actions)[rows],
            {STATE: states[1:][rows]},
            np.asarray(trajectory.rewards, np.float32)[rows],
            np.ones(count, np.float32),
            np.zeros(count, np.float32),
        )
    )


def test_corrections_make_a_policy_that_needs_none() -> None:
    demonstrations, interventions = (ReplayBuffer(5000, SPEC, 2) for _ in range(2))
    for seed in range(4):  # the operator does everything, but only on one side
        store(
            demonstrations,
            run_supervised_episode(Plane(side=1), expert, lambda s, _: expert(s), seed),
        )
    agent = BCAgent.create(
        {STATE: torch.zeros(1, 4)},
        torch.zeros(1, 2),
        policy_network_kwargs={"hidden_dims": (32, 32)},
        optimizer=OptimizerConfig(3e-3),
    )
    generator = torch.Generator().manual_seed(0)

    def act(state: NDArray[np.float32]) -> NDArray[np.float32]:
        actions = agent.sample_actions({STATE: torch.from_numpy(state[None])}, argmax=True)
        return actions[0].numpy()

    def operator(
        state: NDArray[np.float32], wanted: NDArray[np.float32]
    ) -> NDArray[np.float32] | None:
        right = expert(state)
        return right if np.abs(right - wanted).max() > 0.3 else None

    def judge() -> Evaluation:
        return evaluate(Plane(), act, 30, seed=5000)

    clone(agent, demonstrations, 150, 64, generator)
    before, shares = judge(), []
    for round_ in range(4):
        episodes = [
            run_supervised_episode(Plane(), act, operator, 100 * round_ + i) for i in range(5)
        ]
        for episode in episodes:
            store(interventions, episode)
        shares.append(float(np.mean([episode.intervened.mean() for episode in episodes])))
        clone(agent, demonstrations, 150, 64, generator, interventions)
    after = judge()
    assert len(interventions) == int(sum(round(share * 100) for share in shares))
    assert shares[-1] < 0.5 * shares[0], shares
    assert after.mean_return > before.mean_return
    assert after.success_rate >= 0.9 > before.success_rate, (before.success_rate, after)


def test_only_the_operators_steps_are_marked() -> None:
    episode = run_supervised_episode(
        Plane(), expert, lambda s, a: -a if s[0] > 0.2 else None, seed=1
    )
    states = np.stack(episode.trajectory.observations[:-1])
    assert np.array_equal(episode.intervened, states[:, 0] > 0.2)
    for state, action, corrected in zip(
        states, episode.trajectory.actions, episode.intervened, strict=True
    ):
        assert np.array_equal(action, -expert(state) if corrected else expert(state))
