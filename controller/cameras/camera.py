"""What every camera can do, and the picture that it gives."""

import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
"""(height, width, 3), RGB, first row on top, C order."""


class CameraError(RuntimeError):
    """A camera cannot be opened or gives no pictures; says which, why, and what to do."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture and when it was taken."""

    picture: Picture
    time_ns: int
    """Monotonic clock of this machine [ns]."""


class Camera(Protocol):
    """An open camera. One thread uses it."""

    def read(self) -> Picture:
        """Wait for the next picture and return it. Raises CameraError when none comes."""

    def close(self) -> None:
        """Free the device."""


def now_ns() -> int:
    """Return the clock of every frame's time: the one that the controller reads, too."""
    return time.monotonic_ns()


def checked(picture: NDArray[np.generic], what: str) -> Picture:
    """Return a picture as contiguous uint8 RGB. Raises CameraError for another shape or dtype."""
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise CameraError(
            f"{what}: gives {picture.dtype} of shape {picture.shape}; expected uint8 "
            "(height, width, 3)"
        )
    return np.ascontiguousarray(picture, dtype=np.uint8)
