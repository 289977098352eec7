"""Replay, masks, episodes, data sets and mixing."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from serl_rt.learner.data.batch import concat_batches, slice_batch
from serl_rt.learner.data.dataset import Dataset
from serl_rt.learner.data.mixing import DemonstrationMixer, sample_parts
from serl_rt.learner.data.replay import ReplayBuffer
from serl_rt.learner.data.transitions import EpisodeCounter, Transitions, bootstrap_masks

SPEC = {"state": ((2,), torch.float32), "front": ((3, 3, 3), torch.uint8)}


def numbered(first: int, count: int) -> Transitions:
    """Transitions whose every field tells their number."""
    n = np.arange(first, first + count, dtype=np.float32)

    def observation(offset: float) -> dict[str, np.ndarray]:
        image = np.broadcast_to(n[:, None, None, None] % 256, (count, 3, 3, 3))
        return {"state": np.stack([n, n + offset], 1), "front": image.astype(np.uint8)}

    return Transitions(observation(0.25), np.stack([n] * 4, 1), observation(0.5), n, n % 2, -n)


def filled(count: int, capacity: int = 100) -> ReplayBuffer:
    buffer = ReplayBuffer(capacity, SPEC, 4)
    if count:
        buffer.insert(numbered(0, count))
    return buffer


@given(
    capacity=st.integers(1, 20),
    counts=st.lists(st.integers(1, 45), min_size=1, max_size=8),
)
@settings(max_examples=60, deadline=None)
def test_keeps_exactly_the_newest(capacity: int, counts: list[int]) -> None:
    buffer = ReplayBuffer(capacity, SPEC, 4)
    total = 0
    for count in counts:
        buffer.insert(numbered(total, count))
        total += count
    batch = buffer.take(torch.arange(len(buffer)))
    expected = set(range(max(0, total - capacity), total))
    assert set(batch.rewards.int().tolist()) == expected


def test_fields_of_a_row_stay_together() -> None:
    batch = filled(90, capacity=50).sample(500, torch.Generator().manual_seed(0))
    n = batch.rewards
    assert torch.equal(batch.observations["state"][:, 1], n + 0.25)
    assert torch.equal(batch.next_observations["state"][:, 1], n + 0.5)
    assert torch.equal(batch.actions[:, 2], n)
    assert torch.equal(batch.masks, n % 2)
    assert torch.equal(batch.grasp_penalty, -n)
    assert batch.observations["front"].dtype == torch.uint8
    assert torch.equal(batch.observations["front"][:, 1, 1, 1].float(), n)


def test_samples_uniformly_and_reproducibly() -> None:
    buffer = filled(10)
    batch = buffer.sample(20_000, torch.Generator().manual_seed(0))
    counts = torch.bincount(batch.rewards.int(), minlength=10)
    assert counts.min() > 1800
    assert counts.max() < 2200
    again = buffer.sample(20_000, torch.Generator().manual_seed(0))
    assert torch.equal(batch.rewards, again.rewards)


def test_an_empty_buffer_is_never_sampled() -> None:
    with pytest.raises(ValueError, match="empty"):
        filled(0).sample(1, torch.Generator())


def test_a_batch_does_not_change_when_the_buffer_does() -> None:
    buffer = filled(5, capacity=5)
    batch = buffer.sample(50, torch.Generator().manual_seed(0))
    before = batch.rewards.clone()
    buffer.insert(numbered(100, 5))
    assert torch.equal(batch.rewards, before)


def test_memory_per_transition_is_what_is_stated() -> None:
    states = ReplayBuffer(7, {"state": ((13,), torch.float32)}, 4)
    assert states.bytes_per_transition == 4 * (2 * 13 + 4 + 3)
    assert filled(0).bytes_per_transition == 4 * (2 * 2 + 4 + 3) + 2 * 27


@pytest.mark.parametrize(("fold", "expected"), [(False, [1, 0, 1, 0]), (True, [1, 0, 0, 0])])
def test_only_termination_ends_the_bootstrap_unless_asked(fold: bool, expected: list[int]) -> None:
    terminated, truncated = np.array([0, 1, 0, 1], "u1"), np.array([0, 0, 1, 1], "u1")
    assert bootstrap_masks(terminated, truncated, fold).tolist() == expected


def episode_columns(lengths: list[int], success_at: dict[int, int]) -> dict[str, np.ndarray]:
    total = sum(lengths)
    ends = np.cumsum(lengths) - 1
    columns = {
        name: np.zeros(total, "u1")
        for name in ("terminated", "truncated", "success", "intervention", "evaluation")
    }
    columns["truncated"][ends] = 1
    for episode, step in success_at.items():
        columns["success"][ends[episode] - lengths[episode] + 1 + step] = 1
    columns["reward"] = np.ones(total, "f4")
    columns["episode"] = np.repeat(np.arange(len(lengths)), lengths).astype("u4")
    columns["policy_version"] = np.ones(total, "u8")
    return columns


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    cuts=st.lists(st.integers(0, 60), max_size=6),
)
@settings(max_examples=60, deadline=None)
def test_episodes_do_not_depend_on_how_messages_cut_them(
    lengths: list[int], cuts: list[int]
) -> None:
    columns = episode_columns(lengths, {0: 0})
    total = sum(lengths)
    bounds = sorted({0, total, *(min(cut, total) for cut in cuts)})
    counter = EpisodeCounter()
    episodes = []
    for start, stop in zip(bounds[:-1], bounds[1:], strict=True):
        episodes += counter.add({name: array[start:stop] for name, array in columns.items()})
    assert [episode.length for episode in episodes] == lengths
    assert [episode.total_reward for episode in episodes] == lengths
    assert [episode.success for episode in episodes] == [True] + [False] * (len(lengths) - 1)


def test_mixture_has_its_share_and_marks_it() -> None:
    online, demonstrations = filled(50), ReplayBuffer(100, SPEC, 4)
    demonstrations.insert(numbered(1000, 50))
    mixer = DemonstrationMixer(online, demonstrations, 0.25)
    batch = mixer.sample(64, torch.Generator().manual_seed(0))
    assert batch.size == 64
    assert batch.demonstrations is not None
    assert torch.equal(batch.demonstrations == 1, batch.rewards >= 1000)
    assert batch.demonstrations.sum() == 16


def test_mixture_takes_what_there_is() -> None:
    generator = torch.Generator().manual_seed(0)
    only_online = DemonstrationMixer(filled(5), filled(0), 0.5).sample(8, generator)
    assert only_online.demonstrations.sum() == 0
    only_demonstrations = DemonstrationMixer(filled(0), filled(5), 0.5).sample(8, generator)
    assert only_demonstrations.demonstrations.sum() == 8
    with pytest.raises(ValueError, match="empty"):
        DemonstrationMixer(filled(0), filled(0)).sample(8, generator)


def test_every_part_of_a_high_utd_batch_is_mixed() -> None:
    demonstrations = filled(10)
    mixer = DemonstrationMixer(filled(10), demonstrations, 0.5)
    batch = sample_parts(mixer, 4, 16, torch.Generator().manual_seed(0))
    assert batch.size == 64
    for start in range(0, 64, 16):
        part = slice_batch(batch, start, start + 16)
        assert part.demonstrations is not None
        assert part.demonstrations.sum() == 8
    joined = concat_batches([slice_batch(batch, 0, 16), slice_batch(batch, 16, 64)])
    assert torch.equal(joined.observations["front"], batch.observations["front"])


def make_dataset(**extra: Any) -> Dataset:
    rewards = np.array([1, 1, 1, 5, 5, 2, 2, 2], np.float32)
    arrays = {
        "observations": {"state": np.arange(8, dtype=np.float32)[:, None]},
        "next_observations": {"state": np.arange(8, dtype=np.float32)[:, None] + 1},
        "actions": np.zeros((8, 2), np.float32),
        "rewards": rewards,
        "masks": np.ones(8, np.float32),
        "dones": np.array([0, 0, 1, 0, 1, 0, 0, 0], bool),
    }
    return Dataset(arrays | extra, seed=0)


def test_dataset_knows_its_episodes() -> None:
    dataset = make_dataset()
    assert dataset.episodes() == [slice(0, 3), slice(3, 5), slice(5, 8)]
    assert dataset.returns().tolist() == [3, 10, 6]


def test_dataset_filters_by_return() -> None:
    assert make_dataset().filter(threshold=6).arrays["rewards"].tolist() == [5, 5, 2, 2, 2]
    assert make_dataset().filter(take_top=30).arrays["rewards"].tolist() == [5, 5]
    assert len(make_dataset().filter(take_top=100)) == 8
    with pytest.raises(ValueError, match="either"):
        make_dataset().filter()


def test_dataset_normalises_returns_to_a_span() -> None:
    dataset = make_dataset()
    dataset.normalize_returns(scaling=70.0)
    returns = dataset.returns()
    assert returns.max() - returns.min() == pytest.approx(70.0)


def test_dataset_splits_without_losing_rows() -> None:
    first, second = make_dataset().split(0.75)
    assert (len(first), len(second)) == (6, 2)
    rows = [*first.arrays["observations"]["state"], *second.arrays["observations"]["state"]]
    assert sorted(float(row[0]) for row in rows) == list(range(8))


def test_dataset_samples_nested_typed_and_seeded() -> None:
    dataset = make_dataset()
    batch = dataset.sample_torch(32)
    assert batch.observations["state"].shape == (32, 1)
    assert torch.equal(batch.next_observations["state"], batch.observations["state"] + 1)
    dataset.seed(3)
    a = dataset.sample(5, keys=("rewards",))
    dataset.seed(3)
    b = dataset.sample(5, keys=("rewards",))
    assert list(a) == ["rewards"]
    assert np.array_equal(a["rewards"], b["rewards"])
    with pytest.raises(KeyError, match="no array 'reward'"):
        dataset.sample(5, keys=("reward",))
    with pytest.raises(ValueError, match="'masks' has 7 rows, the others 8"):
        make_dataset(masks=np.ones(7))
