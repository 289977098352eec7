"""What turns images into feature maps: the interface, plain convolutions, and frozen trunks."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from serl_rt.learner.vision.layers import Conv2d, Padding, output_size
from serl_rt.learner.vision.pooling import MapShape

FLAT = 8.0
"""Standard deviation of a channel, of 255, below which it counts as flat."""
CONTRAST = 0.15
"""Standard deviation that convolutions get standardized images at: about that of others."""
CPU_PIECE = 16
"""Images that a CPU takes through a frozen trunk at once: 10 to 20 % faster than 64, from cache."""


class Trunk(nn.Module, ABC):
    """(batch, height, width, channel) images on 0..255 -> a feature map in the same layout.

    `forward(*images, condition=None)`: several images are one with the channels of all;
    `condition` (batch, dim) only where the trunk has it.
    """

    image_channels: int

    @abstractmethod
    def feature_shape(self, height: int, width: int) -> MapShape:
        """(height, width, channel) of the map of an image of this size."""


class FrozenTrunk(Trunk):
    """A pretrained trunk that never learns: no gradient, and target networks share it.

    `precision` torch.bfloat16 computes it in bfloat16: about twice as fast on CPUs with
    avx512_bf16, features within about 1 %.
    """

    def __init__(self, trunk: Trunk, precision: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.trunk = trunk.eval().requires_grad_(False)
        self.precision = precision
        self.image_channels = trunk.image_channels

    def feature_shape(self, height: int, width: int) -> MapShape:
        return self.trunk.feature_shape(height, width)

    def forward(self, *several: Tensor, condition: Tensor | None = None) -> Tensor:
        images = join_channels(several)
        pieces = torch.split(images, CPU_PIECE) if images.device.type == "cpu" else (images,)
        low = self.precision != torch.float32
        with torch.no_grad(), torch.autocast(images.device.type, self.precision, enabled=low):
            if condition is not None:
                features: Tensor = self.trunk(images, condition=condition)
                return features
            return torch.cat([self.trunk(piece) for piece in pieces])


def join_channels(images: Sequence[Tensor]) -> Tensor:
    """Return images (batch, height, width, channel) as one with the channels of all."""
    return images[0] if len(images) == 1 else torch.cat(tuple(images), dim=-1)


def copy_for_targets(networks: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Deep copies that share the frozen trunks, which would stay equal to their copies."""
    modules = (module for network in networks.values() for module in network.modules())
    shared = {id(module): module for module in modules if isinstance(module, FrozenTrunk)}
    return copy.deepcopy(dict(networks), shared)


def standardized(images: Tensor) -> Tensor:
    """Return each channel of images (batch, channel, height, width) at mean 0 and deviation 1.

    Whatever colour light and background have, what stands out from most of the image is what is far
    from 0. Channels without much contrast, below `FLAT`, stay so.
    """
    centred = images - images.mean((2, 3), keepdim=True)
    deviation = centred.square().mean((2, 3), keepdim=True).sqrt()
    return centred / (deviation + FLAT)


@dataclass(frozen=True)
class ConvLayer:
    """One convolution with its ReLU."""

    channels: int
    stride: int
    kernel_size: int = 3
    padding: Padding = "valid"


class ConvTrunk(Trunk):
    """Convolutions with ReLU on images scaled to 0..1, or standardized (see `standardized`)."""

    def __init__(
        self, layers: Sequence[ConvLayer], *, image_channels: int = 3, standardize: bool = False
    ) -> None:
        super().__init__()
        self.image_channels = image_channels
        self.layers = tuple(layers)
        self.standardize = standardize
        inputs = (image_channels, *(layer.channels for layer in layers[:-1]))
        self.convs = nn.ModuleList(
            Conv2d(
                channels, layer.channels, layer.kernel_size,
                stride=layer.stride, padding=layer.padding, bias=True,
            )
            for channels, layer in zip(inputs, layers, strict=True)
        )  # fmt: skip
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def feature_shape(self, height: int, width: int) -> MapShape:
        for layer in self.layers:
            height = output_size(height, layer.kernel_size, layer.stride, layer.padding)
            width = output_size(width, layer.kernel_size, layer.stride, layer.padding)
        return height, width, self.layers[-1].channels

    def forward(self, *images: Tensor, condition: Tensor | None = None) -> Tensor:
        """(batch, height, width, channel) on 0..255 -> feature map, same layout."""
        if condition is not None:
            raise ValueError("a plain convolutional trunk takes no condition: use a FiLM ResNet")
        maps, scale = [x.to(torch.float32).permute(0, 3, 1, 2) for x in images], 1.0 / 255.0
        if self.standardize:
            maps, scale = [standardized(x) for x in maps], CONTRAST
        # The cameras' channels are never copied next to each other: that takes a CPU as long as
        # a convolution of them.
        for conv in self.convs:
            maps, scale = [F.relu(conv(*maps, scale=scale), inplace=True)], 1.0
        return maps[0].permute(0, 2, 3, 1)
