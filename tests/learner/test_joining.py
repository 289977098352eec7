"""What joins the demonstrations: corrections at once, successful episodes at their end."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from test_replay import numbered
from test_resumed_demonstrations import demonstrations
from wire_controller import TASK

from serl_rt.export.task import load_task
from serl_rt.learner.assemble import make_step
from serl_rt.learner.data.image_replay import ImageReplay
from serl_rt.learner.data.intake import Intake, Share
from serl_rt.learner.data.joining import Joining
from serl_rt.learner.data.mixing import DemonstrationMixer, Source
from serl_rt.learner.data.transitions import TransitionDecoder, Transitions, observation_spec
from serl_rt.learner.distributed import Ranks
from serl_rt.learner.recipe import load_recipe
from serl_rt.learner.run_folder import RunFolder

Row = tuple[int, int, int, int]
"""episode, intervention, success, ended."""


class Kept:
    """A replay that remembers which numbered transitions came, in their order."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def __len__(self) -> int:
        return len(self.numbers)

    def sample(self, batch_size: int, generator: torch.Generator) -> Any:
        raise AssertionError("nothing is drawn here")

    def insert(self, transitions: Transitions) -> None:
        self.numbers += transitions.rewards.astype(int).tolist()


def columns_of(rows: Sequence[Row]) -> dict[str, NDArray[Any]]:
    episode, intervention, success, ended = np.array(rows).T
    return {
        "episode": episode.astype(np.uint32),
        "intervention": intervention.astype(np.uint8),
        "success": success.astype(np.uint8),
        "terminated": (ended == 1).astype(np.uint8),
        "truncated": (ended == 2).astype(np.uint8),
    }


def joined(
    messages: Sequence[tuple[str, Sequence[Row]]],
    *,
    interventions: bool = False,
    successes: bool = False,
    share: Share | None = None,
) -> list[list[int]]:
    """Return what has joined after each message; transitions are numbered from 0."""
    kept, share = Kept(), share or Share()
    joining = Joining(kept, interventions=interventions, successes=successes)
    first, after = 0, []
    for run_id, rows in messages:
        columns = columns_of(rows)
        mine = share.of(run_id, columns["episode"])
        joining(numbered(first, len(rows)), columns, mine, run_id)
        first += len(rows)
        after.append(list(kept.numbers))
    return after


def test_corrections_join_at_once_and_nothing_else_does() -> None:
    rows: list[Row] = [(0, 0, 0, 0), (0, 1, 0, 0), (0, 1, 0, 0), (0, 0, 1, 1), (1, 1, 0, 0)]
    assert joined([("a", rows)], interventions=True) == [[1, 2, 4]]
    assert joined([("a", rows)]) == [[]]


@pytest.mark.parametrize("end", [1, 2])
def test_episodes_join_whole_when_they_end_and_succeeded(end: int) -> None:
    messages = [
        ("a", [(0, 0, 0, 0), (0, 0, 1, 0)]),  # success before the end counts
        ("b", [(0, 0, 0, 0)]),  # another run, in between
        ("a", [(0, 0, 0, end), (1, 0, 0, 0), (1, 0, 0, end), (2, 0, 0, 0)]),  # 1 failed
        ("b", [(0, 0, 1, end)]),
        ("a", [(3, 0, 1, end)]),  # the end of 2 never came
    ]
    assert joined(messages, successes=True) == [
        [], [], [0, 1, 3], [0, 1, 3, 2, 7], [0, 1, 3, 2, 7, 8],
    ]  # fmt: skip


def test_a_correction_in_a_success_joins_once() -> None:
    messages = [("a", [(0, 0, 0, 0), (0, 1, 0, 0)]), ("a", [(0, 0, 1, 1)])]
    assert joined(messages, interventions=True, successes=True) == [[1], [1, 0, 2]]


@pytest.mark.parametrize("by_episode", [False, True])
def test_the_ranks_have_all_of_it_between_them(by_episode: bool) -> None:
    generator = np.random.default_rng(0)
    messages, whole = [], []
    for _ in range(6):
        rows: list[Row] = []
        for episode in range(5):
            length = int(generator.integers(1, 6))
            success = int(generator.integers(2))
            rows += [(episode, 0, 0, 0)] * length + [(episode, 0, success, 1)]
        cut = int(generator.integers(1, len(rows)))
        run_id = f"run {len(messages)}"
        messages += [(run_id, rows[:cut]), (run_id, rows[cut:])]
        whole.append(rows)
    everything = joined(messages, successes=True)[-1]
    assert 10 < len(everything) < sum(map(len, whole))
    shares = [
        joined(messages, successes=True, share=Share(rank, 3, by_episode=by_episode))[-1]
        for rank in range(3)
    ]
    assert all(shares)
    assert sorted(sum(shares, [])) == sorted(everything)


