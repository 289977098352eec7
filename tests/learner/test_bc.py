"""Behaviour cloning: what it trains, that it imitates, and that corrections correct."""

from __future__ import annotations

import pytest
import torch
from scenes import squares
from torch import Tensor

from serl_rt.learner.agents.bc import BCAgent, hg_dagger_update
from serl_rt.learner.agents.drq import PixelConfig
from serl_rt.learner.data.batch import Batch
from serl_rt.learner.networks.states import Observations
from serl_rt.learner.optim import OptimizerConfig
from serl_rt.learner.vision.build import EncoderConfig

SEEING = EncoderConfig("convfast", ("front",), proprio_keys=("state",), stack=None)
FROZEN = EncoderConfig("resnet-random", ("front",), proprio_keys=("state",), stack=None)
SMALL = {"hidden_dims": (32, 32)}
FAST = OptimizerConfig(3e-3)


def batch_of(observations: Observations, actions: Tensor) -> Batch:
    count = len(actions)
    return Batch(observations, actions, observations, torch.zeros(count), torch.ones(count))


def picture_batch(count: int = 64, seed: int = 0) -> Batch:
    """The action is the square's place."""
    labels = torch.arange(count) % 4
    observations = {"front": squares(labels, seed=seed), "state": torch.zeros(count, 2)}
    return batch_of(observations, (labels / 2.0 - 0.75)[:, None])


def pictures_agent(encoder: EncoderConfig = SEEING, **options: object) -> BCAgent:
    batch = picture_batch(4)
    return BCAgent.create(
        batch.observations,
        batch.actions,
        encoder=encoder,
        policy_network_kwargs=SMALL,
        optimizer=FAST,
        **options,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("train_encoder", [True, False])
@pytest.mark.parametrize("encoder", [SEEING, FROZEN])
def test_image_head_trains_unless_frozen_as_in_serl(
    encoder: EncoderConfig, train_encoder: bool
) -> None:
    agent = pictures_agent(encoder, train_encoder=train_encoder)
    assert agent.encoder is not None
    images = agent.encoder.encoders["front"]
    before = [p.clone() for p in images.head.parameters()]  # type: ignore[union-attr]
    frozen = [p.clone() for p in images.parameters() if not p.requires_grad]
    agent.update(picture_batch())
    after = list(images.head.parameters())  # type: ignore[union-attr]
    moved = [not torch.equal(a, b) for a, b in zip(after, before, strict=True)]
    assert all(moved) if train_encoder else not any(moved)
    still = [p for p in images.parameters() if not p.requires_grad]
    assert all(torch.equal(a, b) for a, b in zip(still, frozen, strict=True))


def test_imitates_what_only_the_picture_shows() -> None:
    agent = pictures_agent(pixels=PixelConfig(shift_padding=1))
    for step in range(250):
        _, info = agent.update(picture_batch(48, seed=100 + step))
    fresh = picture_batch(64, seed=3)
    actions = agent.sample_actions(fresh.observations, argmax=True)
    assert (actions - fresh.actions).abs().mean() < 0.1
    assert float(info["mse"]) < 0.05


@pytest.mark.parametrize("squash", [False, True])
def test_actions_at_the_limits_are_learned_with_finite_losses(squash: bool) -> None:
    states = torch.linspace(-1, 1, 32)[:, None]
    batch = batch_of(states, states.sign())
    agent = BCAgent.create(
        states,
        batch.actions,
        tanh_squash_distribution=squash,
        policy_network_kwargs=SMALL,
        optimizer=FAST,
    )
    for _ in range(100):
        _, info = agent.update(batch)
        assert torch.isfinite(torch.as_tensor(info["actor_loss"]))
    actions = agent.sample_actions(states, argmax=True)
    assert (actions - batch.actions).abs().mean() < 0.2
    assert actions.abs().max() <= 1.0


def test_temperature_scales_the_noise() -> None:
    states = torch.zeros(500, 2)
    agent = BCAgent.create(states, torch.zeros(1, 1), policy_network_kwargs=SMALL)
    with torch.no_grad():
        agent.actor.std.bias.fill_(-3.0)
        agent.actor.std.weight.zero_()

    def spread(temperature: float) -> float:
        generator = torch.Generator().manual_seed(0)
        actions = agent.sample_actions(states, generator=generator, temperature=temperature)
        return float(actions.std())

    assert spread(4.0) == pytest.approx(2.0 * spread(1.0), rel=1e-3)
    with pytest.raises(ValueError, match="give a generator, or argmax=True"):
        agent.sample_actions(states)


def test_interventions_teach_where_demonstrations_are_silent() -> None:
    """The expert does sin(2s). Demonstrations lie in [0, 1]; the rollouts went to [-1, 0]."""
    torch.manual_seed(0)

    def expert(low: float, high: float) -> Batch:
        states = torch.rand(64, 1) * (high - low) + low
        return batch_of(states, torch.sin(2.0 * states))

    probe = torch.linspace(-0.9, -0.1, 30)[:, None]
    errors = []
    for corrected in (False, True):
        agent = BCAgent.create(probe, probe, policy_network_kwargs=SMALL, optimizer=FAST)
        for _ in range(250):
            hg_dagger_update(agent, expert(0, 1), expert(-1, 0) if corrected else None)
        actions = agent.sample_actions(probe, argmax=True)
        errors.append(float((actions - torch.sin(2.0 * probe)).abs().mean()))
    assert errors[1] < 0.1 < errors[0]
