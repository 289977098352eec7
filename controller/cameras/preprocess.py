"""From a camera's picture to the contract's image: cut out, then averaged over areas.

This happens once, in the process that reads the cameras. What it gives is what the policy acts on,
what the learner stores and what it trains on: nobody resizes again.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from serl_rt.controller.cameras.camera import CameraError, Picture


def preprocess(picture: Picture, crop: tuple[int, ...], height: int, width: int) -> Picture:
    """Return the image, (height, width, 3), of a picture's part.

    crop: (top, left, height, width) in pixels, or empty for all of it. Each pixel of the image is
    the mean over the area that it covers, rounded half up.
    Raises CameraError if the crop does not lie inside the picture.
    """
    if crop:
        top, left, rows, columns = crop
        if top + rows > picture.shape[0] or left + columns > picture.shape[1]:
            raise CameraError(
                f"crop = {list(crop)} does not lie inside a picture of {picture.shape[0]} x "
                f"{picture.shape[1]} (height x width)"
            )
        picture = picture[top : top + rows, left : left + columns]
    if picture.shape[:2] == (height, width):
        return np.ascontiguousarray(picture)
    down = _area_weights(picture.shape[0], height)
    across = _area_weights(picture.shape[1], width)
    mixed = np.tensordot(down, picture.astype(np.float32), axes=(1, 0))
    mixed = np.tensordot(across, mixed, axes=(1, 1)).transpose(1, 0, 2)
    return np.ascontiguousarray(np.floor(mixed + np.float32(0.5)).clip(0, 255), dtype=np.uint8)


@lru_cache(maxsize=32)
def _area_weights(size: int, wanted: int) -> NDArray[np.float32]:
    """Return (wanted, size): the share of each source pixel in each pixel of the result."""
    edges = np.arange(wanted + 1) * (size / wanted)
    pixels = np.arange(size)
    low = np.maximum(edges[:-1, None], pixels)
    high = np.minimum(edges[1:, None], pixels + 1)
    shares: NDArray[np.float64] = np.maximum(high - low, 0.0) * (wanted / size)
    return shares.astype(np.float32)
