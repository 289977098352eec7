"""A ring of camera frames: each is stored once, as uint8, and addressed by its number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

Spec = Mapping[str, tuple[tuple[int, ...], torch.dtype]]
"""Shape and type of one frame of each camera."""

WORDS = (torch.int64, torch.int32, torch.int16)
"""Rows are copied as the widest of these that divides them: as fast as memcpy, bytes are not."""


class FrameRing:
    """Keeps the newest `capacity` frames, one per camera and number.

    Memory is reserved at once but used only as frames arrive. With `folder` it is a file for each
    camera, mapped into memory: the buffer may then be larger than what the machine has, and the
    system keeps in memory what is used. Whatever is in these files is overwritten.
    """

    def __init__(self, capacity: int, spec: Spec, folder: Path | None = None) -> None:
        self.capacity = capacity
        self.count = 0
        """Frames that were ever added: the number of the next one."""
        self.spec = dict(spec)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self._arrays = {
            name: _reserve((capacity, *shape), dtype, None if folder is None else folder / name)
            for name, (shape, dtype) in spec.items()
        }
        self._words = {name: _as_words(array) for name, array in self._arrays.items()}

    @property
    def oldest(self) -> int:
        """The lowest number whose frame is still here."""
        return max(0, self.count - self.capacity)

    @property
    def bytes_per_frame(self) -> int:
        """Memory of one number, all cameras together."""
        return sum(a[0].numel() * a.element_size() for a in self._arrays.values())

    def append(self, frames: Mapping[str, NDArray[Any] | Tensor]) -> int:
        """Add one frame of each camera, over the oldest if the ring is full; return its number."""
        number = self.count
        for name, array in self._arrays.items():
            place, frame = array[number % self.capacity], frames[name]
            if isinstance(frame, Tensor):
                place.copy_(frame)
            else:
                place.numpy()[...] = frame  # not through a tensor: it may be read-only memory
        self.count += 1
        return number

    def take(self, numbers: Tensor, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Return copies of the frames with these numbers, {camera: (*numbers.shape, *frame)}.

        With a generator only one entry of each frame's first axis, drawn anew for each: then
        (*numbers.shape, *frame[1:]).
        """
        places = (numbers % self.capacity).flatten()
        result = {}
        for name, (shape, dtype) in self.spec.items():
            if generator is None:
                picked = self._words[name].index_select(0, places)
            else:
                entries, shape = shape[0], shape[1:]
                drawn = torch.randint(entries, places.shape, generator=generator)
                words = _as_words(self._arrays[name].flatten(0, 1))
                picked = words.index_select(0, places * entries + drawn)
            result[name] = picked.view(dtype).view(*numbers.shape, *shape)
        return result


def _reserve(shape: tuple[int, ...], dtype: torch.dtype, file: Path | None) -> Tensor:
    if file is None:
        return torch.empty(shape, dtype=dtype)
    size = math.prod(shape)
    return torch.from_file(str(file), shared=True, size=size, dtype=dtype).view(shape)


def _as_words(array: Tensor) -> Tensor:
    """(n, ...) -> (n, words), the same memory."""
    rows = array.view(len(array), -1)
    size = rows.shape[1] * rows.element_size()
    for word in WORDS:
        if size % word.itemsize == 0 and word.itemsize >= array.element_size():
            return rows.view(word)
    return rows
