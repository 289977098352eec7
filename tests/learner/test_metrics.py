"""Where metrics go: TensorBoard's event files, W&B's API, several sinks at once."""

from __future__ import annotations

import io
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from serl_rt.export.toml_config import ConfigError
from serl_rt.learner.data.batch import Batch
from serl_rt.learner.metrics import MetricSinks, TensorBoardSink, WandbSink
from serl_rt.learner.vision.film import EpisodeFilm
from serl_rt.learner.vision.grid import image_grid


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


def test_tensorboard_shows_batches_of_images(tmp_path: Path) -> None:
    images = {
        "front": torch.arange(2 * 6 * 4 * 3, dtype=torch.uint8).view(2, 6, 4, 3),
        "wrist": torch.zeros(2, 1, 5, 5, 3, dtype=torch.uint8),  # a stack of one
    }
    following = {name: 255 - image for name, image in images.items()}
    zeros = torch.zeros(2)
    state = {"state": torch.zeros(2, 3)}
    batch = Batch(state | images, zeros[:, None], state | following, zeros, zeros)
    grid = image_grid(batch)
    assert grid is not None
    assert grid.shape == (4 * 8, 2 * 7, 3)
    np.testing.assert_array_equal(grid[:6, 7:11], images["front"][1])
    np.testing.assert_array_equal(grid[16:22, :4], following["front"][0])
    assert image_grid(batch._replace(observations=state, next_observations=state)) is None

    sink = MetricSinks([TensorBoardSink(tmp_path)])
    sink.write_image("batch", 10, grid)
    sink.close()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path))
    events.Reload()
    shown = events.Images("batch")[0]
    assert (shown.height, shown.width, shown.step) == (32, 14, 10)


def test_tensorboard_plays_films_of_episodes(tmp_path: Path) -> None:
    def rows(episodes: list[int], ends: list[int]) -> dict[str, np.ndarray]:
        frames = np.zeros((len(episodes), 4, 6, 3), np.uint8)
        frames[:] = 40 * np.arange(len(episodes), dtype=np.uint8)[:, None, None, None]
        return {
            "episode": np.array(episodes, np.uint32),
            "terminated": np.array(ends, np.uint8),
            "truncated": np.zeros(len(ends), np.uint8),
            "next_observation/front": frames,
            "next_observation/wrist": frames[:, :3],
            "next_observation/q": np.zeros((len(ends), 7), np.float32),
        }

    recorder = EpisodeFilm()
    assert list(recorder.add(rows([18, 18, 19, 19], [0, 1, 0, 0]))) == []
    (film,) = recorder.add(rows([19, 20, 20], [1, 0, 1]))
    assert film.shape == (3, 4, 12, 3)
    assert [int(frame[0, 0, 0]) for frame in film] == [80, 120, 0]
    assert film[0, 3, 6:].max() == 0  # the lower camera is filled up
    assert list(EpisodeFilm().add({"episode": np.array([19], np.uint32)})) == []

    sink = MetricSinks([TensorBoardSink(tmp_path)])
    sink.write_film("episode", 30, film, 10.0)
    sink.close()
    from PIL import Image
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path))
    events.Reload()
    shown = events.Images("episode")[0]
    assert (shown.height, shown.width, shown.step) == (4, 12, 30)
    played = Image.open(io.BytesIO(shown.encoded_image_string))
    assert (played.format, played.n_frames) == ("GIF", 3)


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
