"""Images in the replay: every sampled stack equals that of a plain list of transitions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from serl_rt.learner.data.image_replay import ImageReplay
from serl_rt.learner.data.image_rows import FrameLinker, ImageRows
from serl_rt.learner.data.transitions import Transitions

SHAPES = {"front": (2, 4, 3), "wrist": (3, 3, 3)}  # 24 bytes: whole words; 27 bytes: not
SPEC: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
    "state": ((3,), torch.float32),
    **{name: (shape, torch.uint8) for name, shape in SHAPES.items()},
}


@dataclass(frozen=True)
class Step:
    """A transition that happened: from frame `step` to frame `step + 1` of its episode."""

    run: int
    episode: int
    step: int


def frame(name: str, at: Step, step: int) -> NDArray[np.uint8]:
    """The picture of a camera at a time, different from all others."""
    seed = [list(SHAPES).index(name), at.run, at.episode, step]
    return np.random.default_rng(seed).integers(0, 256, SHAPES[name], dtype=np.uint8)


def wire(steps: Sequence[Step], starts: Sequence[bool]) -> dict[str, NDArray[Any]]:
    """The image columns of consecutive transitions of one run."""
    columns: dict[str, NDArray[Any]] = {
        "reward": np.zeros(len(steps), np.float32),
        "episode": np.array([s.episode for s in steps], np.uint32),
        "step": np.array([s.step for s in steps], np.uint32),
        "starts": np.array(starts, np.uint8),
    }
    for name, shape in SHAPES.items():
        before = [frame(name, s, s.step) for s, start in zip(steps, starts, strict=True) if start]
        columns[f"observation/{name}"] = np.array(before, np.uint8).reshape(-1, *shape)
        columns[f"next_observation/{name}"] = np.stack([frame(name, s, s.step + 1) for s in steps])
    return columns


def transitions(
    steps: Sequence[Step], images: tuple[dict[str, Any], dict[str, Any]]
) -> Transitions:
    """Transitions whose state says which step they are."""
    states = np.array([(s.run, s.episode, s.step) for s in steps], np.float32)
    zeros = np.zeros(len(steps), np.float32)
    before, after = ({"state": states, **part} for part in images)
    return Transitions(before, np.zeros((len(steps), 2), np.float32), after, zeros, zeros, zeros)


class NaiveReplay:
    """What ImageReplay should give: a list of transitions and what came before each of them."""

    def __init__(self, capacity: int, stack: int) -> None:
        self.capacity, self.stack = capacity, stack
        self.history: list[tuple[Step, list[int]]] = []
        self.last: dict[int, tuple[Step, list[int]]] = {}

    def insert(self, steps: Sequence[Step]) -> None:
        for step in steps:
            last = self.last.get(step.run)
            frames = [step.step] * self.stack
            if last is not None and last[0] == Step(step.run, step.episode, step.step - 1):
                frames = [*last[1][1:], step.step]
            self.last[step.run] = (step, frames)
            self.history.append((step, frames))

    def expected(self, index: int, name: str) -> tuple[NDArray[Any], NDArray[Any]]:
        """The stacks of the index-th transition that was ever inserted."""
        step, frames = self.history[index]
        following = [*frames[1:], step.step + 1]
        return tuple(np.stack([frame(name, step, f) for f in fs]) for fs in (frames, following))  # type: ignore[return-value]


def check(replay: ImageReplay, naive: NaiveReplay) -> None:
    """Compare everything that can be sampled."""
    count = len(replay)
    batch = replay.take(torch.arange(count))
    first = len(naive.history) - count
    for row in range(count):
        step, _ = naive.history[first + row]
        assert batch.observations["state"][row].tolist() == [step.run, step.episode, step.step]  # type: ignore[index]
        for name in SHAPES:
            before, after = naive.expected(first + row, name)
            np.testing.assert_array_equal(batch.observations[name][row], before)  # type: ignore[index]
            np.testing.assert_array_equal(batch.next_observations[name][row], after)  # type: ignore[index]


@st.composite
def streams(draw: st.DrawFn) -> list[tuple[list[Step], list[bool], list[bool]]]:
    """Messages of up to two interleaved runs: steps, which of them bring frames, which are kept."""
    messages = []
    at = {run: Step(run, 0, 0) for run in range(draw(st.integers(1, 2)))}
    fresh = dict.fromkeys(at, True)
    for _ in range(draw(st.integers(1, 12))):
        run = draw(st.sampled_from(sorted(at)))
        steps, starts, kept = [], [], []
        for _ in range(draw(st.integers(1, 6))):
            steps.append(at[run])
            # Frames may come again within an episode: after a reconnection.
            starts.append(fresh[run] or draw(st.booleans()))
            kept.append(draw(st.sampled_from([True, True, True, False])))
            match draw(st.sampled_from(["next"] * 5 + ["end", "gap"])):
                case "next":
                    at[run], fresh[run] = Step(run, at[run].episode, at[run].step + 1), False
                case "end":
                    at[run], fresh[run] = Step(run, at[run].episode + 1, 0), True
                case "gap":  # a transition was refused: the next one brings its frames
                    at[run], fresh[run] = Step(run, at[run].episode, at[run].step + 3), True
        messages.append((steps, starts, kept))
    return messages


@settings(max_examples=150, deadline=None)
@given(streams(), st.integers(1, 3), st.sampled_from([1, 2, 5, 17, 64]))
def test_every_sample_equals_that_of_a_list(
    messages: list[tuple[list[Step], list[bool], list[bool]]], stack: int, capacity: int
) -> None:
    """Interleaved runs, gaps, episode ends, dropped rows, frames sent again, wrap-around."""
    replay = ImageReplay(capacity, SPEC, 2, stack=stack)
    naive = NaiveReplay(capacity, stack)
    linker = FrameLinker(SHAPES)
    for steps, starts, kept in messages:
        rows = np.flatnonzero(kept)
        batch = transitions(steps, linker(wire(steps, starts), str(steps[0].run)))
        replay.insert(batch.select(rows))
        naive.insert([steps[row] for row in rows])
        assert len(replay) <= capacity
        check(replay, naive)


def test_a_row_after_a_gap_begins_with_its_own_frame() -> None:
    """Keeping steps 3, 4, 5, 12, 13 of an episode, step 12 must not show step 6."""
    linker = FrameLinker(SHAPES)
    steps = [Step(0, 0, t) for t in range(15)]
    batch = transitions(steps, linker(wire(steps, [t == 0 for t in range(15)]), "run"))
    for stack in (1, 2, 3):
        replay = ImageReplay(100, SPEC, 2, stack=stack)
        replay.insert(batch.select(np.array([3, 4, 5, 12, 13])))
        taken = replay.take(torch.arange(5))
        shown = taken.observations["front"][3]  # type: ignore[index]
        assert np.array_equal(shown, np.stack([frame("front", steps[12], 12)] * stack))
        following = taken.next_observations["front"][3][-1]  # type: ignore[index]
        assert np.array_equal(following, frame("front", steps[12], 13))


def test_all_fitting_transitions_are_kept_unless_episodes_are_very_short() -> None:
    replay, linker = ImageReplay(200, SPEC, 2), FrameLinker(SHAPES)
    steps = [Step(0, t // 20, t % 20) for t in range(1000)]
    replay.insert(transitions(steps, linker(wire(steps, [s.step == 0 for s in steps]), "run")))
    assert len(replay) == 200
    short = [Step(0, 1000 + t, 0) for t in range(1000)]
    replay.insert(transitions(short, linker(wire(short, [True] * 1000), "run")))
    assert 100 <= len(replay) < 200


def test_memory_per_transition_is_one_frame_a_camera_and_a_tenth() -> None:
    spec = {
        "state": ((7,), torch.float32),
        "front": ((128, 128, 3), torch.uint8),
        "wrist": ((128, 128, 3), torch.uint8),
    }
    replay = ImageReplay(1000, spec, 4)  # nothing of it is touched
    assert 98_304 <= replay.bytes_per_transition <= 1.1 * 98_304
    assert 200_000 * replay.bytes_per_transition <= 22 * 2**30


def test_frames_in_files_give_the_same(tmp_path: Path) -> None:
    replay, naive = ImageReplay(10, SPEC, 2, stack=2, folder=tmp_path), NaiveReplay(10, 2)
    linker = FrameLinker(SHAPES)
    steps = [Step(0, t // 7, t % 7) for t in range(30)]
    replay.insert(transitions(steps, linker(wire(steps, [s.step == 0 for s in steps]), "run")))
    naive.insert(steps)
    check(replay, naive)
    assert {file.name for file in tmp_path.iterdir()} == set(SHAPES)


def test_sampling_draws_every_transition_and_repeats_with_the_generator() -> None:
    replay, linker = ImageReplay(50, SPEC, 2), FrameLinker(SHAPES)
    steps = [Step(0, 0, t) for t in range(30)]
    with pytest.raises(ValueError, match="empty"):
        replay.sample(1, torch.Generator())
    replay.insert(transitions(steps, linker(wire(steps, [t == 0 for t in range(30)]), "run")))
    batch, again = (replay.sample(500, torch.Generator().manual_seed(3)) for _ in range(2))
    assert set(batch.observations["state"][:, 2].tolist()) == set(range(30))  # type: ignore[index]
    assert torch.equal(batch.observations["front"], again.observations["front"])  # type: ignore[index]
    assert batch.observations["front"].shape == (500, 2, 4, 3)  # type: ignore[index]


def test_features_are_computed_once_a_frame_and_a_crop_is_drawn_with_each_use() -> None:
    calls = 0

    def featurise(frames: dict[str, Tensor]) -> dict[str, Tensor]:
        nonlocal calls
        calls += 1
        crops = torch.arange(4).view(1, 4, 1)
        sums = {name: image.sum().view(1, 1, 1) for name, image in frames.items()}
        return {name: (sums[name] + 1000 * crops).to(torch.float32) for name in frames}

    replay, linker = ImageReplay(100, SPEC, 2, featurise=featurise), FrameLinker(SHAPES)
    calls = 0
    steps = [Step(0, 0, t) for t in range(20)]
    replay.insert(transitions(steps, linker(wire(steps, [t == 0 for t in range(20)]), "run")))
    assert calls == 21
    batch = replay.sample(400, torch.Generator().manual_seed(0))
    features = batch.observations["front"]  # type: ignore[index]
    assert features.shape == (400, 1)
    crops: set[int] = set()
    for value, step in zip(features[:, 0], batch.observations["state"][:, 2], strict=True):  # type: ignore[index]
        total = int(frame("front", steps[0], int(step)).sum())
        crop, rest = divmod(int(value) - total, 1000)
        assert rest == 0
        crops.add(crop)
    assert crops == {0, 1, 2, 3}


def test_rows_read_as_an_array_and_select_without_copying() -> None:
    frames = [np.full((1, 1, 3), value, np.uint8) for value in (5, 6, 7)]
    rows = ImageRows(frames, np.array([10, 11, 12]), np.array([2, 0, 0, 1]))
    assert len(rows) == 4
    assert rows.shape == (4, 1, 1, 3)
    assert np.asarray(rows)[:, 0, 0, 0].tolist() == [7, 5, 5, 6]
    assert np.asarray(rows[np.array([True, False, False, True])])[:, 0, 0, 0].tolist() == [7, 6]
    assert rows[1:].frames is frames
    assert [number for number, _ in rows] == [12, 10, 10, 11]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"starts": np.zeros(3, np.uint8)}, "images are missing"),
        ({"starts": np.zeros(2, np.uint8)}, "column starts"),
        ({"next_observation/front": np.zeros((3, 2, 4, 1), np.uint8)}, "next_observation/front"),
        ({"observation/wrist": np.zeros((2, 3, 3, 3), np.uint8)}, "observation/wrist"),
        ({"next_observation/wrist": None}, "next_observation/wrist is missing"),
    ],
)
def test_wrong_columns_are_named(change: dict[str, Any], message: str) -> None:
    steps = [Step(0, 0, t) for t in range(3)]
    columns = wire(steps, [True, False, False]) | change
    if not columns.get("starts", np.ones(1)).any():
        columns |= {f"observation/{n}": np.zeros((0, *s), np.uint8) for n, s in SHAPES.items()}
    columns = {name: value for name, value in columns.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        FrameLinker(SHAPES)(columns, "run")
