"""The replay buffer for images: every frame once, stacks put together when a batch is drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from serl_rt.learner.data.batch import Batch
from serl_rt.learner.data.image_frames import FrameRing, Spec
from serl_rt.learner.data.image_rows import ImageRows
from serl_rt.learner.data.replay import ReplayBuffer
from serl_rt.learner.data.transitions import Transitions
from serl_rt.learner.networks.states import Observations

FRAMES_PER_TRANSITION = 1.08
"""Room for frames: one for each transition, and one more for each episode (or other beginning)."""
OPEN_CHAINS = 64
"""Runs whose next transition may continue the last one."""

Featurise = Callable[[dict[str, Tensor]], dict[str, Tensor]]
"""Frames {camera: (1, height, width, 3)} -> features {camera: (1, crops, ...)}."""


@dataclass
class _Chain:
    """What the next transition of a run may continue."""

    numbers: tuple[int, ...]
    """Of the newest frames, as many as a stack has, oldest first."""
    frames: dict[str, Tensor] | None = None
    """Copies of them, for when their places in the ring have been given away."""


class ImageReplay:
    """Keeps the newest transitions with images; samples them uniformly, with replacement.

    Each transition knows the numbers of its own frames, a window of `stack` + 1: the stack of its
    observation is all but the last, that of the next observation all but the first. Where nothing
    comes before (an episode begins, or a transition in between was left out), the stack repeats
    the first frame. It never reaches into another episode, and no neighbourhood in memory is relied
    on: runs may be interleaved and transitions left out.

    When episodes are so short that the frames' room ends first, the oldest transitions go earlier.

    With `featurise` the batches carry features in place of images: those of a frozen trunk,
    computed when a frame arrives, for several random crops of it, one of which is drawn with each
    use. The frames themselves are then not kept.
    """

    def __init__(
        self,
        capacity: int,
        observations: Spec,
        action_dim: int,
        *,
        stack: int | None = None,
        folder: Path | None = None,
        featurise: Featurise | None = None,
    ) -> None:
        """`observations` as of ReplayBuffer; what is uint8 is an image.

        `stack`: frames of an observation, its second axis; None for a single one without that axis.
        `folder`: where to keep the frames in files instead of in memory.
        """
        if stack is not None and stack < 1:
            raise ValueError(f"stack = {stack}: must be at least 1")
        images = {k: v for k, v in observations.items() if v[1] == torch.uint8}
        if not images:
            raise ValueError("ImageReplay: no image among the observations: use ReplayBuffer")
        self.capacity = capacity
        self.stack = stack
        self.inserted = 0
        """Transitions that were ever added."""
        self._oldest = 0
        states = {k: v for k, v in observations.items() if k not in images}
        self._vectors = ReplayBuffer(capacity, states, action_dim)
        self._length = stack or 1
        self._windows = torch.empty((capacity, self._length + 1), dtype=torch.int64)
        self._lowest = np.empty(capacity, np.int64)
        self._featurise = featurise
        room = math.ceil(capacity * FRAMES_PER_TRANSITION) + self._length + 1
        self.frames = FrameRing(room, images if featurise is None else _features(featurise, images),
                                folder)  # fmt: skip
        self._recent = room // 16
        self._chains: dict[int, _Chain] = {}

    def __len__(self) -> int:
        return self.inserted - self._oldest

    @property
    def bytes_per_transition(self) -> float:
        """Memory for each transition of the capacity."""
        frames = self.frames.bytes_per_frame * self.frames.capacity / self.capacity
        windows = self._windows[0].numel() * 8 + self._lowest.itemsize
        return frames + windows + self._vectors.bytes_per_transition

    def insert(self, transitions: Transitions) -> None:
        """Append transitions, over the oldest where the buffer is full.

        Images are ImageRows: the same number is the same frame.
        """
        part = max(1, self.capacity // 32)  # a fraction of the ring: no chain is lost within it
        for start in range(0, transitions.size, part):
            stop = min(start + part, transitions.size)
            self._insert_part(transitions.select(np.arange(start, stop)))

    def _insert_part(self, transitions: Transitions) -> None:
        before, after = _images(transitions.observations), _images(transitions.next_observations)
        for row in range(transitions.size):
            self._insert_frames(
                {name: _at(rows, row) for name, rows in before.items()},
                {name: _at(rows, row) for name, rows in after.items()},
            )
            self.inserted += 1
            self._oldest = max(self._oldest, self.inserted - self.capacity)
            self._forget_overwritten()
        for chain in self._chains.values():
            if chain.frames is None:
                chain.frames = self.frames.take(torch.tensor(chain.numbers))
        self._vectors.insert(_without(transitions, before))

    def _insert_frames(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        number = next(iter(before.values()))[0]
        chain = self._chains.pop(number, None)
        if chain is None:
            numbers = (self._store(before),) * self._length
        else:
            numbers = self._kept(chain)
        window = (*numbers, self._store(after))
        self._chains[next(iter(after.values()))[0]] = _Chain(window[1:])
        if len(self._chains) > OPEN_CHAINS:
            self._chains.pop(next(iter(self._chains)))
        self._windows[self.inserted % self.capacity] = torch.tensor(window)
        self._note_lowest(window[0])

    def _kept(self, chain: _Chain) -> tuple[int, ...]:
        """Return a chain's numbers, stored anew where it was not continued for long.

        Otherwise a transition of now could hold frames that are about to be overwritten, and with
        them everything older than itself would go.
        """
        if chain.frames is None or chain.numbers[0] >= self.frames.count - self._recent:
            return chain.numbers
        renewed: dict[int, int] = {}
        for place, number in enumerate(chain.numbers):
            if number not in renewed:
                frames = {name: copies[place] for name, copies in chain.frames.items()}
                renewed[number] = self.frames.append(frames)
        return tuple(renewed[number] for number in chain.numbers)

    def _note_lowest(self, lowest: int) -> None:
        """Keep the lowest numbers in growing order, so that looking at the oldest one suffices."""
        row = self.inserted
        while row >= self._oldest and (
            row == self.inserted or self._lowest[row % self.capacity] > lowest
        ):
            self._lowest[row % self.capacity] = lowest
            row -= 1

    def _store(self, images: Mapping[str, Any]) -> int:
        frames = {name: image for name, (_, image) in images.items()}
        if self._featurise is None:
            return self.frames.append(frames)
        tensors = {k: torch.from_numpy(np.array(v))[None] for k, v in frames.items()}
        return self.frames.append({k: v[0] for k, v in self._featurise(tensors).items()})

    def _forget_overwritten(self) -> None:
        oldest = self.frames.oldest
        while len(self) and self._lowest[self._oldest % self.capacity] < oldest:
            self._oldest += 1

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Return a batch of new tensors. Raises ValueError on an empty buffer."""
        if len(self) == 0:
            raise ValueError("the replay buffer is empty: nothing to sample")
        rows = torch.randint(len(self), (batch_size,), generator=generator)
        return self._take(rows, None if self._featurise is None else generator)

    def take(self, rows: Tensor) -> Batch:
        """Return the transitions at these places, 0 the oldest one.

        Cached features come with all their crops, (batch, [stack,] crops, ...).
        """
        return self._take(rows)

    def _take(self, rows: Tensor, generator: torch.Generator | None = None) -> Batch:
        """Return the same, or with a generator one crop of each frame's features."""
        places = (rows + self._oldest) % self.capacity
        batch = self._vectors.take(places)
        windows = self._windows.index_select(0, places)
        before, after = windows[:, :-1], windows[:, 1:]
        return batch._replace(
            observations=self._with_images(batch.observations, before, generator),
            next_observations=self._with_images(batch.next_observations, after, generator),
        )

    def _with_images(
        self, states: Observations, numbers: Tensor, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        assert not isinstance(states, Tensor)
        numbers = numbers.squeeze(1) if self.stack is None else numbers
        return {**states, **self.frames.take(numbers, generator)}


def _images(observations: Mapping[str, Any]) -> dict[str, ImageRows]:
    return {name: rows for name, rows in observations.items() if isinstance(rows, ImageRows)}


def _at(images: ImageRows, row: int) -> tuple[int, Any]:
    frame = images.rows[row]
    return int(images.numbers[frame]), images.frames[frame]


def _without(transitions: Transitions, names: Mapping[str, Any]) -> Transitions:
    return transitions._replace(
        observations={k: v for k, v in transitions.observations.items() if k not in names},
        next_observations={
            k: v for k, v in transitions.next_observations.items() if k not in names
        },
    )


def _features(featurise: Featurise, images: Spec) -> Spec:
    """Return shape and type of what is kept in place of the images."""
    example = {k: torch.zeros((1, *shape), dtype=dtype) for k, (shape, dtype) in images.items()}
    return {k: (tuple(v.shape[1:]), v.dtype) for k, v in featurise(example).items()}
