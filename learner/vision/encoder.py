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

    def features(self, images: Tensor, condition: Tensor | None = None) -> Tensor:
        """(batch, height, width, channel) uint8 -> (batch, height', width', channel') float."""
        if images.dtype != torch.uint8:
            raise TypeError(f"images of dtype {images.dtype}, expected uint8 (0..255)")
        expected = self.trunk.image_channels
        if images.ndim != 4 or images.shape[-1] != expected:
            raise ValueError(
                f"images of shape {tuple(images.shape)}, "
                f"expected (batch, height, width, {expected})"
            )
        features: Tensor = self.trunk(images, condition)
        return features

    def forward(
        self, images: Tensor, *, condition: Tensor | None = None, train: bool = False
    ) -> Tensor:
        """(batch, ...) -> (batch, output_dim); `train` turns the head's dropout on."""
        if not images.is_floating_point():
            images = self.features(images, condition)
        vector: Tensor = self.head(images.to(torch.float32), train=train)
        return vector
