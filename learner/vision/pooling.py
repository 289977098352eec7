"""From a feature map to a vector: pooling, and the head that every encoder ends with."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Pooling = Literal["avg", "max", "none", "spatial_softmax", "spatial_learned_embeddings"]
MapShape = tuple[int, int, int]  # (height, width, channel)

LAYER_NORM_EPS = 1e-6  # Flax's default, which the reference weights were trained with


class SpatialSoftmax(nn.Module):
    """Where each channel is strongest: its expected column, then its expected row, in [-1, 1].

    Levine et al. 2016, "End-to-End Training of Deep Visuomotor Policies". `temperature` divides the
    activations; None learns it, from 1.
    """

    columns: Tensor
    rows: Tensor
    temperature: Tensor

    def __init__(self, shape: MapShape, temperature: float | None = 1.0) -> None:
        super().__init__()
        height, width, _ = shape
        rows, columns = torch.meshgrid(
            torch.linspace(-1.0, 1.0, height), torch.linspace(-1.0, 1.0, width), indexing="ij"
        )
        self.register_buffer("columns", columns.flatten(), persistent=False)
        self.register_buffer("rows", rows.flatten(), persistent=False)
        if temperature is None:
            self.temperature = nn.Parameter(torch.ones(()))
        else:
            self.register_buffer("temperature", torch.tensor(temperature), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, height, width, channel) -> (batch, 2 * channel)."""
        flat = x.flatten(1, 2).transpose(1, 2)  # (batch, channel, height * width)
        attention = torch.softmax(flat / self.temperature, dim=-1)
        return torch.cat((attention @ self.columns, attention @ self.rows), dim=-1)


class SpatialLearnedEmbeddings(nn.Module):
    """Each channel's map projected on `features` learned maps: SERL's pooling of frozen trunks."""

    def __init__(self, shape: MapShape, features: int = 8) -> None:
        super().__init__()
        height, width, channels = shape
        deviation = 1.0 / math.sqrt(height * width * channels)  # LeCun
        self.kernel = nn.Parameter(torch.randn(height, width, channels, features) * deviation)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, height, width, channel) -> (batch, channel * features)."""
        # (channel, batch, pixel), in order: the product's gradient is several times faster so.
        maps = x.flatten(1, 2).permute(2, 0, 1).contiguous()
        kernel = self.kernel.flatten(0, 1).transpose(0, 1)  # (channel, pixel, feature)
        return torch.bmm(maps, kernel).transpose(0, 1).flatten(1)


class AveragePool(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        """(batch, height, width, channel) -> (batch, channel)."""
        return x.mean(dim=(1, 2))


class MaxPool(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        """(batch, height, width, channel) -> (batch, channel)."""
        return x.amax(dim=(1, 2))


def make_pooling(
    pooling: Pooling, shape: MapShape, *, features: int = 8, temperature: float | None = 1.0
) -> tuple[nn.Module, int]:
    """A pooling layer for maps of `shape` and the length of the vectors it gives."""
    height, width, channels = shape
    if pooling == "avg":
        return AveragePool(), channels
    if pooling == "max":
        return MaxPool(), channels
    if pooling == "none":
        return nn.Flatten(), height * width * channels
    if pooling == "spatial_softmax":
        return SpatialSoftmax(shape, temperature), 2 * channels
    if pooling == "spatial_learned_embeddings":
        return SpatialLearnedEmbeddings(shape, features), features * channels
    raise ValueError(f"pooling {pooling!r}: choose one of {', '.join(get_args(Pooling))}")


class Head(nn.Module):
    """pooling -> [dropout] -> [Linear -> LayerNorm -> tanh], the brackets where asked for."""

    def __init__(
        self,
        shape: MapShape,
        *,
        pooling: Pooling,
        bottleneck_dim: int | None = None,
        dropout: float = 0.0,
        spatial_features: int = 8,
        softmax_temperature: float | None = 1.0,
    ) -> None:
        super().__init__()
        self.shape = shape
        self.dropout = dropout
        self.pooling, pooled = make_pooling(
            pooling, shape, features=spatial_features, temperature=softmax_temperature
        )
        self.output_dim = pooled if bottleneck_dim is None else bottleneck_dim
        self.linear: nn.Linear | None = None
        self.norm: nn.LayerNorm | None = None
        if bottleneck_dim is not None:
            self.linear = nn.Linear(pooled, bottleneck_dim)
            nn.init.xavier_uniform_(self.linear.weight)
            nn.init.zeros_(self.linear.bias)
            self.norm = nn.LayerNorm(bottleneck_dim, eps=LAYER_NORM_EPS)

    def forward(self, features: Tensor, *, train: bool = False) -> Tensor:
        """(batch, height, width, channel) -> (batch, output_dim); `train` turns the dropout on."""
        if features.shape[1:] != self.shape:
            raise ValueError(
                f"feature map of shape {tuple(features.shape[1:])}, expected {self.shape}: "
                "features cached for another trunk or image size?"
            )
        x: Tensor = self.pooling(features)
        if self.dropout:
            x = F.dropout(x, self.dropout, training=train)
        if self.linear is not None and self.norm is not None:
            x = torch.tanh(self.norm(self.linear(x)))
        return x
