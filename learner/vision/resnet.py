"""ResNet v1 trunks as SERL builds them: group norm, SAME padding, optional conditioning."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from serl_rt.learner.vision.layers import (
    Conv2d,
    FilmConditioning,
    MultiplicativeConditioning,
    append_coordinates,
    group_norm,
    max_pool_same,
    output_size,
)
from serl_rt.learner.vision.pooling import MapShape
from serl_rt.learner.vision.trunk import Trunk, join_channels

Size = Literal["10", "18", "34", "50"]
Conditioning = Literal["film", "multiplicative"]

STAGES: dict[Size, tuple[int, ...]] = {
    "10": (1, 1, 1, 1),
    "18": (2, 2, 2, 2),
    "34": (3, 4, 6, 3),
    "50": (3, 4, 6, 3),
}
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class BasicBlock(nn.Module):
    """conv3 -> norm -> relu -> conv3 -> norm, plus the input (projected where shapes differ)."""

    expansion = 1

    def __init__(self, in_channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.channels = out = filters * self.expansion
        self.convs = nn.ModuleList(self._convs(in_channels, filters, stride))
        self.norms = nn.ModuleList(group_norm(conv.out_channels) for conv in self._conv_list())
        self.project: Conv2d | None = None
        self.project_norm: nn.GroupNorm | None = None
        if stride != 1 or in_channels != out:
            self.project = Conv2d(in_channels, out, 1, stride=stride)
            self.project_norm = group_norm(out)

    def _convs(self, in_channels: int, filters: int, stride: int) -> list[Conv2d]:
        return [Conv2d(in_channels, filters, 3, stride=stride), Conv2d(filters, filters, 3)]

    def _conv_list(self) -> list[Conv2d]:
        return [conv for conv in self.convs if isinstance(conv, Conv2d)]

    def forward(self, x: Tensor) -> Tensor:
        y, last = x, len(self.convs) - 1
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = norm(conv(y))
            y = F.relu(y, inplace=True) if i < last else y
        if self.project is not None and self.project_norm is not None:
            x = self.project_norm(self.project(x))
        return F.relu(x + y, inplace=True)


class BottleneckBlock(BasicBlock):
    """conv1 -> conv3 -> conv1 with four times the filters; starts as the identity (last norm 0)."""

    expansion = 4

    def __init__(self, in_channels: int, filters: int, stride: int) -> None:
        super().__init__(in_channels, filters, stride)
        last = self.norms[-1]
        assert isinstance(last, nn.GroupNorm)
        nn.init.zeros_(last.weight)

    def _convs(self, in_channels: int, filters: int, stride: int) -> list[Conv2d]:
        return [
            Conv2d(in_channels, filters, 1),
            Conv2d(filters, filters, 3, stride=stride),
            Conv2d(filters, filters * self.expansion, 1),
        ]


class ResNetTrunk(Trunk):
    """Images to a feature map.

    `forward` takes (batch, height, width, channel) images, uint8 or float on the scale 0..255, and
    gives (batch, height / 32, width / 32, channels) features.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        stages: tuple[int, ...] = STAGES["10"],
        *,
        bottleneck_blocks: bool = False,
        base_filters: int = 64,
        image_channels: int = 3,
        coordinates: bool = False,
        conditioning: Conditioning | None = None,
        condition_dim: int = 0,
    ) -> None:
        super().__init__()
        if image_channels % 3:
            raise ValueError(
                f"image_channels {image_channels}: a multiple of 3 (stacked RGB frames)"
            )
        if conditioning is not None and condition_dim < 1:
            raise ValueError(f"conditioning {conditioning!r} needs condition_dim >= 1")
        self.image_channels = image_channels
        self.coordinates = coordinates
        frames = image_channels // 3
        std = torch.tensor(IMAGENET_STD * frames)
        self.register_buffer("scale", 1.0 / (255.0 * std), persistent=False)
        self.register_buffer("shift", -torch.tensor(IMAGENET_MEAN * frames) / std, persistent=False)

        self.conv_init = Conv2d(
            image_channels + 2 * coordinates, base_filters, 7, stride=2, padding=3
        )
        self.norm_init = group_norm(base_filters)
        self.block_type = BottleneckBlock if bottleneck_blocks else BasicBlock
        blocks: list[BasicBlock] = []
        channels = base_filters
        for stage, count in enumerate(stages):
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                filters = base_filters * 2**stage
                blocks.append(self.block_type(channels, filters, stride))
                channels = filters * self.block_type.expansion
        self.blocks = nn.ModuleList(blocks)
        self.channels = channels
        self.stages = stages
        self.conditioning = nn.ModuleList()
        if conditioning is not None:
            layer = _conditioning_layer(conditioning)
            self.conditioning.extend(layer(condition_dim, block.channels) for block in blocks)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def feature_shape(self, height: int, width: int) -> MapShape:
        """(height, width, channel) of the map of an image of this size."""

        def reduce(size: int) -> int:
            size = output_size(output_size(size, 7, 2, 3), 3, 2, "same")
            for _ in self.stages[1:]:
                size = output_size(size, 3, 2, "same")
            return size

        return reduce(height), reduce(width), self.channels

    def forward(self, *several: Tensor, condition: Tensor | None = None) -> Tensor:
        images = join_channels(several)
        if bool(self.conditioning) != (condition is not None):
            given = "without" if condition is None else "with"
            raise ValueError(
                f"a trunk with {len(self.conditioning)} conditionings called {given} one"
            )
        # A number for each plane: ONNX Runtime takes ten times as long for rows of three numbers.
        x = images.permute(0, 3, 1, 2) * self.scale[:, None, None] + self.shift[:, None, None]
        if self.coordinates:
            x = append_coordinates(x)
        x = max_pool_same(F.relu(self.norm_init(self.conv_init(x)), inplace=True))
        for index, block in enumerate(self.blocks):
            x = block(x)
            if condition is not None:
                x = self.conditioning[index](x, condition)
        return x.permute(0, 2, 3, 1)


def _conditioning_layer(kind: Conditioning) -> type[FilmConditioning | MultiplicativeConditioning]:
    if kind == "film":
        return FilmConditioning
    if kind == "multiplicative":
        return MultiplicativeConditioning
    raise ValueError(f"conditioning {kind!r}: choose one of {', '.join(get_args(Conditioning))}")


def resnet_trunk(size: Size = "10", **options: object) -> ResNetTrunk:
    """A ResNet of a standard size; `options` are those of `ResNetTrunk`."""
    if size not in STAGES:
        raise ValueError(f"ResNet size {size!r}: choose one of {', '.join(STAGES)}")
    return ResNetTrunk(STAGES[size], bottleneck_blocks=size == "50", **options)  # type: ignore[arg-type]
