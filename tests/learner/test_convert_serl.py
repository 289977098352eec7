"""Demonstrations from SERL's and HIL-SERL's pickles, and what is said about bad ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serl_pickles import ROBOT, pickled, serl_steps

from serl_rt.export.demonstrations import (
    DemonstrationsError,
    load_demonstrations,
    save_demonstrations,
)
from serl_rt.export.task import load_task
from serl_rt.learner.convert import main, read
from serl_rt.learner.data.recording import from_columns, to_columns
from serl_rt.learner.data.serl_demos import parse_layout, read_serl_demos
from serl_rt.learner.data.transitions import TransitionDecoder

PICK = load_task("pick_cube").contract


def test_hil_serl_demonstrations_become_ours(tmp_path: Path) -> None:
    steps = serl_steps([3, 4])
    recording = read_serl_demos(pickled(tmp_path / "demos.pkl", steps), ROBOT)
    state = np.concatenate([step["observations"]["state"] for step in steps])
    # The parts of the vector are in alphabetical order: gripper, force, pose, torque, velocity.
    assert np.array_equal(recording.observations["gripper"], state[:, :1])
    assert np.array_equal(recording.observations["tcp_vel"], state[:, 13:])
    pose = recording.observations["tcp_pose_relative"]
    assert np.array_equal(pose[:, :3], state[:, 4:7])
    roll, pitch, yaw = state[:, 7:10].astype(np.float64).T / 2  # qz * qy * qx, written out
    w = np.cos(roll) * np.cos(pitch) * np.cos(yaw) + np.sin(roll) * np.sin(pitch) * np.sin(yaw)
    z = np.cos(roll) * np.cos(pitch) * np.sin(yaw) - np.sin(roll) * np.sin(pitch) * np.cos(yaw)
    signs = np.sign(w) * np.sign(pose[:, 6])
    assert np.allclose(pose[:, 6] * signs, w, atol=1e-6)
    assert np.allclose(pose[:, 5] * signs, z, atol=1e-6)

    columns = to_columns(recording, ROBOT, "demos.pkl")
    save_demonstrations(tmp_path / "ours.npz", columns, ROBOT)  # checks everything
    assert columns["terminated"].tolist() == [0, 0, 1, 0, 0, 0, 1]
    assert columns["success"].tolist() == [0, 0, 1, 0, 0, 0, 1]
    assert columns["episode"].tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert columns["step"].tolist() == [0, 1, 2, 0, 1, 2, 3]
    assert columns["starts"].tolist() == [1, 0, 0, 1, 0, 0, 0]  # each frame is kept once
    assert columns["grasp_penalty"][1] == np.float32(-0.02)
    again = from_columns(load_demonstrations(tmp_path / "ours.npz", ROBOT), ROBOT)
    for group in ("observations", "next_observations"):
        frames = np.concatenate([step[group]["wrist_1"] for step in steps])
        assert np.array_equal(getattr(again, group)["wrist_1"], frames)


def test_the_newest_of_stacked_frames_is_kept(tmp_path: Path) -> None:
    steps = serl_steps([2], stack=3)
    for step in steps:
        for key in ("observations", "next_observations"):
            step[key] = step[key] | {"state": step[key]["state"][:1]}
    recording = read_serl_demos(pickled(tmp_path / "demos.pkl", steps), ROBOT)
    newest = steps[0]["observations"]["wrist_1"][-1]
    assert np.array_equal(recording.observations["wrist_1"][0], newest)


def test_serls_simulated_cube_is_read_into_our_task(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(1)
    states = rng.uniform(0.0, 0.4, (6, 10)).astype(np.float32)
    steps = [
        {
            "observations": states[i],
            "next_observations": states[i + 1],
            "actions": np.zeros(4, np.float32),
            "rewards": 0.1,
            "masks": 1.0,
            "dones": i == 4,
        }
        for i in range(5)
    ]
    demos = pickled(tmp_path / "demos.pkl", steps)
    assert main([str(demos), str(tmp_path / "ours.npz"), "--task", "pick_cube"]) == 0
    assert "1 episodes, 5 steps, 0 of them successful" in capsys.readouterr().out
    columns = load_demonstrations(tmp_path / "ours.npz", PICK)
    cube, tcp = states[:5, :3], states[:5, 4:7]
    assert np.array_equal(columns["observation/cube_position"], cube)
    assert np.array_equal(columns["observation/tcp_position"], tcp)
    assert np.allclose(columns["observation/tcp_to_cube"], cube - tcp)
    assert columns["truncated"].tolist() == [0, 0, 0, 0, 1]  # mask 1: it goes on
    assert TransitionDecoder(PICK)(columns).masks.tolist() == [1.0] * 5


def test_a_pickle_that_would_run_code_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Harm:
        def __reduce__(self) -> Any:
            return (open, (str(tmp_path / "harm"), "w"))

    demos = pickled(tmp_path / "demos.pkl", [Harm()])
    assert main([str(demos), str(tmp_path / "out.npz"), "--task", "pick_cube"]) == 2
    assert "the file asks for" in capsys.readouterr().err
    assert not (tmp_path / "harm").exists()


def without(key: str) -> list[dict[str, Any]]:
    return [{k: v for k, v in step.items() if k != key} for step in serl_steps([2])]


def other_image() -> list[dict[str, Any]]:
    steps = serl_steps([2])
    for step in steps:
        for key in ("observations", "next_observations"):
            step[key] = step[key] | {"wrist_1": np.zeros((1, 9, 12, 3), np.uint8)}
    return steps


def loud_action() -> list[dict[str, Any]]:
    return [step | {"actions": np.full(7, 3.0)} for step in serl_steps([2])]


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ({"a": 1}, "expected a list of transitions"),
        ([], "expected a list of transitions"),
        (without("masks"), "transition 0 lacks masks"),
        (without("observations"), "transition 0 lacks observations"),
        (other_image(), r"observation/wrist_1 has shape \(1, 9, 12, 3\), the task robot has"),
        (loud_action(), r"action has values outside \[-1, 1\]"),
        ([s | {"rewards": np.zeros(2)} for s in serl_steps([2])], "rewards must be one number"),
        ([s | {"rewards": np.nan} for s in serl_steps([2])], "reward has values that are not fin"),
    ],
)
def test_what_is_wrong_with_a_pickle_is_named(tmp_path: Path, steps: object, message: str) -> None:
    path = pickled(tmp_path / "demos.pkl", steps)
    with pytest.raises(DemonstrationsError, match=message) as caught:
        read(path, ROBOT, None)
    assert "demos.pkl" in str(caught.value)


def test_an_unknown_state_asks_for_its_layout(tmp_path: Path) -> None:
    steps = serl_steps([2])
    for step in steps:
        for key in ("observations", "next_observations"):
            step[key] = step[key] | {"state": step[key]["state"][:, :14]}
    path = pickled(tmp_path / "demos.pkl", steps)
    with pytest.raises(DemonstrationsError, match="the state has 14 numbers; say with --layout"):
        read_serl_demos(path, ROBOT)
    layout = parse_layout("gripper_pose:1,tcp_pose:7,tcp_vel:6")
    recording = read_serl_demos(path, ROBOT, layout)
    assert recording.observations["tcp_pose_relative"].shape == (2, 7)  # was a quaternion already
    with pytest.raises(ValueError, match="expected one of robot, sim, or parts"):
        parse_layout("gripper_pose")
