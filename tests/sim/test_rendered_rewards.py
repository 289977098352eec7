"""Learned rewards on pictures of the simulated scene: a lifted cube, or one that is not."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from serl_rt.learner.agents.drq import PixelConfig
from serl_rt.learner.agents.vice import ViceAgent, ViceConfig
from serl_rt.learner.data.batch import Batch
from serl_rt.learner.optim import OptimizerConfig
from serl_rt.learner.rewards import (
    ClassifierTraining,
    SuccessPredicate,
    make_reward_classifier,
    train_reward_classifier,
)
from serl_rt.learner.vision.build import EncoderConfig, make_encoding_wrapper
from serl_rt.sim.envs import SimArmEnv
from serl_rt.sim.expert import PickCubeExpert

PIXELS = 48
ENCODER = EncoderConfig("convfast", ("front",), stack=None)
EPISODES, HELD_OUT = 40, 10


class Frames(NamedTuple):
    """Pictures of whole episodes."""

    images: Tensor
    """(n, PIXELS, PIXELS, 3) uint8."""
    success: Tensor
    """(n,) int64: 1 where the cube was lifted."""
    episode: Tensor
    """(n,) int64."""


@pytest.fixture(scope="module")
def frames() -> Frames:
    """The noisy expert at work: every second step, so that both outcomes and the way are seen."""
    env = SimArmEnv("pick_cube", render_mode="rgb_array", width=PIXELS, height=PIXELS)
    expert = PickCubeExpert(env.contract, 0.3, np.random.default_rng(0))
    images, success, episode = [], [], []
    for number in range(EPISODES):
        observation, _ = env.reset(seed=number)
        expert.reset()
        for step in range(40):
            observation, _, _, truncated, info = env.step(expert.act(observation))
            if step % 2 == 0:
                images.append(env.render())
                success.append(int(info["succeed"]))
                episode.append(number)
            if truncated:
                break
    env.close()
    return Frames(torch.from_numpy(np.stack(images)), torch.tensor(success), torch.tensor(episode))


def balanced_accuracy(predicted: Tensor, truth: Tensor) -> float:
    """Share of right answers, the classes weighted equally."""
    recalls = [(predicted[truth == label] == label).float().mean() for label in (0, 1)]
    return float(torch.stack(recalls).mean())


@pytest.mark.slow
def test_a_reward_classifier_tells_lifted_cubes(frames: Frames) -> None:
    torch.manual_seed(0)
    seen = frames.episode < EPISODES - HELD_OUT
    observations = {"front": frames.images[seen]}
    classifier = make_reward_classifier(
        make_encoding_wrapper(replace(ENCODER, proprio_keys=()), {"front": frames.images[:1]}),
        hidden_dim=64,
    )
    settings = ClassifierTraining(
        steps=600, batch_size=64, learning_rate=1e-3, shift_padding=2, evaluate_every=50
    )
    report = train_reward_classifier(
        classifier,
        observations,
        frames.success[seen],
        groups=frames.episode[seen],
        settings=settings,
    )
    assert report.validation_accuracy >= 0.95, report
    predicate = SuccessPredicate(classifier, threshold=0.5)
    predicted = predicate({"front": frames.images[~seen]}).long()
    assert balanced_accuracy(predicted, frames.success[~seen]) >= 0.95


@pytest.mark.slow
def test_vice_tells_goals_from_what_the_robot_saw(frames: Frames) -> None:
    seen = frames.episode < EPISODES - HELD_OUT
    goals = frames.images[seen & (frames.success == 1)]
    others = frames.images[seen & (frames.success == 0)]

    def batch_of(images: Tensor) -> Batch:
        observations = {"front": images, "state": torch.zeros(len(images), 2)}
        vector = torch.zeros(len(images))
        return Batch(observations, torch.zeros(len(images), 2), observations, vector, vector + 1)

    torch.manual_seed(0)
    agent = ViceAgent.create_vice(
        batch_of(others[:1]).observations,  # type: ignore[arg-type]
        torch.zeros(1, 2),
        encoder=ENCODER,
        vice=ViceConfig(bottleneck_dim=64, hidden_dim=64),
        pixels=PixelConfig(shift_padding=2),
        optimizers={"vice": OptimizerConfig(1e-3)},
    )
    generator = torch.Generator().manual_seed(0)

    def draw(images: Tensor) -> Tensor:
        return images[torch.randint(len(images), (32,), generator=generator)]

    for _ in range(300):
        agent.update_vice(batch_of(draw(others)), {"front": draw(goals)})
    predicted = (agent.vice_reward({"front": frames.images[~seen]}) >= 0.5).long()
    assert balanced_accuracy(predicted, frames.success[~seen]) >= 0.95
