"""The grasp critic of hybrid agents: values of the gripper's discrete actions."""

from __future__ import annotations

from torch import Tensor, nn

from serl_rt.learner.networks.mlp import MLP, linear
from serl_rt.learner.networks.states import ObservationEncoder, Observations


class GraspCritic(nn.Module):
    """Q(s, .): encoder -> network -> one value for each of `num_actions` discrete actions."""

    def __init__(self, encoder: ObservationEncoder, network: MLP, num_actions: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.network = network
        self.num_actions = num_actions
        self.head = linear(network.output_dim, num_actions)

    def forward(self, observations: Observations, *, train: bool = False) -> Tensor:
        """Observations -> (batch, num_actions)."""
        hidden = self.network(self.encoder(observations, train=train), train=train)
        values: Tensor = self.head(hidden)
        return values
