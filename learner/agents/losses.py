"""The losses of soft actor-critic, as the papers write them.

Each takes an agent and a batch and returns the loss and its metrics; none changes anything but
the agent's random generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from serl_rt.learner.data.batch import Batch

if TYPE_CHECKING:
    from serl_rt.learner.agents.sac import SACAgent

Info = dict[str, Tensor | float]
"""Metrics: 0-dimensional tensors (not yet synchronised) or numbers."""


def target_values(agent: SACAgent, batch: Batch) -> Tensor:
    """Return y = r + discount * mask * min_i Q_i(s', a'), a' ~ pi(s'); (batch,)."""
    config = agent.config
    next_actions, log_probs = sample_next(agent, batch)
    next_qs = agent.target_critic(
        batch.next_observations, next_actions, members=target_members(agent)
    )
    discounts = config.discount * batch.masks
    target: Tensor = batch.rewards + discounts * next_qs.amin(0)
    if config.backup_entropy:
        bonus = agent.temperature() * log_probs
        target = target - (discounts * bonus if config.discount_entropy_backup else bonus)
    return target


def critic_loss(agent: SACAgent, batch: Batch) -> tuple[Tensor, Info]:
    """Mean over members and batch of (Q - y)^2."""
    with torch.no_grad():
        target = target_values(agent, batch)
    qs = agent.critic(batch.observations, batch.actions, train=True)  # (ensemble, batch)
    loss = (qs - target).square().mean()
    info: Info = {
        "critic_loss": loss.detach(),
        "predicted_qs": qs.detach().mean(),
        "target_qs": target.mean(),
    }
    if agent.config.encoder_bc_weight:
        # Here and not in the actor's loss: the encoder is the critic's to train, in one backward
        # pass; of the actor, which is not, this loss leaves everything as it is.
        modes = agent.actor(batch.observations, train=True, train_encoder=True).mode()
        distance = imitation_loss(modes, batch)
        loss = loss + agent.config.encoder_bc_weight * distance
        info["encoder_bc_loss"] = distance.detach()
    return loss, info


def actor_loss(agent: SACAgent, batch: Batch) -> tuple[Tensor, Info]:
    """Mean of temperature * log pi(a|s) - mean_i Q_i(s, a), a ~ pi(s)."""
    noise = agent.draws.normal(batch.size, agent.actor.action_dim)
    distribution = agent.actor(batch.observations, train=True)
    actions, log_probs = distribution.sample_and_log_prob(noise)
    temperature = agent.temperature().detach()
    qs = agent.q_values(batch.observations, actions).mean(0)
    loss = (temperature * log_probs - qs).mean()
    info: Info = {
        "actor_loss": loss.detach(),
        "temperature": temperature,
        "entropy": -log_probs.detach().mean(),
    }
    if agent.config.bc_weight:
        distance = imitation_loss(distribution.mode(), batch)
        loss = loss + agent.config.bc_weight * distance
        info["bc_loss"] = distance.detach()
    return loss, info


def temperature_loss(agent: SACAgent, batch: Batch) -> tuple[Tensor, Info]:
    """temperature * (entropy - target entropy), entropy = -mean log pi(a'|s')."""
    with torch.no_grad():
        _, log_probs = sample_next(agent, batch)
    loss = agent.temperature(lhs=-log_probs.mean(), rhs=agent.target_entropy)
    return loss, {"temperature_loss": loss.detach()}


def imitation_loss(modes: Tensor, batch: Batch) -> Tensor:
    """Mean squared distance (summed over components) to the demonstrated actions of the batch.

    Raises ValueError when the batch does not say which of its transitions are demonstrations.
    """
    if batch.demonstrations is None:
        raise ValueError(
            "imitation (bc_weight, encoder_bc_weight) needs demonstrations: the batch marks none"
        )
    distances = (modes - batch.actions).square().sum(-1)
    count = batch.demonstrations.sum().clamp(min=1.0)
    return (distances * batch.demonstrations).sum() / count


def sample_next(agent: SACAgent, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return actions a' ~ pi(s'), (batch, action_dim), and their log-probabilities (batch,)."""
    noise = agent.draws.normal(batch.size, agent.actor.action_dim)
    if batch.next_policy is None:
        distribution = agent.actor(batch.next_observations, train=True)
    else:
        distribution = agent.actor.distribution(*batch.next_policy.unbind(1))
    result: tuple[Tensor, Tensor] = distribution.sample_and_log_prob(noise)
    return result


def target_members(agent: SACAgent) -> Tensor | None:
    """Draw the members of the target ensemble that are evaluated; None is all."""
    config = agent.config
    if config.critic_subsample_size is None:
        return None
    return agent.draws.integers(config.critic_ensemble_size, config.critic_subsample_size)


def mean_info(infos: Sequence[Info]) -> Info:
    """Average metrics of the same names."""
    count = len(infos)
    return {key: sum(info[key] for info in infos) / count for key in infos[0]}
