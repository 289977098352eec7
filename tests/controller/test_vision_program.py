"""The controller with cameras: an image policy acts, its images reach the learner, once each."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cpp_program import CONTROLLER
from numpy.typing import NDArray

from serl_rt.controller.control import onnxruntime_library
from serl_rt.export.columns import STARTS
from serl_rt.export.demonstrations import demonstration_columns
from serl_rt.export.publish import PolicyFile, write_policy_file
from serl_rt.export.task import load_task
from serl_rt.export.verify import OnnxPolicy
from serl_rt.learner.agents.build import build_agent
from serl_rt.learner.data.transition_log import TransitionLog
from serl_rt.learner.policy_export import make_exporter
from serl_rt.learner.receive import LearnerServer
from serl_rt.learner.recipe import load_recipe
from serl_rt.sim.processes import Process, free_port

TASK = load_task("pick_cube_vision")
CAMERAS = [image.name for image in TASK.contract.images]
Columns = dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def policy() -> PolicyFile:
    """An untrained policy that sees."""
    agent = build_agent(load_recipe("drq_rlpd"), TASK.contract, seed=0)
    return make_exporter(agent, TASK.contract, "test").export(1, 0)


def run(policy: PolicyFile, folder: Path, *options: str) -> tuple[Columns, int]:
    """Run the controller to its end; return its transitions as sent, and the messages they took."""
    folder.mkdir()
    write_policy_file(policy, folder / "policy.onnx")
    runtime = onnxruntime_library()
    assert runtime is not None
    with (
        TransitionLog(folder / "log", TASK.contract.contract_id) as log,
        LearnerServer(log, demonstration_columns(TASK.contract), "tcp://127.0.0.1:*") as server,
    ):
        server.grant(10_000)
        done = subprocess.run(
            [
                *(CONTROLLER, "--task", TASK.name, "--learner", server.address),
                *("--policy", str(folder / "policy.onnx"), "--policies", str(folder / "store")),
                *("--state", "none", "--commands", "none", "--quiet", *options),
            ],
            capture_output=True,
            text=True,
            timeout=240,
            env=os.environ | {"SERL_RT_ONNXRUNTIME": str(runtime)},
        )
        assert done.returncode == 0, done.stderr
        messages = list(log)
        names = list(messages[0].columns)
        return {n: np.concatenate([m.columns[n] for m in messages]) for n in names}, len(messages)


@contextmanager
def pushed_images(folder: Path, address: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that pushes the images of two cameras that show a moving pattern."""
    sources = ", ".join(
        f'{{ image = "{name}", kind = "pattern", width = 144, height = 144, fps = 60.0 }}'
        for name in CAMERAS
    )
    text = TASK.path.read_text().replace("[cameras]\n", f"[cameras]\nsources = [{sources}]\n")
    (folder / "cell.toml").write_text(text)
    command = [sys.executable, "-m", "serl_rt.cli", "cameras", "--quiet"]
    command += ["--task", str(folder / "cell.toml"), "--controller", address]
    with subprocess.Popen(command) as process:
        try:
            yield process
        finally:
            process.terminate()


def frames_before(columns: Columns, camera: str) -> NDArray[np.uint8]:
    """The images that each transition began with, put together from what was sent."""
    given = iter(columns[f"observation/{camera}"])
    after = columns[f"next_observation/{camera}"]
    rows = zip(columns[STARTS], np.roll(after, 1, axis=0), strict=True)
    return np.stack([next(given) if starts else last for starts, last in rows])


