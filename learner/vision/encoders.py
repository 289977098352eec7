"""The encoders by name: SERL's, a fast one for simulation, and two with frozen ImageNet trunks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from serl_rt.learner.vision.encoder import Encoder
from serl_rt.learner.vision.layers import Padding
from serl_rt.learner.vision.pooling import Head, Pooling
from serl_rt.learner.vision.resnet import Conditioning, ResNetTrunk, Size, resnet_trunk
from serl_rt.learner.vision.trunk import ConvLayer, ConvTrunk, FrozenTrunk
from serl_rt.learner.vision.weights import load_trunk

ImageShape = tuple[int, int, int]
"""(height, width, channel) [pixels], the channels of all stacked frames together."""


def small_encoder(
    image: ImageShape,
    *,
    channels: tuple[int, ...] = (32, 64, 128, 256),
    pooling: Pooling = "avg",
    bottleneck_dim: int | None = 256,
    padding: Padding = "valid",
    spatial_features: int = 4,
) -> Encoder:
    """SERL's small encoder: 3x3 convolutions of stride 2, trained from scratch."""
    height, width, depth = image
    layers = [ConvLayer(n, stride=2, padding=padding) for n in channels]
    trunk = ConvTrunk(layers, image_channels=depth)
    shape = trunk.feature_shape(height, width)
    head = Head(
        shape, pooling=pooling, bottleneck_dim=bottleneck_dim, spatial_features=spatial_features
    )
    return Encoder(trunk, head)


def convfast_encoder(
    image: ImageShape,
    *,
    channels: int = 16,
    bottleneck_dim: int = 64,
    standardize_images: bool = False,
) -> Encoder:
    """Four 3x3 convolutions (strides 2, 2, 2, 1) and the whole map: 64x64 pixels in 0.1 ms.

    Learns a plain simulated scene as fast as larger encoders do, at a fraction of their cost.
    """
    height, width, depth = image
    layers = [ConvLayer(channels, stride, padding=1) for stride in (2, 2, 2, 1)]
    trunk = ConvTrunk(layers, image_channels=depth, standardize=standardize_images)
    shape = trunk.feature_shape(height, width)
    return Encoder(trunk, Head(shape, pooling="none", bottleneck_dim=bottleneck_dim))


def patches_encoder(
    image: ImageShape,
    *,
    channels: int = 16,
    bottleneck_dim: int = 64,
    standardize_images: bool = False,
) -> Encoder:
    """Patches of 4x4 pixels, then two 3x3 convolutions (strides 2, 1) and the whole map.

    As `convfast_encoder`, with the two layers that cost most in one: a third of its products.
    Rows and columns beyond a multiple of 4 are not seen.
    """
    height, width, depth = image
    layers = [
        ConvLayer(channels, stride=4, kernel_size=4),
        ConvLayer(channels, stride=2, padding=1),
        ConvLayer(channels, stride=1, padding=1),
    ]
    trunk = ConvTrunk(layers, image_channels=depth, standardize=standardize_images)
    shape = trunk.feature_shape(height, width)
    return Encoder(trunk, Head(shape, pooling="none", bottleneck_dim=bottleneck_dim))


def resnet_encoder(
    image: ImageShape,
    *,
    size: Size = "10",
    base_filters: int = 64,
    pooling: Pooling = "spatial_learned_embeddings",
    bottleneck_dim: int | None = 256,
    coordinates: bool = False,
    conditioning: Conditioning | None = None,
    condition_dim: int = 0,
    softmax_temperature: float | None = 1.0,
) -> Encoder:
    """A ResNet trained from scratch."""
    height, width, depth = image
    trunk = resnet_trunk(
        size,
        base_filters=base_filters,
        image_channels=depth,
        coordinates=coordinates,
        conditioning=conditioning,
        condition_dim=condition_dim,
    )
    head = Head(
        trunk.feature_shape(height, width),
        pooling=pooling,
        bottleneck_dim=bottleneck_dim,
        softmax_temperature=softmax_temperature,
    )
    return Encoder(trunk, head)


def frozen_head(
    trunk: FrozenTrunk,
    image: ImageShape,
    *,
    pooling: Pooling = "spatial_learned_embeddings",
    bottleneck_dim: int = 256,
    dropout: float = 0.1,
) -> Encoder:
    """SERL's learned head on a frozen trunk, which several cameras may share.

    Frames stacked in the channels pass through the trunk one by one; the head sees their maps
    stacked.
    """
    height, width, depth = image
    rows, columns, channels = trunk.feature_shape(height, width)
    frames = depth // trunk.image_channels
    shape = (rows, columns, channels * frames)
    return Encoder(
        trunk, Head(shape, pooling=pooling, bottleneck_dim=bottleneck_dim, dropout=dropout)
    )


def pretrained_resnet10_trunk(
    weights: Path, *, precision: torch.dtype = torch.float32
) -> FrozenTrunk:
    """SERL's ResNet-10 with the parameters in `weights` (see `load_trunk` for the formats)."""
    trunk = ResNetTrunk()
    load_trunk(trunk, weights)
    return FrozenTrunk(trunk, precision)


FAST_ENCODERS = ("convfast", "patches")
"""Those with `channels` and `standardize_images`."""
SCRATCH_ENCODERS: dict[str, Callable[..., Encoder]] = {
    "small": small_encoder,
    "convfast": convfast_encoder,
    "patches": patches_encoder,
    "resnet": resnet_encoder,
}
"""Encoders that learn from their first weight on, by the name used in recipes."""
