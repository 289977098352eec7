"""What a batch shows, as one picture for a person."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from serl_rt.learner.data.batch import Batch

GAP = 2
"""White pixels between pictures."""


def image_grid(batch: Batch) -> NDArray[np.uint8] | None:
    """Return a column for each transition: every camera before, then every camera after.

    (height, width, 3); None where the batch has no images (states, or cached features). Of stacked
    frames the newest is shown. Cameras of different sizes are padded to the largest.
    """
    rows = []
    for observations in (batch.observations, batch.next_observations):
        if isinstance(observations, Tensor):
            return None
        for images in observations.values():
            if images.element_size() == 1 and images.ndim in (4, 5):
                rows.append((images if images.ndim == 4 else images[:, -1]).cpu().numpy())
    if not rows:
        return None
    height, width = (max(row.shape[axis] for row in rows) + GAP for axis in (1, 2))
    grid = np.full((len(rows) * height, batch.size * width, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            top, left = i * height, j * width
            grid[top : top + image.shape[0], left : left + image.shape[1]] = image[..., :3]
    return grid
