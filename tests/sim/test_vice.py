"""VICE through controller, wire and learner: pictures of success are all that says what to do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from serl_rt.export.demonstrations import save_demonstrations
from serl_rt.export.publish import read_policy_file
from serl_rt.export.task import find_task
from serl_rt.learner.export_policy import export_policy
from serl_rt.learner.metrics import read_metrics
from serl_rt.learner.recipe import find_recipe
from serl_rt.sim.envs import SimArmEnv
from serl_rt.sim.processes import Process, free_port, serl_rt
from serl_rt.sim.record import record_demonstrations

STEPS, UPDATES = 60, 40


def write_small(folder: Path) -> tuple[Path, Path]:
    """Write task and recipe with fewer pixels and steps; return their paths."""
    task, recipe = folder / "task.toml", folder / "recipe.toml"
    task.write_text(find_task("pick_cube_vision").read_text().replace("= 72\n", "= 32\n"))
    text = find_recipe("vice_pixels").read_text()
    for old, new in (
        ("crop = 64", "crop = 24"),
        ("batch_size = 64", "batch_size = 8\npublish_period = 20\nlog_period = 4"),
        ("start_training = 200", f"start_training = {STEPS - UPDATES}"),
        ("max_env_steps = 8000", f"max_env_steps = {STEPS}"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    recipe.write_text(text)
    return task, recipe


def test_vice_learns_over_the_wire_and_resumes(tmp_path: Path) -> None:
    task, recipe = write_small(tmp_path)
    env = SimArmEnv(str(task))
    columns = record_demonstrations(env, 2, 0.2, seed=0)
    save_demonstrations(tmp_path / "demos.npz", columns, env.contract)
    run = tmp_path / "run"

    def learn(address: str, *options: str) -> list[str]:
        return serl_rt(
            "learn", "--recipe", str(recipe), "--task", str(task), "--run", str(run),
            "--demos", str(tmp_path / "demos.npz"), "--bind", address, *options,
        )  # fmt: skip

    address = f"tcp://127.0.0.1:{free_port()}"
    control = serl_rt(
        "control", "--task", str(task), "--lockstep", "--learner", address,
        "--policies", str(tmp_path / "policies"), "--state", "none", "--commands", "none",
    )  # fmt: skip
    with (
        Process("learner", learn(address), tmp_path / "learner.log") as learner,
        Process("controller", control, tmp_path / "controller.log") as controller,
    ):
        learner.wait(120.0)
        controller.interrupt()
        controller.wait(10.0, accept=(0, 3))
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["reason"], summary["updates"]) == ("max_env_steps", UPDATES)
    updates = [row for row in read_metrics(run / "metrics.jsonl") if row["kind"] == "update"]
    for name in ("vice_loss", "vice_accuracy", "vice_rewards"):  # every one: 4 is its period
        assert len([row[name] for row in updates if np.isfinite(row[name])]) == UPDATES // 4
    assert read_policy_file(run / "policy.onnx", env.contract).training_step == UPDATES
    assert export_policy(run, None).training_step == UPDATES  # from the checkpoint

    with Process("learner", learn(address, "--resume"), tmp_path / "resumed.log") as learner:
        learner.wait(60.0)  # it has all its steps
    assert f"{UPDATES} updates" in (tmp_path / "resumed.log").read_text()
    assert json.loads((run / "summary.json").read_text())["updates"] == UPDATES
    env.close()
