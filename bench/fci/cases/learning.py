"""A learning run goes on when the robot stops itself, and when it is switched off and on."""

import json
from pathlib import Path
from typing import Any

from bench.fci.arm import Controller
from bench.fci.case import Context, Result
from bench.fci.servers import franka_sim
from serl_rt.learner.recipe import find_recipe
from serl_rt.sim.processes import Process, free_port, serl_rt

TASK = "fr3_reach"
DRIVER = "bench.fci.glitch_driver:RepeatedGlitchDriver"
REFLEX = "controller_torque_discontinuity"
CHANGES = {  # of the recipe: it learns after seconds, and publishes every few
    "start_training = 500": "start_training = 20\npublish_period = 20",
    "batch_size = 256": "batch_size = 32",
    "max_env_steps = 30000": "max_env_steps = 1000000",
}
MORE_STEPS = 25
"""That the policy must act after a loss, before the next one comes."""


def learning_goes_on(context: Context) -> Result:
    """Through a reflex and a restart of the robot: no transition is lost, policies go on."""
    folder, address = context.folder / "learner", f"tcp://127.0.0.1:{free_port()}"
    robot = franka_sim(context.folder)
    command = serl_rt(
        "learn", "--task", TASK, "--recipe", str(_recipe(context.folder)), "--bind", address,
        "--run", str(folder), "--no-tensorboard",
    )  # fmt: skip
    story: list[dict[str, Any]] = []
    with robot, Process("learner", command, context.folder / "learner.log") as learner:
        options = ("--driver", DRIVER, "--learner", address)
        with Controller(context, robot.address, *options, task=TASK) as arm:
            arm.wait_for(lambda s: s["policy_version"] >= 3, "learning", 90.0)
            story.append(_after_loss(arm, REFLEX))
            robot.restart()
            story.append(_after_loss(arm, "driver_lost_network"))
        learner.interrupt()
        learner.wait(20.0, accept=(130,))
    link = arm.summary()["link"]
    stored = json.loads((folder / "summary.json").read_text())["transitions_stored"]
    measured = {
        "losses": story,
        "transitions_made": link["pushed"],
        "transitions_acknowledged": link["acknowledged"],
        "transitions_stored": stored,
        "violations": robot.violations(),  # the one that the test driver makes on purpose
    }
    whole = link["pushed"] == link["acknowledged"] == stored
    grew = all(loss["new_policies"] >= 1 for loss in story)
    return Result(whole and grew, measured)


def _after_loss(arm: Controller, name: str) -> dict[str, Any]:
    """Wait for the recovery from a loss of that name, and for what must follow it."""

    def recovered(status: dict[str, Any]) -> bool:
        return name in [recovery["name"] for recovery in status["robot"]["recent_recoveries"]]

    back = arm.wait_for(recovered, f"the recovery from {name}", 60.0)
    steps, version = back["steps"], back["policy_version"]
    later = arm.wait_for(
        lambda s: s["steps"] >= steps + MORE_STEPS and s["policy_version"] > version,
        f"steps and a new policy after {name}",
        60.0,
    )
    last = back["robot"]["recent_recoveries"][-1]
    return {
        "name": last["name"],
        "away_s": round(last["duration_s"], 2),
        "steps": [steps, later["steps"]],
        "policy_versions": [version, later["policy_version"]],
        "new_policies": later["policy_version"] - version,
    }


def _recipe(folder: Path) -> Path:
    """Write sac_state with changes of its text."""
    text = find_recipe("sac_state").read_text()
    for old, new in CHANGES.items():
        if old not in text:
            raise ValueError(f"the recipe sac_state has no {old!r}")
        text = text.replace(old, new)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "soon.toml"
    path.write_text(text)
    return path


CASES = {"learning_goes_on": learning_goes_on}
