"""`serl-rt classifier`: files to a verified ONNX file, and what it says about bad ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scenes import squares

from serl_rt.export.contract import Contract
from serl_rt.export.demonstrations import save_demonstrations
from serl_rt.export.inspect import main as inspect
from serl_rt.export.reward_classifier import OnnxClassifier, verify_classifier
from serl_rt.export.task import load_task
from serl_rt.export.verify import PolicyRefused
from serl_rt.learner.data.recording import Recording, to_columns
from serl_rt.learner.train_classifier import confusion_at, main

TASK = """
name = "tiny"
[contract]
policy_rate_hz = 10.0
workspace = { low = [0.3, -0.25, 0.0], high = [0.7, 0.25, 0.5] }
observation = [
  { name = "gripper", shape = [1], unit = "1", frame = "", low = [0.0], high = [1.0] },
]
images = [{ name = "front", height = 24, width = 24 }, { name = "wrist", height = 24, width = 24 }]
action = [{ name = "tcp_delta", shape = [3], scale = [0.05, 0.05, 0.05] }]
[episode]
reward = "classifier"
[reward_classifier]
model = "success.onnx"
threshold = 0.8
"""
LENGTH = 10


def write_task(folder: Path, text: str = TASK) -> Path:
    path = folder / "tiny.toml"
    path.write_text(text)
    return path


def record(
    path: Path, contract: Contract, episodes: int, *, succeed: bool = True, seed: int = 0
) -> Path:
    """Episodes whose last three steps are successes, which both cameras show."""
    count = episodes * LENGTH
    step = np.arange(count) % LENGTH
    success = (step >= LENGTH - 3) & succeed
    labels = torch.from_numpy(success.astype(np.int64))
    pictures = {
        image.name: squares(labels, size=image.height, seed=seed + 10 * i).numpy()
        for i, image in enumerate(contract.images)
    }
    seen = {"gripper": np.zeros((count, 1), np.float32)} | pictures
    recording = Recording(
        observations=seen,
        next_observations=seen,
        actions=np.zeros((count, 3), np.float32),
        rewards=success.astype(np.float32),
        terminated=step == LENGTH - 1,
        truncated=np.zeros(count, bool),
        success=success,
        intervention=np.zeros(count, bool),
        grasp_penalty=np.zeros(count, np.float32),
    )
    save_demonstrations(path, to_columns(recording, contract, "test"), contract)
    return path


def run(folder: Path, *files: Path, task: Path | str | None = None, options: str = "") -> int:
    arguments = [*map(str, files), "--task", str(task or folder / "tiny.toml")]
    arguments += ["--output", str(folder / "out" / "success.onnx"), *options.split()]
    return main(arguments)


def test_a_file_is_trained_verified_and_described(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contract = load_task(write_task(tmp_path)).contract
    files = [record(tmp_path / f"{i}.npz", contract, 10, seed=i) for i in range(2)]
    assert run(tmp_path, *files, options="--steps 100 --seed 3 --threshold 0.6") == 0
    assert "held out 7 episodes, 70 frames: accuracy 1.0000" in capsys.readouterr().out

    path = tmp_path / "out" / "success.onnx"
    classifier = OnnxClassifier(path.read_bytes())
    assert classifier.inputs == {"front": (1, 24, 24, 3), "wrist": (1, 24, 24, 3)}
    about = classifier.metadata
    assert (about["kind"], about["task"], about["threshold"]) == (
        "reward_classifier",
        "tiny",
        "0.6",
    )
    assert about["images"] == "front 24 x 24, wrist 24 x 24"
    assert float(about["accuracy"]) == 1.0
    assert json.loads(about["confusion"]) == [[49, 0], [0, 21]]
    labels = torch.arange(20) % 2
    fresh = {n: squares(labels, seed=90 + i).numpy() for i, n in enumerate(("front", "wrist"))}
    found = classifier.probabilities(fresh)
    assert ((found >= 0.6) == labels.bool().numpy()).mean() >= 0.9
    with pytest.raises(PolicyRefused, match="differs from the trained one"):
        verify_classifier(path.read_bytes(), fresh, 1.0 - found)

    assert inspect([str(path)]) == 0
    assert "images         front 24 x 24, wrist 24 x 24" in capsys.readouterr().out


def test_one_camera_is_enough_and_the_same_seed_gives_the_same_file(tmp_path: Path) -> None:
    contract = load_task(write_task(tmp_path)).contract
    file = record(tmp_path / "a.npz", contract, 6)
    written = []
    for _ in range(2):
        assert run(tmp_path, file, options="--camera wrist --steps 3") == 0
        written.append((tmp_path / "out" / "success.onnx").read_bytes())
    assert written[0] == written[1]
    assert list(OnnxClassifier(written[0]).inputs) == ["wrist"]


@pytest.mark.parametrize(
    ("succeed", "words"),
    [(False, "0 episodes have frames of success"), (True, "1 episodes have frames of success")],
)
def test_what_shows_too_little_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], succeed: bool, words: str
) -> None:
    contract = load_task(write_task(tmp_path)).contract
    files = [record(tmp_path / "all.npz", contract, 4, succeed=False)]
    if succeed:
        files.append(record(tmp_path / "one.npz", contract, 1))
    assert run(tmp_path, *files) == 2
    said = capsys.readouterr().err
    assert "all.npz" in said
    assert words in said
    assert not (tmp_path / "out").exists()


def test_only_successes_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    contract = load_task(write_task(tmp_path)).contract
    file = record(tmp_path / "a.npz", contract, 3)
    with np.load(file) as archive:
        columns = dict(archive)
    columns["success"][:] = 1
    del columns["contract"]
    save_demonstrations(file, columns, contract)
    assert run(tmp_path, file) == 2
    assert "a.npz: 0 episodes have frames of failure" in capsys.readouterr().err


def test_files_and_options_that_do_not_fit_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = write_task(tmp_path)
    contract = load_task(task).contract
    good = record(tmp_path / "good.npz", contract, 3)
    blind = load_task(write_task(tmp_path, TASK.replace("images = [", "#")))
    record(tmp_path / "blind.npz", blind.contract, 3)
    large = load_task(write_task(tmp_path, TASK.replace("= 24", "= 26")))
    record(tmp_path / "large.npz", large.contract, 3)
    write_task(tmp_path)
    cases = [
        ((good, tmp_path / "blind.npz"), "", "blind.npz: holds no images"),
        ((good, tmp_path / "large.npz"), "", "large.npz: was recorded with images"),
        ((tmp_path / "none.npz",), "", "none.npz: cannot be read"),
        ((good,), "--camera side", "--camera side: the task tiny has front, wrist"),
        ((good,), "--steps 0", "--steps 0"),
        ((good,), "--threshold 1", "--threshold 1.0: must be from"),
    ]
    for files, options, words in cases:
        assert run(tmp_path, *files, options=options) == 2
        assert words in capsys.readouterr().err
    assert run(tmp_path, good, task="pick_cube") == 2
    assert "pick_cube: its contract has no images" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_frames_are_counted_as_the_controller_answers() -> None:
    probability = np.array([0.1, 0.8, 0.75, 0.9, 0.2], np.float32)
    truth = np.array([0, 0, 1, 1, 1])
    assert confusion_at(0.75, probability, truth) == ((1, 1), (1, 2))
