"""A contrastive critic: how likely a goal is reached, as an inner product of two embeddings."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from serl_rt.learner.networks.mlp import MLP, linear
from serl_rt.learner.networks.states import ObservationEncoder, Observations


class ContrastiveCritic(nn.Module):
    """f(s, a, g) = phi(s, a) . psi(g) for every pair of a batch (Eysenbach et al. 2022).

    `sa_network` takes (batch, features + action_dim), `goal_network` (batch, goal features). With
    `twin` both are ensembles of two, and the values have a last axis of 2.
    """

    def __init__(
        self,
        encoder: ObservationEncoder,
        goal_encoder: ObservationEncoder,
        sa_network: MLP,
        goal_network: MLP,
        *,
        repr_dim: int = 16,
        twin: bool = True,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.goal_encoder = goal_encoder
        self.sa_network = sa_network
        self.goal_network = goal_network
        self.twin = twin
        members = 2 if twin else None
        self.sa_head = linear(sa_network.output_dim, repr_dim, members)
        self.goal_head = linear(goal_network.output_dim, repr_dim, members)

    def forward(
        self,
        observations: Observations,
        goals: Observations,
        actions: Tensor,
        *,
        train: bool = False,
    ) -> Tensor:
        """Return (batch of observations, batch of goals[, 2]) values."""
        features = torch.cat((self.encoder(observations, train=train), actions), dim=-1)
        phi = self.sa_head(self.sa_network(features, train=train))
        psi = self.goal_head(self.goal_network(self.goal_encoder(goals, train=train), train=train))
        values: Tensor = phi @ psi.transpose(-1, -2)  # ([2,] observation, goal)
        return values if values.ndim == 2 else values.permute(1, 2, 0)


def contrastive_loss(values: Tensor) -> Tensor:
    """Binary noise-contrastive loss: goal i belongs to observation i and to no other.

    values: (batch, batch[, 2]), the same batch of observations and of goals they reached.
    """
    matching = torch.eye(len(values), device=values.device)
    matching = matching.reshape(*matching.shape, *[1] * (values.ndim - 2)).expand_as(values)
    return F.binary_cross_entropy_with_logits(values, matching)
