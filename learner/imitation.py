"""Learning from people: behaviour cloning, and its interactive form HG-DAgger, in loops.

HG-DAgger (Kelly et al. 2019): the policy acts, an operator takes over where it is about to fail,
and the operator's steps join the demonstrations that the policy is cloned from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from serl_rt.learner.agents.bc import BCAgent, hg_dagger_update
from serl_rt.learner.agents.losses import Info
from serl_rt.learner.data.mixing import Source
from serl_rt.learner.evaluate import Act, Environment, Observation, Trajectory

Operator = Callable[[Observation, NDArray[np.float32]], NDArray[np.float32] | None]
"""From an observation and the action that the policy wants to the operator's own action; None
where the policy may act."""


def clone(
    agent: BCAgent,
    demonstrations: Source,
    steps: int,
    batch_size: int,
    generator: torch.Generator,
    interventions: Source | None = None,
) -> Info:
    """Take `steps` steps of behaviour cloning; return the last metrics.

    With interventions half of each batch is theirs, as soon as there are any.
    Raises ValueError when the demonstrations are empty.
    """
    info: Info = {}
    for _ in range(steps):
        corrections = None
        size = batch_size
        if interventions is not None and len(interventions) > 0:
            size = batch_size // 2
            corrections = interventions.sample(batch_size - size, generator)
        _, info = hg_dagger_update(agent, demonstrations.sample(size, generator), corrections)
    return info


@dataclass(frozen=True)
class SupervisedEpisode:
    """An episode in which an operator watched."""

    trajectory: Trajectory
    """With the actions that were executed, the operator's included."""
    intervened: NDArray[np.bool_]
    """(length,): which steps were the operator's. Only these are learned from."""


def run_supervised_episode(
    environment: Environment, act: Act, operator: Operator, seed: int | None = None
) -> SupervisedEpisode:
    """Let the policy act and the operator correct it, to the episode's end."""
    observation, _ = environment.reset(seed=seed)
    observations, actions, rewards, infos, intervened = [observation], [], [], [], []
    ended = False
    while not ended:
        wanted = act(observation)
        correction = operator(observation, wanted)
        action = wanted if correction is None else correction
        observation, reward, terminated, truncated, info = environment.step(action)
        observations.append(observation)
        actions.append(action)
        rewards.append(float(reward))
        infos.append(info)
        intervened.append(correction is not None)
        ended = terminated or truncated
    trajectory = Trajectory(tuple(observations), tuple(actions), tuple(rewards), tuple(infos))
    return SupervisedEpisode(trajectory, np.array(intervened))
