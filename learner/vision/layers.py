"""Convolution, pooling, normalisation and conditioning layers with TensorFlow's SAME padding.

Inside this package feature maps are (batch, channel, height, width) in channels_last memory, so
that the (batch, height, width, channel) maps at the package's edges are views, never copies.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Padding = Literal["same", "valid"] | int

GROUPS = 4  # SERL's ResNets normalise four groups of channels
GROUP_NORM_EPS = 1e-5


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME: ceil(size / stride) outputs, the odd pixel of padding on the far side."""
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def output_size(size: int, kernel: int, stride: int, padding: Padding) -> int:
    """Number of outputs of a convolution or pooling along one axis."""
    if padding == "same":
        return -(-size // stride)
    pad = 0 if padding == "valid" else int(padding)
    outputs = (size + 2 * pad - kernel) // stride + 1
    if outputs < 1:
        raise ValueError(f"an axis of {size} pixels is too small for a {kernel}-wide kernel")
    return outputs


class Conv2d(nn.Conv2d):
    """`nn.Conv2d` whose "same" padding also works with strides, as in TensorFlow and Flax."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: Padding = "same",
        bias: bool = False,
    ) -> None:
        self.same = padding == "same" and kernel_size > 1
        pad = padding if isinstance(padding, int) else 0
        super().__init__(in_channels, out_channels, kernel_size, stride, pad, bias=bias)
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, *inputs: Tensor, scale: float = 1.0) -> Tensor:
        """Convolve `scale` times the input: the weight is scaled in its place, which is smaller.

        Several inputs are taken as one with the channels of all, without a copy of them.
        """
        weight = self.weight if scale == 1.0 else self.weight * scale
        weights = torch.split(weight, [x.shape[1] for x in inputs], dim=1)
        result = self._convolve(inputs[0], weights[0], self.bias)
        for x, part in zip(inputs[1:], weights[1:], strict=True):
            result = result + self._convolve(x, part, None)
        return result

    def _convolve(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if not self.same:
            result: Tensor = self._conv_forward(input, weight, bias)
            return result
        kernel, stride = self.kernel_size[0], self.stride[0]
        top, bottom = same_padding(input.shape[2], kernel, stride)
        left, right = same_padding(input.shape[3], kernel, stride)
        if (top, left) == (bottom, right):  # no copy
            return F.conv2d(input, weight, bias, self.stride, (top, left))
        padded = F.pad(input, (left, right, top, bottom))
        return F.conv2d(padded, weight, bias, self.stride)


def max_pool_same(x: Tensor, kernel: int = 3, stride: int = 2) -> Tensor:
    """Max-pooling with SAME padding: `ceil_mode` is the far-side pixel, without a padded copy."""
    top, _ = same_padding(x.shape[2], kernel, stride)
    left, _ = same_padding(x.shape[3], kernel, stride)
    return F.max_pool2d(x, kernel, stride, padding=(top, left), ceil_mode=True)


def group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(GROUPS, channels, eps=GROUP_NORM_EPS)


def append_coordinates(x: Tensor) -> Tensor:
    """Append two channels with the row and the column of each pixel, both from -1 to 1."""
    batch, _, height, width = x.shape
    rows = torch.linspace(-1.0, 1.0, height, device=x.device, dtype=x.dtype)
    columns = torch.linspace(-1.0, 1.0, width, device=x.device, dtype=x.dtype)
    grid = torch.stack((rows[:, None].expand(height, width), columns.expand(height, width)))
    stacked = torch.cat((x, grid.expand(batch, 2, height, width)), dim=1)
    return stacked.contiguous(memory_format=torch.channels_last)


class FilmConditioning(nn.Module):
    """x * (1 + scale(condition)) + shift(condition) per channel; the identity at initialisation.

    Perez et al. 2018, "FiLM: Visual Reasoning with a General Conditioning Layer".
    """

    def __init__(self, condition_dim: int, channels: int) -> None:
        super().__init__()
        self.scale = nn.Linear(condition_dim, channels)
        self.shift = nn.Linear(condition_dim, channels)
        for layer in (self.scale, self.shift):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x (batch, channel, height, width), condition (batch, condition_dim)."""
        scale: Tensor = 1.0 + self.scale(condition)[:, :, None, None]
        shift: Tensor = self.shift(condition)[:, :, None, None]
        return x * scale + shift


class MultiplicativeConditioning(nn.Module):
    """x * gain(condition) per channel."""

    def __init__(self, condition_dim: int, channels: int) -> None:
        super().__init__()
        self.gain = nn.Linear(condition_dim, channels)
        nn.init.xavier_normal_(self.gain.weight)
        nn.init.zeros_(self.gain.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x (batch, channel, height, width), condition (batch, condition_dim)."""
        gain: Tensor = self.gain(condition)[:, :, None, None]
        return x * gain
