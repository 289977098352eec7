"""Rows about images in the replay: memory, and sampling against memcpy."""

import time
from collections.abc import Callable

import numpy as np
import torch

from bench.rows import Row, make_row
from serl_rt.learner.data.batch import Batch, named_tensors
from serl_rt.learner.data.image_replay import ImageReplay
from serl_rt.learner.data.image_rows import FrameLinker
from serl_rt.learner.data.transitions import Transitions

CAMERAS = ("front", "wrist")
SIDE = 128
CAPACITY = 200_000
FILLED = 20_000
"""Transitions that are really stored: 2 GB, far more than any cache."""
MESSAGE = 64
BATCH = 256
REPETITIONS = 30


def rows() -> list[Row]:
    """Measure with two cameras of 128 x 128 pixels."""
    replay = filled_replay()
    return [bytes_row(replay), sample_row(replay)]


def filled_replay() -> ImageReplay:
    """Return a buffer for 200,000 transitions with 20,000 in it."""
    shape = (SIDE, SIDE, 3)
    spec = {
        "state": ((7,), torch.float32),
        **{name: (shape, torch.uint8) for name in CAMERAS},
    }
    replay = ImageReplay(CAPACITY, spec, 4)
    linker = FrameLinker(dict.fromkeys(CAMERAS, shape))
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (MESSAGE, *shape), dtype=np.uint8)
    zeros = np.zeros(MESSAGE, np.float32)
    states = {"state": np.zeros((MESSAGE, 7), np.float32)}
    for first in range(0, FILLED, MESSAGE):
        starts = np.zeros(MESSAGE, np.uint8)
        starts[0] = 1  # an episode for each message
        columns = {
            "reward": zeros,
            "starts": starts,
            "episode": np.full(MESSAGE, first, np.uint32),
            "step": np.arange(MESSAGE, dtype=np.uint32),
            **{f"observation/{name}": frames[:1] for name in CAMERAS},
            **{f"next_observation/{name}": frames for name in CAMERAS},
        }
        before, after = linker(columns, "run")
        actions = np.zeros((MESSAGE, 4), np.float32)
        replay.insert(
            Transitions(states | before, actions, states | after, zeros, zeros, zeros),
        )
    return replay


def bytes_row(replay: ImageReplay) -> Row:
    """Return the memory of a transition of the capacity, all arrays counted."""
    frame = len(CAMERAS) * SIDE * SIDE * 3
    return make_row(
        "image_bytes_per_transition", "B", [replay.bytes_per_transition], "one frame a camera",
        [float(frame)],
    )  # fmt: skip


def sample_row(replay: ImageReplay) -> Row:
    """Return the speed of sample(256), bytes a second, as a share of memcpy's."""
    generator = torch.Generator().manual_seed(0)
    batch = replay.sample(BATCH, generator)
    size = sum(tensor.nbytes for _, tensor in named_tensors(batch))
    source = torch.empty(size * 40, dtype=torch.uint8).fill_(7)
    offsets = torch.randint(39 * size, (10_000,), generator=generator).tolist()

    def copy() -> torch.Tensor:
        start = offsets.pop()
        return source[start : start + size].clone()

    def sample() -> Batch:
        return replay.sample(BATCH, generator)

    sampled, copied = [], []
    for _ in range(REPETITIONS):  # in turn: what else the machine does meets both
        sampled.append(size / _seconds(sample) / 1e9)
        copied.append(size / _seconds(copy) / 1e9)
    return make_row("image_sample_memcpy_share", "GB/s", sampled, "memcpy of as many bytes", copied)


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
