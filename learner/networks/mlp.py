"""Multi-layer perceptrons, alone or as an ensemble."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from serl_rt.learner.networks.ensemble import (
    LAYER_NORM_EPS,
    EnsembleLayerNorm,
    EnsembleLinear,
    xavier_uniform_,
)

Activation = Callable[[Tensor], Tensor]

ACTIVATIONS: dict[str, Activation] = {
    "elu": F.elu,
    "gelu": F.gelu,
    "leaky_relu": F.leaky_relu,
    "relu": torch.relu,
    "swish": F.silu,
    "tanh": torch.tanh,
}


def activation_function(name: str) -> Activation:
    """Return an activation by name; raises ValueError that lists the known ones."""
    try:
        return ACTIVATIONS[name]
    except KeyError:
        known = ", ".join(ACTIVATIONS)
        raise ValueError(f"unknown activation '{name}'; choose from {known}") from None


def linear(
    in_features: int, out_features: int, ensemble_size: int | None = None
) -> nn.Linear | EnsembleLinear:
    """Return a linear layer with Xavier-uniform weights and zero bias, single or ensembled."""
    if ensemble_size is not None:
        return EnsembleLinear(in_features, out_features, ensemble_size)
    layer = nn.Linear(in_features, out_features)
    xavier_uniform_(layer.weight.data.T)
    nn.init.zeros_(layer.bias)
    return layer


def layer_norm(features: int, ensemble_size: int | None = None) -> nn.LayerNorm | EnsembleLayerNorm:
    """Return a layer normalisation (eps 1e-6, as Flax's), single or ensembled."""
    if ensemble_size is not None:
        return EnsembleLayerNorm(features, ensemble_size)
    return nn.LayerNorm(features, eps=LAYER_NORM_EPS)


def apply_layer(layer: nn.Module, x: Tensor, members: Tensor | None) -> Tensor:
    """Apply a single layer, or the chosen members of an ensembled one."""
    result: Tensor = layer(x) if members is None else layer(x, members)
    return result


def apply_last_layer(layer: nn.Module, hidden: Tensor, members: Tensor | None = None) -> Tensor:
    """Apply a layer whose outputs are numbers that matter: in float32 also under autocast."""
    kind = hidden.device.type
    if not torch.is_autocast_enabled(kind):
        return apply_layer(layer, hidden, members)
    with torch.autocast(kind, enabled=False):
        return apply_layer(layer, hidden.float(), members)


class MLP(nn.Module):
    """Linear -> dropout -> layer norm -> activation, for every layer but the last.

    With `activate_final` the last layer gets them, too. With an `ensemble_size` the output is
    (ensemble, batch, hidden_dims[-1]).
    """

    def __init__(
        self,
        input_dim: int,
        hidden_dims: Sequence[int] = (256, 256),
        *,
        activations: str = "swish",
        activate_final: bool = False,
        use_layer_norm: bool = False,
        dropout_rate: float | None = None,
        ensemble_size: int | None = None,
    ) -> None:
        super().__init__()
        if not hidden_dims:
            raise ValueError("hidden_dims is empty: an MLP needs at least one layer")
        self.activation = activation_function(activations)
        self.dropout_rate = dropout_rate or 0.0
        self.output_dim = hidden_dims[-1]
        self.activated = len(hidden_dims) if activate_final else len(hidden_dims) - 1
        inputs = (input_dim, *hidden_dims[:-1])
        self.layers = nn.ModuleList(
            linear(i, o, ensemble_size) for i, o in zip(inputs, hidden_dims, strict=True)
        )
        normed = hidden_dims[: self.activated] if use_layer_norm else ()
        self.norms = nn.ModuleList(layer_norm(features, ensemble_size) for features in normed)

    def forward(self, x: Tensor, *, train: bool = False, members: Tensor | None = None) -> Tensor:
        """(batch, input_dim) -> ([ensemble,] batch, output_dim); `train` turns dropout on."""
        for i, layer in enumerate(self.layers):
            x = apply_layer(layer, x, members)
            if i >= self.activated:
                break
            if self.dropout_rate and train:
                x = F.dropout(x, self.dropout_rate)
            if self.norms:
                x = apply_layer(self.norms[i], x, members)
            x = self.activation(x)
        return x


class MLPResNetBlock(nn.Module):
    """x + Linear(act(Linear_4x(layer norm(dropout(x)))))."""

    def __init__(
        self,
        features: int,
        *,
        activations: str = "swish",
        use_layer_norm: bool = False,
        dropout_rate: float | None = None,
    ) -> None:
        super().__init__()
        self.activation = activation_function(activations)
        self.dropout_rate = dropout_rate or 0.0
        self.norm = layer_norm(features) if use_layer_norm else nn.Identity()
        self.expand = lecun_linear(features, 4 * features)
        self.contract = lecun_linear(4 * features, features)

    def forward(self, x: Tensor, *, train: bool = False) -> Tensor:
        """(..., features) -> (..., features)."""
        residual = x
        if self.dropout_rate and train:
            x = F.dropout(x, self.dropout_rate)
        x = self.contract(self.activation(self.expand(self.norm(x))))
        return residual + x


class MLPResNet(nn.Module):
    """Linear -> residual blocks -> activation -> Linear."""

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        *,
        num_blocks: int,
        hidden_dim: int = 256,
        activations: str = "swish",
        use_layer_norm: bool = False,
        dropout_rate: float | None = None,
    ) -> None:
        super().__init__()
        self.activation = activation_function(activations)
        self.output_dim = output_dim
        self.first = linear(input_dim, hidden_dim)
        self.blocks = nn.ModuleList(
            MLPResNetBlock(
                hidden_dim,
                activations=activations,
                use_layer_norm=use_layer_norm,
                dropout_rate=dropout_rate,
            )
            for _ in range(num_blocks)
        )
        self.last = linear(hidden_dim, output_dim)

    def forward(self, x: Tensor, *, train: bool = False) -> Tensor:
        """(..., input_dim) -> (..., output_dim)."""
        x = self.first(x)
        for block in self.blocks:
            x = block(x, train=train)
        result: Tensor = self.last(self.activation(x))
        return result


class Scalar(nn.Module):
    """One learnable number."""

    def __init__(self, init_value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(float(init_value)))

    def forward(self) -> Tensor:
        """Return the number, shape ()."""
        return self.value


def lecun_linear(in_features: int, out_features: int) -> nn.Linear:
    """Return a linear layer with LeCun-normal weights (truncated at two deviations), zero bias."""
    layer = nn.Linear(in_features, out_features)
    # A normal cut at two deviations has 0.87962566 of its deviation left.
    deviation = in_features**-0.5 / 0.87962566
    nn.init.trunc_normal_(layer.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
    nn.init.zeros_(layer.bias)
    return layer
