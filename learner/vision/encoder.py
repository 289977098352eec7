"""An image encoder: a trunk (images to a feature map) and a head (the map to a vector)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from serl_rt.learner.vision.pooling import Head
from serl_rt.learner.vision.trunk import FrozenTrunk, Trunk


class Encoder(nn.Module):
    """uint8 images, or floating-point features of the (frozen) trunk, to a vector.

    The dtype says which: images are always uint8 until they reach a trunk, so that a batch may
    carry cached features in place of its images without anything in between knowing.
    """

    def __init__(self, trunk: Trunk, head: Head) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head

    @property
    def frozen(self) -> bool:
        """Whether features may be computed once and cached."""
        return isinstance(self.trunk, FrozenTrunk)

    @property
    def output_dim(self) -> int:
        return self.head.output_dim

    def features(self, *images: Tensor, condition: Tensor | None = None) -> Tensor:
        """(batch, height, width, channel) uint8 -> (batch, height', width', channel') float.

        Several images, of cameras that are joined, are one with the channels of all.
        """
        for image in images:
            if image.dtype != torch.uint8:
                raise TypeError(f"images of dtype {image.dtype}, expected uint8 (0..255)")
        expected = self.trunk.image_channels
        joined = (*images[0].shape[:-1], sum(image.shape[-1] for image in images))
        if len(joined) != 4 or joined[-1] != expected:
            raise ValueError(
                f"images of shape {joined}, expected (batch, height, width, {expected})"
            )
        features: Tensor = self.trunk(*images, condition=condition)
        return features

    def forward(
        self, *images: Tensor, condition: Tensor | None = None, train: bool = False
    ) -> Tensor:
        """(batch, ...) -> (batch, output_dim); `train` turns the head's dropout on."""
        features = images[0]
        if not features.is_floating_point():
            features = self.features(*images, condition=condition)
        vector: Tensor = self.head(features.to(torch.float32), train=train)
        return vector
