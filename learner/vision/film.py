"""Episodes as they arrive, as short films for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

PERIOD = 20
"""One of so many episodes is filmed; the last one, which is an evaluation where every 2nd, 4th,
5th or 10th is."""
MOST_FRAMES = 500
"""Of a film: an episode may have no end."""
NEXT = "next_observation/"


class EpisodeFilm:
    """Collects the images of some episodes of one controller run."""

    def __init__(self) -> None:
        self._frames: list[NDArray[np.uint8]] = []

    def add(self, columns: Mapping[str, NDArray[Any]]) -> Iterator[NDArray[np.uint8]]:
        """Take transitions in their order; yield each film that is complete.

        (frames, height, width, 3), the cameras side by side. Without images there is none.
        """
        images = [value for name, value in columns.items() if _is_image(name, value)]
        if not images:
            return
        done = (columns["terminated"] != 0) | (columns["truncated"] != 0)
        filmed = columns["episode"] % PERIOD == PERIOD - 1
        for row in np.flatnonzero(filmed):
            if len(self._frames) < MOST_FRAMES:
                self._frames.append(_side_by_side([image[row] for image in images]))
            if done[row]:
                yield np.stack(self._frames)
                self._frames = []


def _is_image(name: str, value: NDArray[Any]) -> bool:
    return name.startswith(NEXT) and value.dtype == np.uint8 and value.ndim == 4


def _side_by_side(images: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Join images of one height or several; what is lower is filled up with black."""
    height = max(len(image) for image in images)
    padded = [np.pad(image, ((0, height - len(image)), (0, 0), (0, 0))) for image in images]
    return np.concatenate(padded, axis=1)
