"""The critics' loss where they give distributions of returns (C51, Bellemare et al. 2017)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from serl_rt.learner.agents.losses import Info, sample_next, target_members
from serl_rt.learner.data.batch import Batch
from serl_rt.learner.networks.critic import categorical_projection, distributional_loss

if TYPE_CHECKING:
    from serl_rt.learner.agents.sac import SACAgent


def expected_values(logits: Tensor, atoms: Tensor) -> Tensor:
    """Return the means of distributions (..., atoms) over returns: (...)."""
    return (logits.softmax(-1) * atoms).sum(-1)


def target_distribution(agent: SACAgent, batch: Batch) -> Tensor:
    """Return the distribution of r + discount * mask * Z_i(s', a') on the atoms, (batch, atoms).

    i is, for each transition, the drawn member with the least mean: what the minimum over members
    is to plain critics.
    """
    config = agent.config
    next_actions, log_probs = sample_next(agent, batch)
    logits, atoms = agent.target_critic(
        batch.next_observations, next_actions, members=target_members(agent)
    )
    least = expected_values(logits, atoms).argmin(0)  # (batch,)
    chosen = logits[least, torch.arange(batch.size, device=least.device)]
    discounts = config.discount * batch.masks
    offset = batch.rewards
    if config.backup_entropy:
        bonus = agent.temperature() * log_probs
        offset = offset - (discounts * bonus if config.discount_entropy_backup else bonus)
    support = atoms[0, 0]
    returns = offset.unsqueeze(-1) + discounts.unsqueeze(-1) * support
    return categorical_projection(support, chosen.softmax(-1), returns)


def distributional_critic_loss(agent: SACAgent, batch: Batch) -> tuple[Tensor, Info]:
    """Mean over members and batch of the cross-entropy to the target distribution."""
    with torch.no_grad():
        target = target_distribution(agent, batch)
    logits, atoms = agent.critic(batch.observations, batch.actions, train=True)
    loss = distributional_loss(logits, target)
    return loss, {
        "critic_loss": loss.detach(),
        "predicted_qs": expected_values(logits.detach(), atoms).mean(),
        "target_qs": (target * atoms[0]).sum(-1).mean(),
    }
