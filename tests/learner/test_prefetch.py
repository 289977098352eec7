"""Batches drawn ahead: the same ones, while the consumer works, and no more than asked for."""

from __future__ import annotations

import threading

import pytest
import torch
from test_replay import filled

from serl_rt.learner.data.batch import Batch
from serl_rt.learner.data.prefetch import Prefetcher

DEADLINE_S = 30.0


def test_batches_are_those_of_sampling_directly() -> None:
    replay = filled(50)
    direct, ahead = (torch.Generator().manual_seed(3) for _ in range(2))
    with Prefetcher(lambda: replay.sample(8, ahead)) as batches:
        for _, batch in zip(range(20), batches, strict=False):
            expected = replay.sample(8, direct)
            assert torch.equal(batch.rewards, expected.rewards)
            assert torch.equal(batch.observations["front"], expected.observations["front"])


def test_the_next_batches_are_drawn_while_the_consumer_works() -> None:
    replay, generator = filled(50), torch.Generator().manual_seed(0)
    drawn = threading.Semaphore(0)

    def sample() -> Batch:
        drawn.release()
        return replay.sample(4, generator)

    def expect(count: int) -> None:
        """Exactly `count` more batches are drawn without anything being taken."""
        for _ in range(count):
            assert drawn.acquire(timeout=DEADLINE_S)
        assert not drawn.acquire(timeout=0.3)  # more would be a mistake, however late

    with Prefetcher(sample, depth=3) as batches:
        expect(4)  # three are ready, one waits for room
        next(batches)  # from here on the consumer "computes"
        expect(1)
        next(batches)
        next(batches)
        expect(2)


def test_an_error_comes_where_its_batch_would_have() -> None:
    replay, generator = filled(5), torch.Generator().manual_seed(0)
    calls = iter([True, True, False])

    def sample() -> Batch:
        if not next(calls):
            raise ValueError("the disk is gone")
        return replay.sample(2, generator)

    batches = Prefetcher(sample, depth=1)
    assert next(batches).size == next(batches).size == 2
    with pytest.raises(ValueError, match="the disk is gone"):
        next(batches)
    with pytest.raises(StopIteration):
        next(batches)


def test_closing_ends_the_thread_whatever_it_does() -> None:
    before = threading.active_count()
    replay, generator = filled(5), torch.Generator().manual_seed(0)
    batches = Prefetcher(lambda: replay.sample(2, generator), depth=1)
    batches.close()  # it is full, or about to be
    assert threading.active_count() == before
    with pytest.raises(ValueError, match="depth = 0"):
        Prefetcher(lambda: replay.sample(2, generator), depth=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_batches_arrive_on_the_gpu() -> None:
    replay = filled(50)
    direct, ahead = (torch.Generator().manual_seed(3) for _ in range(2))
    with Prefetcher(lambda: replay.sample(8, ahead), "cuda") as batches:
        for _, batch in zip(range(20), batches, strict=False):
            assert batch.rewards.is_cuda
            assert torch.equal(batch.rewards.cpu(), replay.sample(8, direct).rewards)