def test_a_policy_acts_on_the_images_that_the_learner_gets(
    policy: PolicyFile, tmp_path: Path
) -> None:
    options = ("--lockstep", "--episodes", "2", "--evaluate-every", "1", "--seed", "3")
    columns, _ = run(policy, tmp_path / "first", *options)
    count = len(columns["reward"])
    assert count == 100
    # One image per camera and step, and one more for each episode.
    np.testing.assert_array_equal(columns[STARTS], columns["step"] == 0)
    for camera in CAMERAS:
        assert columns[f"next_observation/{camera}"].shape == (count, 72, 72, 3)
        assert len(columns[f"observation/{camera}"]) == 2
        assert columns[f"next_observation/{camera}"].std() > 10

    # The same file, run by Python on what was recorded, gives the actions that were executed.
    acting = OnnxPolicy(policy.model, TASK.contract)
    fields = [field.name for field in TASK.contract.observation]
    images = {camera: frames_before(columns, camera) for camera in CAMERAS}
    for row in range(0, count, 7):
        observation = {name: columns[f"observation/{name}"][row : row + 1] for name in fields}
        observation |= {camera: images[camera][row : row + 1] for camera in CAMERAS}
        noise = np.zeros((1, TASK.contract.action_dim), np.float32)
        action = acting.act(observation, noise)
        np.testing.assert_allclose(action[0], columns["action"][row], atol=1e-5)

    again, _ = run(policy, tmp_path / "second", *options)
    for name, array in columns.items():
        np.testing.assert_array_equal(array, again[name], name)


def test_policies_on_a_frozen_trunk_are_swapped_and_stored_whole(tmp_path: Path) -> None:
    recipe = load_recipe("drq_rlpd_cached")
    assert recipe.encoder is not None
    encoder = dataclasses.replace(recipe.encoder, type="resnet-random", cached_crops=0)
    agent = build_agent(dataclasses.replace(recipe, encoder=encoder), TASK.contract, seed=0)
    exporter = make_exporter(agent, TASK.contract, "test")
    runtime = onnxruntime_library()
    assert runtime is not None
    with (
        TransitionLog(tmp_path / "log", TASK.contract.contract_id) as log,
        LearnerServer(log, demonstration_columns(TASK.contract), "tcp://127.0.0.1:*") as server,
    ):
        server.publish(exporter.export(1, 0))
        command = [
            *(CONTROLLER, "--task", TASK.name, "--learner", server.address),
            *("--lockstep", "--quiet"),
            *("--policies", str(tmp_path / "store"), "--state", "none", "--commands", "none"),
        ]
        environment = os.environ | {"SERL_RT_ONNXRUNTIME": str(runtime)}
        with Process("controller", command, tmp_path / "log.txt", environment) as controller:
            versions: list[int] = []
            for version in (1, 2, 3):
                policy = exporter.export(version, 0)
                server.publish(policy)
                while version not in versions:
                    server.grant(len(versions) + 5)
                    assert server.wait(60.0)
                    for batch in server.drain():
                        versions += batch.columns["policy_version"].tolist()
            controller.interrupt()
            controller.wait(20.0)
    assert versions == sorted(versions)
    (newest,) = tmp_path.glob("store/*/policy-3-v3-*.onnx")
    assert newest.read_bytes() == policy.model
    assert 0 < policy.trunk_size < len(policy.model)


def test_in_real_time_images_are_fresh_and_change(policy: PolicyFile, tmp_path: Path) -> None:
    columns, _ = run(policy, tmp_path / "run", "--episodes", "1", "--rt-priority", "0")
    assert len(columns["reward"]) >= 10
    after = columns["next_observation/front"].astype(int)
    assert (np.abs(np.diff(after, axis=0)).max(axis=(1, 2, 3)) > 0).mean() > 0.5


def test_pushed_images_reach_the_learner_and_stop_the_arm_when_they_stop(
    policy: PolicyFile, tmp_path: Path
) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    options = ("--cameras", address, "--rt-priority", "0", "--episodes", "1")
    with pushed_images(tmp_path, address):
        columns, _ = run(policy, tmp_path / "fed", *options)
    assert len(columns["reward"]) >= 10
    for camera in CAMERAS:
        image = columns[f"next_observation/{camera}"][5].astype(int)
        # The pattern at half its size: red grows downwards, green to the right, blue is even.
        np.testing.assert_array_equal(np.diff(image[:, 0, 0]) >= 0, True)
        np.testing.assert_array_equal(np.diff(image[0, :, 1]) >= 0, True)
        assert image[0, 0, 0] <= 2
        assert image[-1, 0, 0] >= 253
        assert np.ptp(image[..., 2]) == 0

    summary = tmp_path / "summary.json"
    with pytest.raises(IndexError):  # no cameras: nothing is executed, nothing is sent
        run(policy, tmp_path / "blind", *options, "--summary", str(summary))
    faults = json.loads(summary.read_text())["faults"]
    assert faults["image_stale"]["count"] == TASK.episode.max_steps
