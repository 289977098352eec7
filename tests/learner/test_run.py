"""`serl-rt learn` as a process, with a controller on the other end of the real wire."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from wire_controller import TASK, WireController

from serl_rt.export.contract import Contract
from serl_rt.export.demonstrations import demonstration_columns, save_demonstrations
from serl_rt.export.publish import read_policy_file
from serl_rt.export.task import load_task
from serl_rt.export.verify import OnnxPolicy
from serl_rt.learner.metrics import read_metrics
from serl_rt.learner.run import main

RECIPE = """
[critic]
hidden_dims = [32, 32]

[policy]
hidden_dims = [32, 32]

[training]
batch_size = 32
start_training = 50
max_env_steps = {steps}
publish_period = 50
checkpoint_period = 100
log_period = 50
"""

DEADLINE_S = 90.0


class Learner:
    """A `serl-rt learn` process."""

    def __init__(self, folder: Path, *arguments: str, steps: int = 300) -> None:
        (folder / "point.toml").write_text(TASK)
        (folder / "small.toml").write_text(RECIPE.format(steps=steps))
        self.contract = load_task(folder / "point.toml").contract
        self.run = folder / "run"
        command = [sys.executable, "-u", "-m", "serl_rt.learner.run", "--no-tensorboard"]
        command += ["--recipe", str(folder / "small.toml"), "--task", str(folder / "point.toml")]
        command += ["--bind", "tcp://127.0.0.1:*", "--run", str(self.run), *arguments]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.output = ""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if found := re.match(r"listening on (\S+),", line):
                self.address = found[1]
                return
        pytest.fail(f"the learner did not start:\n{self.output}")

    def finish(self) -> int:
        """Wait for the end; return the exit status."""
        rest, _ = self.process.communicate(timeout=DEADLINE_S)
        self.output += rest
        return self.process.returncode

    def summary(self) -> dict[str, object]:
        return json.loads((self.run / "summary.json").read_text())


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., tuple[Learner, WireController]]]:
    """Start a learner in the test's folder and connect a controller to it."""
    started: list[tuple[Learner, WireController]] = []

    def starter(*arguments: str, steps: int = 300) -> tuple[Learner, WireController]:
        learner = Learner(tmp_path, *arguments, steps=steps)
        controller = WireController(learner.address, learner.contract)
        started.append((learner, controller))
        controller.start()
        return learner, controller

    yield starter
    for learner, controller in started:
        controller.quit.set()
        controller.join(DEADLINE_S)
        if learner.process.poll() is None:
            learner.process.kill()
            learner.process.wait()
        assert learner.process.stdout is not None
        learner.process.stdout.close()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.01)


def test_trains_over_the_wire(start: Callable[..., tuple[Learner, WireController]]) -> None:
    learner, controller = start()
    assert learner.finish() == 0, learner.output
    summary = learner.summary()
    assert summary["reason"] == "max_env_steps"
    assert summary["env_steps"] >= 300
    assert summary["updates"] == 250
    assert summary["transitions_stored"] == summary["link"]["transitions"]
    assert summary["env_steps"] + summary["evaluation_steps"] <= summary["transitions_stored"]
    assert controller.acknowledged <= summary["transitions_stored"] <= len(controller.transitions)
    policy = read_policy_file(learner.run / "policy.onnx", learner.contract)
    assert policy.version == summary["version"] == 7  # untrained, five periods, the end
    assert policy.training_step == 250
    kinds = {row["kind"] for row in read_metrics(learner.run / "metrics.jsonl")}
    assert kinds == {"update", "episode", "evaluation", "policy"}
    assert json.loads((learner.run / "versions.json").read_text())["seed"] == 0


CLONING = """
[agent]
kind = "bc"

[policy]
hidden_dims = [32, 32]
std_parameterization = "fixed"
fixed_std = 0.3

[actor_optimizer]
learning_rate = 3e-3

[training]
batch_size = 32
start_training = 1
max_env_steps = 1000
publish_period = 50
"""


def constant_demonstrations(path: Path, contract: Contract, action: list[float]) -> None:
    """Write a demonstration in which the same is done wherever the point is."""
    count, generator = 400, np.random.default_rng(0)
    columns = {
        column.name: np.zeros((count, *column.shape), column.dtype)
        for column in demonstration_columns(contract)
    }
    for group in ("observation", "next_observation"):
        for name, size in (("offset", 2.0), ("speed", 0.5)):
            columns[f"{group}/{name}"][:] = generator.uniform(-size, size, (count, 2))
    columns["action"][:] = action
    columns["step"][:] = np.arange(count)
    save_demonstrations(path, columns, contract)