def test_images_of_what_joined_are_sampled_as_demonstrations() -> None:
    contract = load_task("pick_cube_vision").contract
    spec, action_dim = observation_spec(contract), contract.action_dim
    online, demonstrations = (ImageReplay(50, spec, action_dim) for _ in range(2))
    joining = Joining(demonstrations, interventions=True, successes=True)
    intake = Intake(TransitionDecoder(contract), online, joining=joining)

    def send(episode: int, steps: Sequence[int], success: bool, evaluation: bool = False) -> int:
        """Send an episode whose images of before and after step n have the values n and n + 1."""
        count = len(steps)
        end = np.arange(count) == count - 1
        columns = {
            f"{group}/{field.name}": np.zeros((count, *field.shape), np.float32)
            for group in ("observation", "next_observation")
            for field in contract.observation
        }
        for image in contract.images:
            seen = np.ones((count, image.height, image.width, 3), np.uint8)
            after = (np.array(steps) + 1)[:, None, None, None].astype(np.uint8)
            columns[f"next_observation/{image.name}"] = seen * after
            columns[f"observation/{image.name}"] = seen[:1] * np.uint8(steps[0])
        columns |= {
            "action": np.tile(np.array(steps, np.float32)[:, None] / 256, (1, action_dim)),
            "reward": np.zeros(count, np.float32),
            "terminated": (end & success).astype(np.uint8),
            "truncated": (end & (not success)).astype(np.uint8),
            "success": (end & success).astype(np.uint8),
            "intervention": np.array([step % 10 == 3 for step in steps], np.uint8),
            "evaluation": np.full(count, evaluation, np.uint8),
            "starts": (np.arange(count) == 0).astype(np.uint8),
            "episode": np.full(count, episode, np.uint32),
            "step": np.arange(count, dtype=np.uint32),
        }
        return intake(columns, "a")

    sent = [
        send(0, range(10, 16), success=False),
        send(1, range(20, 25), success=True),
        send(2, range(30, 35), success=True, evaluation=True),
    ]
    assert sent == [6, 5, 0]
    assert len(online) == 11
    assert len(demonstrations) == 6  # 13, and 20 to 24

    def seen(source: Source, size: int) -> set[tuple[int, int, int, float]]:
        batch = source.sample(size, torch.Generator().manual_seed(0))
        steps = (batch.actions[:, 0] * 256).round().int().tolist()
        assert isinstance(batch.observations, dict)
        assert isinstance(batch.next_observations, dict)
        assert batch.demonstrations is not None
        return set(
            zip(
                steps,
                batch.observations["front"].amax((1, 2, 3)).tolist(),
                batch.next_observations["wrist"].amin((1, 2, 3)).tolist(),
                batch.demonstrations.tolist(),
                strict=True,
            )
        )

    mixer = DemonstrationMixer(online, demonstrations)
    both = seen(mixer, 400)
    assert {row for row in both if row[3] == 1.0} == {
        (step, step, step + 1, 1.0) for step in (13, *range(20, 25))
    }
    assert {row for row in both if row[3] == 0.0} == {
        (step, step, step + 1, 0.0) for step in (*range(10, 16), *range(20, 25))
    }


@pytest.mark.parametrize(
    ("recipe", "shown", "joins"),
    [
        ("", True, 3),
        ("[replay]\nsuccesses_join_demonstrations = true\n", True, 10),
        ("[replay]\njoining_capacity = 2\n", True, 2),
        ("[replay]\ninterventions_join_demonstrations = false\n", True, 0),
        ("", False, 0),
        ('[agent]\nkind = "bc"\n', True, 0),  # its corrections are its online half
    ],
)
def test_recipes_say_what_joins_the_shown(
    recipe: str, shown: bool, joins: int, tmp_path: Path
) -> None:
    (tmp_path / "point.toml").write_text(TASK)
    (tmp_path / "small.toml").write_text("[policy]\nhidden_dims = [8]\n" + recipe)
    contract = load_task(tmp_path / "point.toml").contract
    columns = demonstrations(tmp_path / "demos.npz", contract, reward=1.0)
    step, intake = make_step(
        Namespace(demos=tmp_path / "demos.npz" if shown else None, seed=0, device="cpu"),
        load_recipe(tmp_path / "small.toml"),
        contract,
        RunFolder(tmp_path / "run"),
        Ranks(0, 1),
    )
    assert isinstance(step.source, DemonstrationMixer)
    before = len(step.source.demonstrations)
    assert before == (10 if shown else 0)
    columns["intervention"][2:5] = 1
    columns["success"][-1] = columns["terminated"][-1] = 1
    intake(columns, "a")
    assert len(step.source.demonstrations) == before + joins
