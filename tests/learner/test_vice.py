"""VICE: its regularisers by their definitions, and that it learns goals and rewards them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scenes import squares
from torch import Tensor, nn

from serl_rt.learner.agents.classifier_losses import gradient_penalty, mixup_loss
from serl_rt.learner.agents.drq import PixelConfig
from serl_rt.learner.agents.vice import ViceAgent, ViceConfig
from serl_rt.learner.data.batch import Batch
from serl_rt.learner.networks.classifier import BinaryClassifier
from serl_rt.learner.networks.mlp import MLP
from serl_rt.learner.networks.states import StateEncoder
from serl_rt.learner.optim import OptimizerConfig
from serl_rt.learner.vision.build import EncoderConfig

SMALL = {"hidden_dims": (16, 16)}
ENCODERS = {
    "convfast": EncoderConfig("convfast", ("front", "wrist"), stack=None),
    "resnet-random": EncoderConfig("resnet-random", ("front", "wrist"), stack=None),
}


def pictures(labels: Tensor, seed: int = 0) -> dict[str, Tensor]:
    return {"front": squares(labels, seed=seed), "wrist": squares(labels, seed=seed + 1000)}


def batch_of(labels: Tensor, seed: int = 0) -> Batch:
    observations = {**pictures(labels, seed), "state": torch.zeros(len(labels), 2)}
    vector = torch.zeros(len(labels))
    return Batch(observations, torch.zeros(len(labels), 2), observations, vector, vector + 1)


def make_agent(encoder: str = "convfast", **options: Any) -> ViceAgent:
    batch = batch_of(torch.zeros(1, dtype=torch.int64))
    return ViceAgent.create_vice(
        batch.observations,  # type: ignore[arg-type]
        batch.actions,
        encoder=ENCODERS[encoder],
        vice=ViceConfig(bottleneck_dim=32, hidden_dim=32),
        pixels=PixelConfig(shift_padding=1),
        critic_network_kwargs=SMALL,
        policy_network_kwargs=SMALL,
        critic_ensemble_size=2,
        optimizers={"vice": OptimizerConfig(1e-3)},
        **options,
    )


def linear_classifier(weight: Tensor) -> BinaryClassifier:
    """A classifier whose logit is x . weight."""
    network = MLP(len(weight), (len(weight),))
    classifier = BinaryClassifier(StateEncoder(len(weight)), network)
    with torch.no_grad():
        network.layers[0].weight.copy_(torch.eye(len(weight)))  # type: ignore[operator]
        classifier.head.weight.copy_(weight[None])
    return classifier


def test_gradient_penalty_of_a_linear_classifier_is_its_norm_less_one_squared() -> None:
    classifier = linear_classifier(torch.tensor([3.0, 4.0]))
    penalty = gradient_penalty(classifier, torch.randn(10, 2), torch.Generator().manual_seed(0))
    assert float(penalty.detach()) == pytest.approx(16.0, rel=1e-4)
    penalty.backward()
    gradient = classifier.head.weight.grad
    assert gradient is not None  # d (|w| - 1)^2 / dw = 2 (|w| - 1) w / |w|
    assert torch.allclose(gradient, torch.tensor([[4.8, 6.4]]), atol=1e-3)


def test_mixup_is_linear_between_the_pair() -> None:
    classifier = linear_classifier(torch.tensor([1.0]))
    encoded, labels = torch.tensor([[-2.0], [2.0]]), torch.tensor([0.0, 1.0])
    seen = set()
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        weight = torch.rand((), generator=torch.Generator().manual_seed(seed))
        loss, mixed = mixup_loss(classifier, encoded, labels, generator)
        straight = torch.equal(mixed, encoded * weight + encoded * (1 - weight))
        other = encoded if straight else encoded.flip(0)
        assert torch.allclose(mixed, weight * encoded + (1 - weight) * other)
        soft = labels if straight else weight * labels + (1 - weight) * labels.flip(0)
        expected = nn.functional.binary_cross_entropy_with_logits(mixed[:, 0], soft)
        assert float(loss.detach()) == pytest.approx(float(expected), rel=1e-5)
        seen.add(straight)
    assert seen == {True, False}


OTHER, GOAL = torch.zeros(24, dtype=torch.int64), torch.full((24,), 3)


def check_separation(agent: ViceAgent) -> None:
    frames = agent.vice_reward(pictures(OTHER, 9001))
    goals = agent.vice_reward(pictures(GOAL, 9002))
    assert torch.cat((frames < 0.5, goals >= 0.5)).float().mean() >= 0.95
    assert goals.max() < 0.99  # smoothed labels: never certain
    rewards = agent.prepare(batch_of(torch.cat((OTHER, GOAL)), 9003)).rewards
    assert rewards[24:].mean() - rewards[:24].mean() >= 0.85


def test_tells_goals_from_other_frames() -> None:
    agent = make_agent()
    for step in range(100):
        _, info = agent.update_vice(batch_of(OTHER, 2 * step), pictures(GOAL, 2 * step + 1))
        assert torch.isfinite(torch.as_tensor(info["vice_loss"]))
    check_separation(agent)


def test_tells_goals_from_cached_features() -> None:
    agent = make_agent("resnet-random")
    encoder = agent.drq.encoder
    others, goals = batch_of(OTHER.repeat(2), 1), pictures(GOAL.repeat(2), 2)
    cached = others._replace(next_observations=encoder.trunk_features(others.next_observations))
    features = encoder.trunk_features(goals)
    for _ in range(60):
        agent.update_vice(cached, features)
    check_separation(agent)


def test_classifier_trains_alone_and_the_agent_without_it() -> None:
    agent = make_agent("resnet-random")
    labels = torch.arange(8) % 2 * 3

    def moved(update: Any) -> set[str]:
        before = {n: p.clone() for n, p in agent.state.networks.named_parameters()}
        update()
        after = agent.state.networks.named_parameters()
        return {n.split(".")[0] for n, p in after if not torch.equal(p, before[n])}

    batch = batch_of(labels)
    assert moved(lambda: agent.update_vice(batch, pictures(labels))) == {"vice"}
    assert moved(lambda: agent.update(batch)) == {"actor", "critic", "temperature"}
    assert moved(lambda: agent.update_high_utd(batch, utd_ratio=2)) == {
        "actor",
        "critic",
        "temperature",
    }
    trunk = agent.drq.encoder.encoders["front"].trunk
    assert agent.classifier.encoder.encoders["wrist"].trunk is trunk  # type: ignore[attr-defined]


def test_the_batch_reward_is_replaced() -> None:
    agent = make_agent()
    with torch.no_grad():
        agent.classifier.head.weight.zero_()
        agent.classifier.head.bias.fill_(1.0)  # everything is a goal
    batch = batch_of(torch.zeros(8, dtype=torch.int64))._replace(rewards=torch.full((8,), 7.0))
    assert agent.prepare(batch).rewards.tolist() == [1.0] * 8
    _, info = agent.update_critics(batch)
    assert float(info["vice_rewards"]) == 1.0


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="label_smoothing = 1.0"):
        ViceConfig(label_smoothing=1.0)
    with pytest.raises(ValueError, match="threshold = 0"):
        ViceConfig(threshold=0.0)
