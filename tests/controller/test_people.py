"""People beside a policy: what they do counts as theirs, and nothing makes a stop wait."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cpp_program import CONTROLLER

from serl_rt.controller.client import ControllerClient, NoAnswerError
from serl_rt.controller.control import onnxruntime_library
from serl_rt.export.columns import transition_columns
from serl_rt.export.operator_messages import StreamTarget
from serl_rt.export.publish import write_policy_file
from serl_rt.export.task import load_task
from serl_rt.learner.agents.build import build_agent
from serl_rt.learner.data.transition_log import TransitionLog
from serl_rt.learner.policy_export import make_exporter
from serl_rt.learner.receive import LearnerServer
from serl_rt.learner.recipe import load_recipe
from serl_rt.sim.processes import free_port

TASK = load_task("reach")
WAIT_S = 60.0


@contextmanager
def controller(folder: Path, *options: str) -> Iterator[str]:
    """Run a controller; yield where it takes commands."""
    address = f"tcp://127.0.0.1:{free_port()}"
    command = [CONTROLLER, "--task", TASK.name, "--commands", address, "--state", "none", "--quiet"]
    command += ["--rt-priority", "0", "--onnxruntime", str(onnxruntime_library()), *options]
    with subprocess.Popen([*command, "--policies", str(folder / "store")], cwd=folder) as process:
        try:
            yield address
        finally:
            process.kill()


def await_status(client: ControllerClient, condition: Callable[[dict[str, Any]], bool]) -> None:
    """Ask for the status until it is as wanted."""
    end = time.monotonic() + WAIT_S
    while True:
        status = client.command("status")
        assert isinstance(status, dict)
        if condition(status):
            return
        assert time.monotonic() < end, status
        time.sleep(0.01)


def test_a_persons_actions_take_the_place_of_the_policys_and_are_marked(tmp_path: Path) -> None:
    agent = build_agent(load_recipe("sac_state"), TASK.contract, seed=0)
    policy = make_exporter(agent, TASK.contract, "test").export(1, 0)
    write_policy_file(policy, tmp_path / "policy.onnx")
    fields = [(field.name, field.shape) for field in TASK.contract.observation]
    person = np.linspace(-0.75, 0.75, TASK.contract.action_dim)
    marks: list[bool] = []
    with (
        TransitionLog(tmp_path / "log", TASK.contract.contract_id) as log,
        LearnerServer(
            log, transition_columns(fields, TASK.contract.action_dim), "tcp://127.0.0.1:*"
        ) as server,
        controller(
            tmp_path, "--policy", str(tmp_path / "policy.onnx"), "--learner", server.address,
            "--record", "off",
        ) as address,
        ControllerClient(address, timeout=WAIT_S) as client,
    ):  # fmt: skip
        end = time.monotonic() + WAIT_S
        # The policy acts, then the person, who falls silent, and the policy acts again.
        while np.count_nonzero(np.diff(marks)) < 2:
            assert time.monotonic() < end, marks
            if sum(marks) < 3 and not all(marks):
                client.send(StreamTarget("action", person.tolist(), 0.3))
            server.wait(0.05)
            for batch in server.drain():
                columns = batch.columns
                for action, mark in zip(columns["action"], columns["intervention"], strict=True):
                    assert np.allclose(action, person, atol=1e-6) == bool(mark)
                    marks.append(bool(mark))
    assert sum(marks) >= 3


def test_nothing_that_takes_long_makes_a_stop_wait(tmp_path: Path) -> None:
    with (
        controller(tmp_path, "--manual", "--record-seconds", "5") as address,
        ControllerClient(address, timeout=WAIT_S) as client,
        ControllerClient(address, timeout=1.0) as other,
    ):
        client.command("joint_reset", duration_s=30.0)
        # A policy that does not come off the disk: nobody writes to this pipe yet.
        (folder,) = (tmp_path / "store").iterdir()
        stored = folder / f"policy-1-v1-{'0' * 64}.onnx"
        os.mkfifo(stored)
        with pytest.raises(NoAnswerError):
            other.command("rollback", version=1)
        with pytest.raises(NoAnswerError):
            other.command("record")  # after the rollback
        client.command("stop")
        await_status(client, lambda status: status["stopped"] and status["halted"])
        # This succeeds only while the rollback still waits to read.
        os.close(os.open(stored, os.O_WRONLY | os.O_NONBLOCK))
        await_status(client, lambda status: "cannot be read" in status["last_refusal"])
        assert str(client.command("record")).endswith(".mcap")
