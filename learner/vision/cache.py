"""Features of frozen trunks computed once per frame, for several random shifts of it.

A random shift comes before the trunk, so a frame's features cannot simply be stored. Storing them
for a few shifts and drawing one at each use keeps most of the augmentation and removes the trunk,
which is most of the cost, from the update.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Generator, Tensor

from serl_rt.learner.vision.augment import random_shift
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
    """Features of `crops` shifts of every frozen camera's images; all else as it is.

    (batch, [stack,] h, w, 3) uint8 -> (batch, crops, [stack,] h', w', channel) of `dtype`.
    """
    if crops < 1:
        raise ValueError(f"crops = {crops}: must be at least 1")
    shifted = dict(observations)
    for key in encoder.frozen_keys:
        copies = observations[key].repeat_interleave(crops, dim=0)
        shifted[key] = random_shift(copies, generator, padding=padding)
    features = encoder.trunk_features(shifted)
    for key in encoder.frozen_keys:
        shape = (-1, crops, *features[key].shape[1:])
        features[key] = features[key].to(dtype).reshape(shape)
    return features


def draw_crop(features: Tensor, generator: Generator) -> Tensor:
    """One of the cached crops of each frame: (batch, crops, ...) -> (batch, ...)."""
    batch, crops = features.shape[:2]
    chosen = torch.randint(crops, (batch,), generator=generator, device=generator.device)
    return features[torch.arange(batch, device=features.device), chosen.to(features.device)]
