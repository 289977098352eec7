"""Layers of an ensemble: one weight tensor with a leading member axis, one batched product."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LAYER_NORM_EPS = 1e-6

M = TypeVar("M", bound=nn.Module)


class EnsembleLinear(nn.Module):
    """Independent linear layers: (ensemble, batch, in) -> (ensemble, batch, out)."""

    def __init__(self, in_features: int, out_features: int, ensemble_size: int) -> None:
        super().__init__()
        self.ensemble_size = ensemble_size
        self.weight = nn.Parameter(torch.empty(ensemble_size, in_features, out_features))
        self.bias = nn.Parameter(torch.zeros(ensemble_size, out_features))
        xavier_uniform_(self.weight)

    def forward(self, x: Tensor, members: Tensor | None = None) -> Tensor:
        """Apply all members, or those of the indices `members` (m,), to x.

        x: (batch, in), the same for every member, or (ensemble, batch, in).
        """
        weight: Tensor = self.weight
        bias: Tensor = self.bias
        if members is not None:
            weight, bias = weight[members], bias[members]
        if x.ndim == 2:
            x = x.expand(weight.shape[0], *x.shape)
        return torch.baddbmm(bias.unsqueeze(1), x, weight)


class EnsembleLayerNorm(nn.Module):
    """Layer normalisation over the last axis with each member's own scale and bias."""

    def __init__(self, features: int, ensemble_size: int, eps: float = LAYER_NORM_EPS) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(ensemble_size, features))
        self.bias = nn.Parameter(torch.zeros(ensemble_size, features))

    def forward(self, x: Tensor, members: Tensor | None = None) -> Tensor:
        """(ensemble, batch, features) -> the same shape."""
        weight: Tensor = self.weight
        bias: Tensor = self.bias
        if members is not None:
            weight, bias = weight[members], bias[members]
        normal = F.layer_norm(x, x.shape[-1:], eps=self.eps)
        return torch.addcmul(bias.unsqueeze(1), normal, weight.unsqueeze(1))


def xavier_uniform_(weight: Tensor) -> None:
    """Fill (..., in, out) with uniform values within sqrt(6 / (in + out)) (Glorot and Bengio)."""
    bound = math.sqrt(6.0 / (weight.shape[-2] + weight.shape[-1]))
    nn.init.uniform_(weight, -bound, bound)


def create_ensemble(build: Callable[..., M], ensemble_size: int) -> Callable[..., M]:
    """Return a constructor of `ensemble_size` independent members in one module.

    `create_ensemble(Critic, 10)(...)` puts the members on the first axis of parameters and outputs.
    """
    if ensemble_size < 1:
        raise ValueError(f"ensemble_size = {ensemble_size}: must be at least 1")
    return functools.partial(build, ensemble_size=ensemble_size)
