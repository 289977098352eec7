"""Images of transitions without a second copy: frames, and which of them each transition has.

What one transition ends with, the next one of its episode begins with. On the wire such a frame
travels once; here both transitions name it by the same number, and that number is what a replay
buffer recognises it by.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Columns = Mapping[str, NDArray[Any]]
Image = NDArray[np.uint8]


@dataclass(frozen=True)
class ImageRows:
    """One camera's image for each of n transitions; reads as an array of n images."""

    frames: Sequence[Image]
    """The distinct frames, each (height, width, 3)."""
    numbers: NDArray[np.int64]
    """(frames,): equal numbers, of whatever message, are the same frame."""
    rows: NDArray[np.int64]
    """(n,): which of the frames each transition has."""

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[tuple[int, Image]]:
        """Yield number and frame of each transition."""
        for row in self.rows:
            yield int(self.numbers[row]), self.frames[row]

    def __getitem__(self, rows: Any) -> ImageRows:
        """Return the chosen transitions (indices, slice or boolean mask); no frame is copied."""
        return ImageRows(self.frames, self.numbers, self.rows[rows])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the images, (n, height, width, 3)."""
        return np.stack([self.frames[row] for row in self.rows]).astype(dtype or np.uint8)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array that it reads as."""
        return (len(self), *self.frames[0].shape)


@dataclass
class _Tail:
    """What a run's next transition may begin with."""

    episode: int
    step: int
    """Of the last transition."""
    number: int
    frames: dict[str, Image]


class FrameLinker:
    """Finds the frames of each transition of the runs that it is shown, in the wire's columns.

    See docs/architecture.md section 5, images: `next_observation/<image>` has a frame for every
    transition, `observation/<image>` only for those with `starts` = 1.
    """

    def __init__(self, images: Mapping[str, tuple[int, ...]]) -> None:
        """`images`: name -> shape of the contract's images."""
        self._images = dict(images)
        self._count = 0
        self._tails: dict[str, _Tail] = {}

    def __call__(
        self, columns: Columns, run_id: str
    ) -> tuple[dict[str, ImageRows], dict[str, ImageRows]]:
        """Return the images before and after each transition.

        Transitions of one run must come in their order. Raises ValueError that names a missing
        column, a wrong shape, or a transition whose first frames never came.
        """
        starts = _column(columns, "starts", None).astype(bool)
        size = len(starts)
        seen = {
            name: _column(columns, f"observation/{name}", (int(starts.sum()), *shape))
            for name, shape in self._images.items()
        }
        following = {
            name: _column(columns, f"next_observation/{name}", (size, *shape))
            for name, shape in self._images.items()
        }
        numbers: list[int] = []
        frames: dict[str, list[Image]] = {name: [] for name in self._images}

        def add(number: int, images: Mapping[str, Image]) -> int:
            numbers.append(number)
            for name, image in images.items():
                frames[name].append(image)
            return len(numbers) - 1

        before, after = np.empty(size, np.int64), np.empty(size, np.int64)
        tail, place, started = self._tails.get(run_id), -1, 0
        for row in range(size):
            at = int(columns["episode"][row]), int(columns["step"][row])
            if starts[row]:
                images = {name: array[started] for name, array in seen.items()}
                started += 1
                if tail is None or not _continues(tail, at, images):
                    tail, place = _Tail(*at, self._new(), images), -1
            elif tail is None:
                raise ValueError(
                    f"transition {row} of run {run_id} has starts = 0, but nothing before it is "
                    "known: its images are missing"
                )
            before[row] = add(tail.number, tail.frames) if place < 0 else place
            images = {name: array[row] for name, array in following.items()}
            tail = _Tail(*at, self._new(), images)
            place = after[row] = add(tail.number, images)
        if tail is not None:
            # A copy: a view would keep the whole message in memory.
            tail.frames = {name: image.copy() for name, image in tail.frames.items()}
            self._tails[run_id] = tail
        known = np.array(numbers, np.int64)
        return (
            {name: ImageRows(frames[name], known, before) for name in self._images},
            {name: ImageRows(frames[name], known, after) for name in self._images},
        )

    def _new(self) -> int:
        self._count += 1
        return self._count


def _continues(tail: _Tail, at: tuple[int, int], images: Mapping[str, Image]) -> bool:
    """Whether frames that came again (after a reconnection) are those of the step before."""
    return at == (tail.episode, tail.step + 1) and all(
        np.array_equal(image, tail.frames[name]) for name, image in images.items()
    )


def _column(columns: Columns, name: str, shape: tuple[int, ...] | None) -> NDArray[Any]:
    if name not in columns:
        raise ValueError(f"column {name} is missing; there are {', '.join(columns)}")
    value = np.asarray(columns[name])
    expected = (len(columns["reward"]),) if shape is None else shape
    if value.dtype != np.uint8 or value.shape != expected:
        raise ValueError(f"column {name}: {value.dtype} {value.shape}, expected uint8 {expected}")
    return value
