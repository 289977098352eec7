"""Critics: action values, state values and distributions of returns; single or ensembled."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from serl_rt.learner.networks.ensemble import EnsembleLinear
from serl_rt.learner.networks.mlp import apply_last_layer, linear
from serl_rt.learner.networks.states import ObservationEncoder, Observations


class Critic(nn.Module):
    """Q(s, a): encoder -> join the action -> network -> one number.

    `network` takes (batch, features + action_dim). With an `ensemble_size` it is an ensemble, and
    so is the head unless `shared_head`, which gives all members one last layer.
    """

    def __init__(
        self,
        encoder: ObservationEncoder,
        network: nn.Module,
        *,
        ensemble_size: int | None = None,
        shared_head: bool = False,
        init_final: float | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.network = network
        self.shared_head = shared_head
        hidden = int(network.output_dim)  # type: ignore[arg-type]
        self.head = linear(hidden, 1, None if shared_head else ensemble_size)
        if init_final is not None:
            init_uniform_(self.head, init_final)

    def forward(
        self,
        observations: Observations,
        actions: Tensor,
        *,
        train: bool = False,
        members: Tensor | None = None,
        detach_features: bool = False,
    ) -> Tensor:
        """Return ([ensemble,] batch) values of actions (batch, action_dim).

        Several actions for each observation, (batch, n, action_dim), give ([ensemble,] batch, n).
        `members` (m,) evaluates only these members of the ensemble, in this order. `train` turns
        the network's dropout on, but not the encoder's. `detach_features` differentiates by the
        actions only, not through the encoder.
        """
        features = self.encoder(observations)
        if detach_features:
            features = features.detach()
        if actions.ndim == 2:
            return self.values(torch.cat((features, actions), dim=-1), train, members)
        batch, count = actions.shape[:2]
        features = features.unsqueeze(1).expand(batch, count, features.shape[-1])
        inputs = torch.cat((features, actions), dim=-1).flatten(0, 1)
        values = self.values(inputs, train, members)
        return values.reshape(*values.shape[:-1], batch, count)

    def values(self, inputs: Tensor, train: bool, members: Tensor | None) -> Tensor:
        """(batch, features + action_dim) -> ([ensemble,] batch)."""
        if members is None:
            hidden = self.network(inputs, train=train)
        else:
            hidden = self.network(inputs, train=train, members=members)
        return apply_last_layer(self.head, hidden, None if self.shared_head else members).squeeze(
            -1
        )


class ValueCritic(nn.Module):
    """V(s): encoder -> network -> one number."""

    def __init__(
        self, encoder: ObservationEncoder, network: nn.Module, *, init_final: float | None = None
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.network = network
        self.head = linear(int(network.output_dim), 1)  # type: ignore[arg-type]
        if init_final is not None:
            init_uniform_(self.head, init_final)

    def forward(self, observations: Observations, *, train: bool = False) -> Tensor:
        """Observations -> (batch,) values."""
        hidden = self.network(self.encoder(observations, train=train), train=train)
        value: Tensor = self.head(hidden).squeeze(-1)
        return value


class DistributionalCritic(nn.Module):
    """Q(s, a) as a categorical distribution over evenly spaced atoms (C51)."""

    def __init__(
        self,
        encoder: ObservationEncoder,
        network: nn.Module,
        *,
        q_low: float,
        q_high: float,
        num_bins: int = 51,
        ensemble_size: int | None = None,
        init_final: float | None = None,
    ) -> None:
        super().__init__()
        if num_bins < 2 or not q_low < q_high:
            raise ValueError(
                f"num_bins = {num_bins}, q_low = {q_low}, q_high = {q_high}: "
                "must be at least 2 bins and q_low < q_high"
            )
        self.encoder = encoder
        self.network = network
        self.head = linear(int(network.output_dim), num_bins, ensemble_size)  # type: ignore[arg-type]
        if init_final is not None:
            init_uniform_(self.head, init_final)
        self.register_buffer("atoms", torch.linspace(q_low, q_high, num_bins))

    def forward(
        self,
        observations: Observations,
        actions: Tensor,
        *,
        train: bool = False,
        members: Tensor | None = None,
        detach_features: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Return logits ([ensemble,] batch, bins) and the atoms, expanded to the same shape."""
        features = self.encoder(observations, train=train)
        if detach_features:
            features = features.detach()
        inputs = torch.cat((features, actions), dim=-1)
        if members is None:
            logits = apply_last_layer(self.head, self.network(inputs, train=train))
        else:
            hidden = self.network(inputs, train=train, members=members)
            logits = apply_last_layer(self.head, hidden, members)
        atoms: Tensor = self.atoms  # type: ignore[assignment]
        return logits, atoms.expand_as(logits)


def categorical_projection(atoms: Tensor, probabilities: Tensor, targets: Tensor) -> Tensor:
    """Project mass at `targets` back onto the fixed atoms (Bellemare et al. 2017, algorithm 1).

    atoms: (bins,), evenly spaced; probabilities and targets: (..., bins), the mass and where it
    lies. Each mass is split between the two nearest atoms; outside of the range it goes to the end.
    """
    spacing = atoms[1] - atoms[0]
    targets = targets.clamp(atoms[0], atoms[-1]).unsqueeze(-2)  # (..., 1, from)
    distance = (targets - atoms.unsqueeze(-1)).abs() / spacing  # (..., to, from)
    return ((1.0 - distance).clamp(min=0.0) * probabilities.unsqueeze(-2)).sum(-1)


def distributional_loss(logits: Tensor, target_probabilities: Tensor) -> Tensor:
    """Return the mean cross-entropy between target distributions and logits, (..., bins)."""
    return -(target_probabilities * F.log_softmax(logits, dim=-1)).sum(-1).mean()


def init_uniform_(layer: nn.Linear | EnsembleLinear, bound: float) -> None:
    """Draw weights and bias uniformly within ±bound."""
    nn.init.uniform_(layer.weight, -bound, bound)
    nn.init.uniform_(layer.bias, -bound, bound)
