"""From recorded pictures to the reward in the loop: classifier, controller, gymnasium."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from serl_rt.controller.control import onnxruntime_library
from serl_rt.export.demonstrations import save_demonstrations
from serl_rt.export.onnx_graph import PolicyExporter
from serl_rt.export.publish import write_policy_file
from serl_rt.export.reward_classifier import OnnxClassifier
from serl_rt.export.task import find_task
from serl_rt.learner.train_classifier import main as train
from serl_rt.sim.envs import SimArmEnv
from serl_rt.sim.record import record_demonstrations

GOLDEN = Path(__file__).parents[1] / "golden" / "policies"
EPISODES = 14
CUBE = """[[contract.observation]]
name = "cube_position"
shape = [3]
unit = "m"
frame = "base"
low = [0.30, -0.25, 0.0]
high = [0.70, 0.25, 0.40]

# Policies"""


class PickByNumbers(nn.Module):
    """Picks up a cube whose place it is told; images make no difference."""

    def forward(self, observation: Mapping[str, Tensor], noise: Tensor) -> Tensor:
        """(batch, ...) fields and noise (batch, 4) -> (batch, 4)."""
        way = observation["cube_position"] - observation["tcp_position"]
        near, aside = way.norm(dim=1, keepdim=True), way[:, :2].norm(dim=1, keepdim=True)
        height = torch.where(aside > 0.01, 0.05, 0.0)
        holds = (near < 0.03) & (observation["gripper"] < 0.7)
        up = torch.cat((0.0 * way[:, :2], torch.ones_like(aside)), dim=1)
        reach = torch.cat((way[:, :2], way[:, 2:] + height), dim=1) / 0.05
        grip = torch.where(holds | (near < 0.012), -1.0, torch.where(near > 0.03, 1.0, 0.0))
        action = torch.cat((torch.where(holds, up, reach), grip), dim=1) + 0.2 * noise
        # An input without effect would not be in the file.
        for value in observation.values():
            action = action + 0.0 * value.float().mean()
        return action.clamp(-1.0, 1.0)


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a task whose reward is a classifier, the classifier, and a policy."""
    folder = tmp_path_factory.mktemp("cell")
    text = find_task("pick_cube_vision").read_text().replace("# Policies", CUBE)
    assert text.count("= 72\n") == 4
    text = text.replace("= 72\n", "= 54\n").replace('reward = "dense"', 'reward = "classifier"')
    task = folder / "cell.toml"
    task.write_text(text + '\n[reward_classifier]\nmodel = "success.onnx"\n')

    env = SimArmEnv(str(task), "dense")
    columns = record_demonstrations(env, EPISODES, 0.3, seed=0, failures=True)
    save_demonstrations(folder / "demos.npz", columns, env.contract)
    options = ["--task", str(task), "--output", str(folder / "success.onnx"), "--steps", "600"]
    assert train([str(folder / "demos.npz"), *options, "--threshold", "0.5"]) == 0
    exporter = PolicyExporter(PickByNumbers(), env.contract, "scripted")
    write_policy_file(exporter.export(1, 0), folder / "policy.onnx")
    env.close()
    return folder


def control(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the controller in simulated time to its end."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "serl_rt.cli", "control", "--task", str(folder / "cell.toml")),
            *("--lockstep", "--quiet", "--state", "none", "--commands", "none"),
            *("--policy", str(folder / "policy.onnx"), "--policies", str(folder / "store")),
            *("--summary", str(folder / "summary.json"), *options),
        ],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"SERL_RT_ONNXRUNTIME": str(onnxruntime_library())},
    )


def test_the_controller_rewards_what_the_classifier_sees(cell: Path) -> None:
    # Where the cube is lifted to the very height of success, pictures do not say which side it is
    # on: about one step of an episode. So the hand shakes, and most episodes see more than a lift.
    done = control(cell, "--episodes", "20", "--seed", "5", "--noise-scale", "2")
    assert done.returncode == 0, done.stderr
    summary = json.loads((cell / "summary.json").read_text())
    right, wrong = summary["classifier_agreements"], summary["classifier_disagreements"]
    assert summary["classifier_unjudged"] == 0
    assert right + wrong == summary["env_steps"]
    assert right / (right + wrong) >= 0.95
    assert summary["success_rate"] >= 0.7
    for episode in summary["episodes"]:
        assert episode["return"] == float(episode["success"])  # 1, once, and then it is over

    assert any(episode["steps"] < 50 for episode in summary["episodes"] if episode["success"])

    done = control(cell, "--episodes", "1", "--reward", "sparse")
    assert done.returncode == 0, done.stderr
    assert "classifier_agreements" not in json.loads((cell / "summary.json").read_text())


def test_a_file_that_cannot_judge_stops_the_start(cell: Path) -> None:
    policy = str(cell / "policy.onnx")
    done = control(cell, "--episodes", "1", "--reward-classifier", policy)
    assert done.returncode == 1
    assert f"reward classifier {policy}: not a reward classifier" in done.stderr
    done = control(cell, "--episodes", "1", "--reward-classifier", policy, "--reward", "dense")
    assert done.returncode == 1
    assert "leave one of them out" in done.stderr


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("threshold = 1.0", r"threshold: 1 is outside \[0.001, 0.999\]"),
        ('modle = "a.onnx"', "modle"),
        ("model = 3", "model"),
        ('model = "none.onnx"', "none.onnx: cannot be read"),
    ],
)
def test_what_a_task_file_says_wrong_is_named(tmp_path: Path, table: str, words: str) -> None:
    text = find_task("pick_cube_vision").read_text()
    task = tmp_path / "cell.toml"
    task.write_text(text + f"\n[reward_classifier]\n{table}\n")
    with pytest.raises(ValueError, match=words):
        SimArmEnv(str(task), "classifier")


def test_the_environment_rewards_the_same(cell: Path) -> None:
    classifier = OnnxClassifier((cell / "success.onnx").read_bytes())
    env = SimArmEnv(str(cell / "cell.toml"))
    columns = record_demonstrations(env, 1, 0.2, seed=7)
    images = {name: columns[f"next_observation/{name}"] for name in classifier.inputs}
    answers = classifier.probabilities(images) >= 0.5
    np.testing.assert_array_equal(columns["success"].astype(bool), answers)
    np.testing.assert_array_equal(columns["reward"], answers.astype(np.float32))
    assert answers.sum() == 1  # the last step
    assert columns["terminated"][-1]
    with pytest.raises(ValueError, match=r"needs its model.*--reward-classifier"):
        SimArmEnv("pick_cube_vision", "classifier")
    with pytest.raises(ValueError, match="task 'pick_cube' has the images: none"):
        SimArmEnv("pick_cube", reward_classifier=cell / "success.onnx")


def test_a_classifier_that_hangs_is_ended_and_refused_at_the_start(tmp_path: Path) -> None:
    text = find_task("pick_cube_vision").read_text()
    task = tmp_path / "cell.toml"  # with images of the golden classifiers' size
    task.write_text(text.replace("height = 72", "height = 4").replace("width = 72", "width = 6"))
    endless = GOLDEN / "classifier_endless.onnx"
    with pytest.raises(
        ValueError, match=r"trial runs did not end within 2000 ms; train"
    ) as refusal:
        SimArmEnv(str(task), reward_classifier=endless)
    assert str(endless) in str(refusal.value)
