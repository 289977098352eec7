"""Where metrics go: TensorBoard's event files, W&B's API, several sinks at once."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from serl_rt.export.toml_config import ConfigError
from serl_rt.learner.metrics import MetricSinks, TensorBoardSink, WandbSink


def test_tensorboard_files_hold_every_curve(tmp_path: Path) -> None:
    sink = TensorBoardSink(tmp_path)
    for step in range(5):
        sink.write("update", 10 * step, {"critic_loss": 1.0 / (1 + step), "entropy": -2.0})
    sink.close()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"update/critic_loss", "update/entropy"}
    curve = events.Scalars("update/critic_loss")
    assert [point.step for point in curve] == [0, 10, 20, 30, 40]
    assert curve[1].value == pytest.approx(0.5)


class Run:
    """What `wandb.init` returns."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.finished = False

    def log(self, row: dict[str, Any]) -> None:
        self.rows.append(row)

    def finish(self) -> None:
        self.finished = True


def test_wandb_gets_rows_with_environment_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, arguments = Run(), {}

    def init(**given: Any) -> Run:
        arguments.update(given)
        return run

    module = types.ModuleType("wandb")
    module.init = init  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", module)
    sink = MetricSinks([WandbSink("arm", "rlpd-pick", {"seed": 3}, tmp_path)])
    sink.write("episode", 120, {"total_reward": 7.5, "success": 1.0})
    sink.close()
    assert arguments["project"] == "arm"
    assert arguments["name"] == "rlpd-pick"
    assert arguments["config"] == {"seed": 3}
    assert arguments["dir"] == str(tmp_path)
    assert run.rows == [{"episode/total_reward": 7.5, "episode/success": 1.0, "env_steps": 120}]
    assert run.finished


def test_without_wandb_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match="pip install wandb"):
        WandbSink("arm", "run", {}, tmp_path)
