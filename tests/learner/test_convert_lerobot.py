"""Demonstrations from and to LeRobotDatasets, what is said about bad ones, and the command."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from serl_pickles import ROBOT, pickled, serl_steps

from serl_rt.export.contract import ImageField, ObservationField
from serl_rt.export.demonstrations import (
    DemonstrationsError,
    load_demonstrations,
    save_demonstrations,
)
from serl_rt.export.task import load_task
from serl_rt.learner.convert import main, read
from serl_rt.learner.data.lerobot_read import read_lerobot
from serl_rt.learner.data.lerobot_write import write_lerobot
from serl_rt.learner.data.recording import Recording, to_columns
from serl_rt.learner.data.serl_demos import parse_layout, read_serl_demos

PICK = load_task("pick_cube").contract


def recorded(tmp_path: Path, truncated: bool = False) -> Recording:
    steps = serl_steps([3, 4])
    recording = read_serl_demos(pickled(tmp_path / "demos.pkl", steps), ROBOT)
    if truncated:  # the second episode ran out of time
        recording.terminated[-1], recording.truncated[-1] = False, True
    return recording


def assert_equal(a: Recording, b: Recording) -> None:
    for name, value in a._asdict().items():
        other = getattr(b, name)
        if isinstance(value, dict):
            assert value.keys() <= other.keys()
            for key in value:
                assert np.array_equal(value[key], other[key]), f"{name}/{key}"
        else:
            assert np.array_equal(value, other), name


def test_lerobot_and_back(tmp_path: Path) -> None:
    recording = recorded(tmp_path)
    write_lerobot(tmp_path / "set", recording, ROBOT, "insert the plug")
    again = read_lerobot(tmp_path / "set", ROBOT)
    terminal = recording.terminated  # what followed a terminal step is not kept, nor ever used
    for name in ("wrist_1",):
        recording.next_observations[name][terminal] = recording.observations[name][terminal]
    assert_equal(
        recording._replace(
            observations={k: recording.observations[k] for k in again.observations},
            next_observations={k: recording.next_observations[k] for k in again.observations},
        ),
        again,
    )
    info = json.loads((tmp_path / "set/meta/info.json").read_text())
    assert (info["total_episodes"], info["total_frames"], info["fps"]) == (2, 7, 10)
    assert info["features"]["observation.state"]["names"][7] == "tcp_vel.0"
    assert json.loads((tmp_path / "set/meta/serl_rt_contract.json").read_text())["name"] == "robot"
    with pytest.raises(DemonstrationsError, match="exists: choose another"):
        write_lerobot(tmp_path / "set", recording, ROBOT, "")


def test_an_end_with_an_unknown_picture_after_it_is_left_out(tmp_path: Path) -> None:
    write_lerobot(tmp_path / "set", recorded(tmp_path, truncated=True), ROBOT, "")
    again = read_lerobot(tmp_path / "set", ROBOT)
    assert again.terminated.tolist() == [False, False, True, False, False, False]
    assert again.truncated.tolist() == [False] * 5 + [True]


def test_state_only_sets_lose_nothing(tmp_path: Path) -> None:
    contract = replace(ROBOT, images=())
    recording = recorded(tmp_path, truncated=True)
    write_lerobot(tmp_path / "set", recording, contract, "")
    again = read_lerobot(tmp_path / "set", contract)
    assert again.size == 7
    following = again.next_observations["tcp_vel"]
    assert np.array_equal(following, recording.next_observations["tcp_vel"])


def foreign_set(folder: Path, *, names: object = None, video: bool = False) -> None:
    """A data set as others write it: no rewards, no next state; pictures maybe as a video."""
    import pyarrow
    import pyarrow.parquet as parquet

    count = 8
    rows: dict[str, Any] = {
        "observation.state": [[float(i), 2.0 * i] for i in range(count)],
        "action": [[0.1] * 7] * count,
        "episode_index": [0] * 5 + [1] * 3,
        "index": list(range(count)),
        "frame_index": [0, 1, 2, 3, 4, 0, 1, 2],
    }
    features: dict[str, Any] = {
        "observation.state": {"dtype": "float32", "shape": [2], "names": names},
        "action": {"dtype": "float32", "shape": [7], "names": None},
        **{k: {"dtype": "int64", "shape": [1]} for k in ("episode_index", "index", "frame_index")},
    }
    shades = [np.full((16, 32, 3), 20 * i + 40, np.uint8) for i in range(count)]
    camera = "observation.images.wrist_1"
    features[camera] = {"dtype": "video" if video else "image", "shape": [16, 32, 3]}
    (folder / "data/chunk-000").mkdir(parents=True)
    (folder / "meta/episodes/chunk-000").mkdir(parents=True)
    if video:
        path = folder / f"videos/{camera}/chunk-000/file-000.mp4"
        path.parent.mkdir(parents=True)
        write_video(path, shades)
        place = {f"videos/{camera}/chunk_index": [0, 0], f"videos/{camera}/file_index": [0, 0]}
        place |= {f"videos/{camera}/from_timestamp": [0.0, 0.5]}
        episodes = {"episode_index": [0, 1], "length": [5, 3]} | place
        parquet.write_table(
            pyarrow.table(episodes), folder / "meta/episodes/chunk-000/file-000.parquet"
        )
    else:
        rows[camera] = [{"bytes": png(shade), "path": None} for shade in shades]
    parquet.write_table(pyarrow.table(rows), folder / "data/chunk-000/file-000.parquet")
    info = {"codebase_version": "v3.0", "fps": 10, "features": features}
    (folder / "meta/info.json").write_text(json.dumps(info))


def png(frame: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(frame).save(stream, "PNG")
    return stream.getvalue()


def write_video(path: Path, frames: list[np.ndarray]) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = 16, 32, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


FOREIGN = replace(
    ROBOT,
    observation=(ObservationField("force", (2,), "N", "base", (-1.0, -1.0), (1.0, 1.0)),),
    images=(ImageField("wrist_1", 16, 32),),
)


@pytest.mark.parametrize("video", [False, True])
def test_sets_of_others_are_demonstrations_that_succeed(tmp_path: Path, video: bool) -> None:
    foreign_set(tmp_path / "set", names={"motors": ["force.0", "force.1"]}, video=video)
    recording = read(tmp_path / "set", FOREIGN, None)
    assert recording.rewards.tolist() == [0, 0, 0, 0, 1, 0, 0, 1]
    assert np.array_equal(recording.terminated, recording.rewards == 1)
    assert np.array_equal(recording.success, recording.terminated)
    assert recording.observations["force"][:, 1].tolist() == [2.0 * i for i in range(8)]
    assert recording.next_observations["force"][:, 0].tolist() == [1, 2, 3, 4, 4, 6, 7, 7]
    shade = recording.observations["wrist_1"].mean((1, 2, 3))
    assert np.allclose(shade, [20 * i + 40 for i in range(8)], atol=6.0 if video else 0.0)


def test_numbers_without_names_need_a_layout(tmp_path: Path) -> None:
    foreign_set(tmp_path / "set")
    with pytest.raises(DemonstrationsError, match="2 numbers and 0 names; say with --layout"):
        read_lerobot(tmp_path / "set", FOREIGN)
    recording = read_lerobot(tmp_path / "set", FOREIGN, parse_layout("force:2"))
    assert recording.observations["force"].shape == (8, 2)
    with pytest.raises(DemonstrationsError, match="holds other.0, other.1; the task robot observe"):
        read_lerobot(tmp_path / "set", FOREIGN, parse_layout("other:2"))


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (None, "not a LeRobotDataset: meta/info.json"),
        ({"codebase_version": "v2.1", "features": {}}, "is of version v2.1, expected v3.0"),
        ({"codebase_version": "v3.0", "features": {}}, "has no feature 'action'"),
    ],
)
def test_other_folders_are_named(tmp_path: Path, info: object, message: str) -> None:
    (tmp_path / "meta").mkdir()
    if info is not None:
        (tmp_path / "meta/info.json").write_text(json.dumps(info))
    with pytest.raises(DemonstrationsError, match=message):
        read_lerobot(tmp_path, ROBOT)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda table: table.drop_columns(["frame_index"]), "frame_index"),
        (lambda table: table.drop_columns(["episode_index"]), "episode_index"),
        (lambda table: table.slice(0, 0), "holds no steps"),
    ],
)
def test_damaged_sets_are_named(tmp_path: Path, damage: Callable[[Any], Any], message: str) -> None:
    import pyarrow.parquet as parquet

    foreign_set(tmp_path / "set", names={"motors": ["force.0", "force.1"]})
    (file,) = (tmp_path / "set/data").rglob("*.parquet")
    parquet.write_table(damage(parquet.read_table(file)), file)
    with pytest.raises(DemonstrationsError, match=message):
        read_lerobot(tmp_path / "set", FOREIGN)


def test_a_feature_without_a_type_and_a_broken_picture_are_named(tmp_path: Path) -> None:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    foreign_set(tmp_path / "set", names={"motors": ["force.0", "force.1"]})
    file = next((tmp_path / "set/data").rglob("*.parquet"))
    table = parquet.read_table(file)
    place = table.column_names.index("observation.images.wrist_1")
    broken = arrow.array([{"bytes": b"no picture", "path": None}] * len(table))
    parquet.write_table(table.set_column(place, "observation.images.wrist_1", broken), file)
    with pytest.raises(DemonstrationsError, match="damaged or incomplete .UnidentifiedImage"):
        read_lerobot(tmp_path / "set", FOREIGN)
    info = tmp_path / "set/meta/info.json"
    features = json.loads(info.read_text())
    for feature in features["features"].values():
        feature.pop("dtype", None)
    info.write_text(json.dumps(features))
    with pytest.raises(DemonstrationsError, match="damaged or incomplete .KeyError: 'dtype'"):
        read_lerobot(tmp_path / "set", FOREIGN)


def test_the_command_joins_inputs_and_names_mistakes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contract = PICK
    rng = np.random.default_rng(0)
    states = {f.name: rng.uniform(0, 0.3, (4, *f.shape)) for f in contract.observation}
    flag = np.array([False, True, False, True])
    none = np.zeros(4, bool)
    actions = np.zeros((4, 4), np.float32)
    steps = Recording(states, states, actions, np.ones(4), flag, none, flag, none, np.zeros(4))
    ours = str(tmp_path / "a.npz")
    save_demonstrations(ours, to_columns(steps, contract, ""), contract)
    task = ["--task", "pick_cube"]
    assert main([ours, ours, str(tmp_path / "set"), *task]) == 0
    assert "4 episodes, 8 steps" in capsys.readouterr().out
    assert main([str(tmp_path / "set"), str(tmp_path / "b.npz"), *task]) == 0
    assert len(load_demonstrations(tmp_path / "b.npz", contract)["reward"]) == 8
    for arguments, message in (
        ([ours, str(tmp_path / "b.hdf5")], "expected the name of a .npz file, or of a new"),
        ([str(tmp_path / "a.hdf5"), ours], "expected a .npz or .pkl file, or the folder"),
        ([ours, ours, "--layout", "x"], "layout 'x': expected one of"),
    ):
        assert main([*arguments, *task]) == 2
        assert message in capsys.readouterr().err