def test_clones_demonstrations_and_nothing_else_over_the_wire(
    start: Callable[..., tuple[Learner, WireController]], tmp_path: Path
) -> None:
    (tmp_path / "point.toml").write_text(TASK)
    (tmp_path / "cloning.toml").write_text(CLONING)
    contract = load_task(tmp_path / "point.toml").contract
    wanted = [0.6, -0.4, 0.2]
    constant_demonstrations(tmp_path / "demos.npz", contract, wanted)
    recipe = str(tmp_path / "cloning.toml")
    learner, controller = start("--recipe", recipe, "--demos", str(tmp_path / "demos.npz"))
    assert learner.finish() == 0, learner.output
    assert learner.summary()["updates"] == 999
    # What the policy did before it had learned was stored, but never imitated.
    assert learner.summary()["transitions_stored"] >= 1000
    policy = OnnxPolicy((learner.run / "policy.onnx").read_bytes(), contract)
    for transition in controller.transitions[-20:]:
        seen = {name: transition[f"observation/{name}"] for name in ("offset", "speed")}
        action = policy.act(seen, np.ones((1, 3), np.float32))
        np.testing.assert_allclose(action[0], wanted, atol=0.05)


def test_ctrl_c_leaves_a_run_that_resumes(
    start: Callable[..., tuple[Learner, WireController]],
) -> None:
    learner, controller = start()
    wait_for(lambda: len(controller.transitions) > 120)
    asked = time.monotonic()
    learner.process.send_signal(signal.SIGINT)
    assert learner.finish() == 130, learner.output
    assert time.monotonic() - asked < DEADLINE_S
    before = learner.summary()
    assert before["reason"] == "interrupted"

    again, _ = start("--resume")
    assert again.finish() == 0, again.output
    resumed = re.search(r"resumed at (\d+) steps, (\d+) updates", again.output)
    assert resumed is not None
    assert int(resumed[1]) >= before["env_steps"]
    assert int(resumed[2]) == before["updates"]
    after = again.summary()
    assert after["env_steps"] >= 300
    assert after["updates"] == 250
    assert after["version"] > before["version"]


def test_a_killed_learner_loses_nothing_that_it_acknowledged(
    start: Callable[..., tuple[Learner, WireController]],
) -> None:
    learner, controller = start()
    wait_for(lambda: controller.acknowledged > 150)
    acknowledged = controller.acknowledged
    learner.process.kill()
    learner.finish()

    again, _ = start("--resume")
    assert again.finish() == 0, again.output
    summary = again.summary()
    assert summary["env_steps"] >= 300
    stored_before = summary["transitions_stored"] - summary["link"]["transitions"]
    assert stored_before >= acknowledged


def test_a_run_folder_holds_one_run(
    start: Callable[..., tuple[Learner, WireController]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    learner, _ = start(steps=60)
    assert learner.finish() == 0
    arguments = ["--recipe", str(tmp_path / "small.toml"), "--task", str(tmp_path / "point.toml")]
    arguments += ["--run", str(learner.run), "--bind", "tcp://127.0.0.1:*"]
    assert main(arguments) == 2
    assert "holds a run: give --resume" in capsys.readouterr().err
    (tmp_path / "small.toml").write_text(RECIPE.format(steps=60).replace("32, 32", "16, 16"))
    assert main([*arguments, "--resume"]) == 2
    assert "differs from recipe 'small'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("[training]\nbatchsize = 3\n", r"\[training\] batchsize: unknown key \(did you mean"),
        ("[agent]\ndiscount = 1.5\n", r"\[agent\] discount = 1.5: must be a finite number from 0"),
        ('[critic]\nactivations = "sine"\n', r"must be one of .*relu"),
        ("[agent]\ncritic_subsample_size = 3\n", r"at most critic_ensemble_size = 2"),
        ('[policy]\nstd_parameterization = "fixed"\n', r"fixed_std"),
        ("[agent]\nbc_weight = 1.0\n", r"imitates demonstrations: give --demos FILE"),
        ("[agent]\nencoder_bc_weight = 1.0\n", r"encoder_bc_weight = 1.0: must be 0 without an"),
        ('[agent]\nkind = "bc"\n', r"imitates demonstrations: give --demos FILE"),
    ],
)
def test_wrong_settings_are_named(
    recipe: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "point.toml").write_text(TASK)
    path = tmp_path / "wrong.toml"
    path.write_text(recipe)
    arguments = ["--recipe", str(path), "--task", str(tmp_path / "point.toml")]
    arguments += ["--run", str(tmp_path / "run"), "--bind", "tcp://127.0.0.1:*"]
    assert main([*arguments, "--no-tensorboard"]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    if "demos" not in message:
        assert str(path) in error


def test_unknown_names_list_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--recipe", "nonsense"]) == 2
    assert "rlpd_state" in capsys.readouterr().err
