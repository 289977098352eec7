"""A resumed run learns from the demonstrations that it began with, or not at all."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from wire_controller import TASK

from serl_rt.export.columns import DTYPES, Array
from serl_rt.export.contract import Contract
from serl_rt.export.demonstrations import (
    demonstration_columns,
    demonstrations_digest,
    save_demonstrations,
)
from serl_rt.export.task import TaskFile, load_task
from serl_rt.export.toml_config import ConfigError
from serl_rt.learner.assemble import make_step
from serl_rt.learner.distributed import Ranks
from serl_rt.learner.recipe import Recipe, load_recipe
from serl_rt.learner.run import main
from serl_rt.learner.run_folder import RunFolder

RECIPE = "[critic]\nhidden_dims = [8]\n[policy]\nhidden_dims = [8]\n"


def demonstrations(path: Path, contract: Contract, reward: float) -> dict[str, Array]:
    """Write ten steps whose last is worth `reward`."""
    columns = {
        column.name: np.zeros((10, *column.shape), DTYPES[column.dtype])
        for column in demonstration_columns(contract)
    }
    columns["reward"][-1] = reward
    save_demonstrations(path, columns, contract)
    return columns


class Cell:
    """A folder with task, recipe and demonstrations, and a run that began with some."""

    def __init__(self, folder: Path) -> None:
        (folder / "point.toml").write_text(TASK)
        (folder / "small.toml").write_text(RECIPE)
        self.task: TaskFile = load_task(folder / "point.toml")
        self.recipe: Recipe = load_recipe(folder / "small.toml")
        self.root = folder / "run"
        for name, reward in (("first", 1.0), ("same", 1.0), ("other", 2.0)):
            demonstrations(folder / f"{name}.npz", self.task.contract, reward)

    def step(self, demos: Path | None, *, resume: bool) -> RunFolder:
        """Start or resume up to where learning would begin."""
        folder = RunFolder(self.root)
        folder.create(self.recipe, self.task, 0, resume=resume)
        arguments = Namespace(demos=demos, seed=0, device="cpu")
        make_step(arguments, self.recipe, self.task.contract, folder, Ranks(0, 1))
        return folder


@pytest.fixture
def cell(tmp_path: Path) -> Cell:
    return Cell(tmp_path)


def test_equal_demonstrations_resume_from_whatever_file(cell: Cell, tmp_path: Path) -> None:
    cell.step(tmp_path / "first.npz", resume=False)
    cell.step(tmp_path / "same.npz", resume=True)


@pytest.mark.parametrize(("began", "now"), [("first", "other"), ("first", None), (None, "first")])
def test_other_demonstrations_are_refused_with_both_files(
    began: str | None, now: str | None, cell: Cell, tmp_path: Path
) -> None:
    def path(name: str | None) -> Path | None:
        return None if name is None else tmp_path / f"{name}.npz"

    kept = cell.step(path(began), resume=False).demonstrations.read_text()
    with pytest.raises(ConfigError, match="--resume: the run in .*/run began with") as refusal:
        cell.step(path(now), resume=True)
    message = str(refusal.value)
    before, after = message.split(", and now has ")
    assert (str(path(began)) if began else "no --demos") in before
    assert (str(path(now)) if now else "no --demos") in after
    assert (cell.root / "demonstrations.json").read_text() == kept
    cell.step(path(began), resume=True)  # the refusal changed nothing


def test_a_changed_file_is_refused_by_the_command(
    cell: Cell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demos = tmp_path / "first.npz"
    cell.step(demos, resume=False)
    demonstrations(demos, cell.task.contract, 3.0)
    arguments = ["--recipe", str(tmp_path / "small.toml"), "--task", str(tmp_path / "point.toml")]
    arguments += ["--run", str(cell.root), "--bind", "tcp://127.0.0.1:*", "--no-tensorboard"]
    assert main([*arguments, "--demos", str(demos), "--resume"]) == 2
    message = capsys.readouterr().err
    assert message.count(str(demos)) == 2
    assert "resume with the demonstrations that it began with" in message


def test_a_start_that_left_no_run_may_be_repeated_with_others(cell: Cell, tmp_path: Path) -> None:
    cell.step(tmp_path / "first.npz", resume=False)
    cell.step(tmp_path / "other.npz", resume=False)
    cell.step(tmp_path / "other.npz", resume=True)


def test_runs_of_before_this_was_kept_resume_with_any(cell: Cell, tmp_path: Path) -> None:
    cell.step(tmp_path / "first.npz", resume=False).demonstrations.unlink()
    cell.step(tmp_path / "other.npz", resume=True)
    assert not (cell.root / "demonstrations.json").exists()


def test_the_digest_is_of_names_types_shapes_and_values() -> None:
    columns: dict[str, Array] = {"a": np.arange(6.0), "b": np.zeros(2, np.uint8)}
    digest = demonstrations_digest(columns)
    assert digest == demonstrations_digest(dict(reversed(columns.items())))
    assert digest == demonstrations_digest(columns | {"a": np.arange(12.0)[::2] / 2})
    changed: list[dict[str, Array]] = [
        columns | {"a": np.arange(6.0) + 1e-15},
        columns | {"a": np.arange(6.0).reshape(2, 3)},
        columns | {"b": np.zeros(2, np.int8)},
        {"a": columns["a"], "c": columns["b"]},
    ]
    assert len({digest, *map(demonstrations_digest, changed)}) == 5
