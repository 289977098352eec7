"""Features of frozen trunks computed once per frame, for several random shifts of it.

A random shift comes before the trunk, so a frame's features cannot simply be stored. Storing them
for a few shifts and drawing one at each use keeps most of the augmentation and removes the trunk,
which is most of the cost, from the update.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Generator, Tensor

from serl_rt.learner.vision.augment import move_images
from serl_rt.learner.vision.encoding import EncodingWrapper


def cache_crops(
    encoder: EncodingWrapper,
    observations: Mapping[str, Tensor],
    generator: Generator,
    *,
    crops: int = 4,
    padding: int = 4,
    dtype: torch.dtype = torch.float16,
) -> dict[str, Tensor]:
    """Features of `crops` crops (or shifts, see `move_images`) of every frozen camera's images.

    (batch, [stack,] h, w, 3) uint8 -> (batch, crops, [stack,] h', w', channel) of `dtype`.
    """
    if crops < 1:
        raise ValueError(f"crops = {crops}: must be at least 1")
    shifted = dict(observations)
    for key in encoder.frozen_keys:
        copies = observations[key].repeat_interleave(crops, dim=0)
        shifted[key] = move_images(copies, encoder.crop, padding, generator)
    features = encoder.trunk_features(shifted)
    for key in encoder.frozen_keys:
        shape = (-1, crops, *features[key].shape[1:])
        features[key] = features[key].to(dtype).reshape(shape)
    return features


class Featuriser:
    """What ImageReplay keeps in place of frames: features of several crops of each.

    It draws from its own generator, so the crops of a frame depend on the order in which frames
    came, and on nothing that training does.
    """

    def __init__(
        self,
        encoder: EncodingWrapper,
        *,
        crops: int,
        padding: int,
        dtype: torch.dtype,
        seed: int,
    ) -> None:
        if set(encoder.frozen_keys) != set(encoder.image_keys):
            raise ValueError("only features of frozen trunks stay true: this encoder learns")
        self.encoder = encoder
        self.crops, self.padding, self.dtype = crops, padding, dtype
        self.generator = Generator().manual_seed(seed)

    @torch.no_grad()
    def __call__(self, frames: dict[str, Tensor]) -> dict[str, Tensor]:
        """{camera: (n, h, w, 3) uint8} -> {camera: (n, crops, h', w', channel)}, on the CPU."""
        device = next(self.encoder.parameters()).device
        features = cache_crops(
            self.encoder,
            {name: frame.to(device) for name, frame in frames.items()},
            self.generator,
            crops=self.crops,
            padding=self.padding,
            dtype=self.dtype,
        )
        return {name: features[name].cpu() for name in frames}


def draw_crop(features: Tensor, generator: Generator) -> Tensor:
    """One of the cached crops of each frame: (batch, crops, ...) -> (batch, ...)."""
    batch, crops = features.shape[:2]
    chosen = torch.randint(crops, (batch,), generator=generator, device=generator.device)
    return features[torch.arange(batch, device=features.device), chosen.to(features.device)]
