"""Tiny pictures with something to learn in them."""

from __future__ import annotations

import torch
from torch import Tensor


def squares(labels: Tensor, *, size: int = 24, seed: int = 0) -> Tensor:
    """(n, size, size, 3) uint8 noise with a 6x6 square: class k has it in quarter k of the width.

    Its height, its colour and the noise vary.
    """
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 100, (len(labels), size, size, 3), generator=generator)
    rows = torch.randint(2, size - 8, (len(labels),), generator=generator)
    bright = torch.randint(170, 256, (len(labels), 3), generator=generator)
    for image, label, row, colour in zip(
        images, labels.tolist(), rows.tolist(), bright, strict=True
    ):
        left = label * size // 4
        image[row : row + 6, left : left + 6] = colour
    return images.to(torch.uint8)
