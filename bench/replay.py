"""How fast batches are drawn from a full replay of states."""

import time
from collections.abc import Callable

import numpy as np
import torch

from bench.rows import Row, make_row
from serl_rt.learner.data.dataset import Dataset
from serl_rt.learner.data.replay import ReplayBuffer
from serl_rt.learner.data.transitions import STATE, Transitions

CAPACITY, OBSERVATION_DIM, ACTION_DIM, BATCH = 200_000, 18, 7, 256
REPETITIONS, DRAWS = 7, 2000


def rows() -> list[Row]:
    """Measure batches per second, and the same rows taken from plain numpy arrays."""
    rng = np.random.default_rng(0)

    def numbers(*shape: int) -> np.ndarray:
        return rng.standard_normal((CAPACITY, *shape), dtype=np.float32)

    states, following, actions = numbers(OBSERVATION_DIM), numbers(OBSERVATION_DIM), numbers(7)
    vector = numbers()
    replay = ReplayBuffer(CAPACITY, {STATE: ((OBSERVATION_DIM,), torch.float32)}, ACTION_DIM)
    replay.insert(Transitions({STATE: states}, actions, {STATE: following}, vector, vector, vector))
    arrays = {
        "observations": {STATE: states}, "next_observations": {STATE: following},
        "actions": actions, "rewards": vector, "masks": vector, "grasp_penalty": vector,
    }  # fmt: skip
    dataset = Dataset(arrays, seed=0)
    generator = torch.Generator().manual_seed(0)
    ours, theirs = [], []
    for _ in range(REPETITIONS):
        ours.append(per_second(lambda: replay.sample(BATCH, generator)))
        theirs.append(per_second(lambda: dataset.sample(BATCH)))
    control = "the same rows from numpy arrays, not yet tensors"
    return [make_row("replay_sample_256", "batches/s", ours, control, theirs)]


def per_second(draw: Callable[[], object]) -> float:
    """Return how often `draw` can be called in a second."""
    start = time.perf_counter()
    for _ in range(DRAWS):
        draw()
    return DRAWS / (time.perf_counter() - start)
