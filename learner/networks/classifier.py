"""Classifiers of observations: success or not, or one of several outcomes."""

from __future__ import annotations

from torch import Tensor, nn

from serl_rt.learner.networks.mlp import MLP, linear
from serl_rt.learner.networks.states import ObservationEncoder, Observations


class BinaryClassifier(nn.Module):
    """Encoder -> network -> the logit of "success"."""

    def __init__(self, encoder: ObservationEncoder, network: MLP) -> None:
        super().__init__()
        self.encoder = encoder
        self.network = network
        self.head = linear(network.output_dim, 1)

    def forward(self, observations: Observations, *, train: bool = False) -> Tensor:
        """Observations -> (batch,) logits."""
        return self.logits(self.encoder(observations, train=train), train=train)

    def logits(self, encoded: Tensor, *, train: bool = False) -> Tensor:
        """Encoded observations (batch, dim) -> (batch,) logits."""
        logits: Tensor = self.head(self.network(encoded, train=train)).squeeze(-1)
        return logits


class NWayClassifier(nn.Module):
    """Encoder -> network -> one logit for each class."""

    def __init__(self, encoder: ObservationEncoder, network: MLP, num_classes: int) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"num_classes = {num_classes}: must be at least 2")
        self.encoder = encoder
        self.network = network
        self.num_classes = num_classes
        self.head = linear(network.output_dim, num_classes)

    def forward(self, observations: Observations, *, train: bool = False) -> Tensor:
        """Observations -> (batch, num_classes) logits."""
        hidden = self.network(self.encoder(observations, train=train), train=train)
        logits: Tensor = self.head(hidden)
        return logits


def classifier_network(
    input_dim: int, *, hidden_dim: int = 256, activations: str = "relu", dropout_rate: float = 0.1
) -> MLP:
    """Return the hidden layer of SERL's classifiers: Linear -> dropout -> layer norm -> act."""
    return MLP(
        input_dim,
        (hidden_dim,),
        activations=activations,
        activate_final=True,
        use_layer_norm=True,
        dropout_rate=dropout_rate,
    )
