"""People beside a policy: what they do counts as theirs, and nothing makes a stop wait."""

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from serl_rt.controller.client import CommandError, ControllerClient
from serl_rt.controller.control import onnxruntime_library
from serl_rt.export.messages import StreamTarget, transition_columns
from serl_rt.export.publish import write_policy_file
from serl_rt.export.task import load_task
from serl_rt.learner.agents.build import build_agent
from serl_rt.learner.data.transition_log import TransitionLog
from serl_rt.learner.policy_export import make_exporter
from serl_rt.learner.receive import LearnerServer
from serl_rt.learner.recipe import load_recipe
from serl_rt.sim.processes import free_port

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("SERL_RT_CPP_BUILD", ROOT / "build" / "cpp"))
NATIVE = str(BUILD / "controller/cpp/app/serl-rt-controller")
TASK = load_task("reach")
WAIT_S = 60.0


@contextmanager
def controller(folder: Path, *options: str) -> Iterator[str]:
    """Run a controller; yield where it takes commands."""
    address = f"tcp://127.0.0.1:{free_port()}"
    command = [NATIVE, "--task", TASK.name, "--commands", address, "--state", "none", "--quiet"]
    command += ["--rt-priority", "0", "--onnxruntime", str(onnxruntime_library()), *options]
    with subprocess.Popen([*command, "--policies", str(folder / "store")], cwd=folder) as process:
        try:
            yield address
        finally:
            process.kill()


def status(client: ControllerClient) -> dict[str, Any]:
    result = client.command("status")
    assert isinstance(result, dict)
    return result


def test_a_persons_actions_take_the_place_of_the_policys_and_are_marked(tmp_path: Path) -> None:
    agent = build_agent(load_recipe("sac_state"), TASK.contract, seed=0)
    policy = make_exporter(agent.actor, TASK.contract, "test").export(1, 0)
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
    # A policy that never comes off the disk: reading it takes as long as this test wants.
    (tmp_path / "store").mkdir()
    stored = tmp_path / "store" / f"policy-1-v1-{'0' * 64}.onnx"
    os.mkfifo(stored)
    answers: dict[str, object] = {}

    def ask(name: str, **arguments: int) -> None:
        try:
            with ControllerClient(address, timeout=WAIT_S) as client:
                answers[name] = client.command(name, **arguments)
        except CommandError as error:
            answers[name] = error

    with (
        controller(tmp_path, "--manual", "--record-seconds", "5") as address,
        ControllerClient(address, timeout=WAIT_S) as client,
    ):
        asking = [
            threading.Thread(target=ask, args=("rollback",), kwargs={"version": 1}),
            threading.Thread(target=ask, args=("record",)),
        ]
        client.command("joint_reset", duration_s=30.0)
        asking[0].start()
        with stored.open("wb"):  # returns when the controller reads it: the rollback is under way
            asking[1].start()
            client.command("stop")
            while not status(client)["stopped"]:
                time.sleep(0.01)
            assert not answers
            assert all(thread.is_alive() for thread in asking)
        for thread in asking:
            thread.join(WAIT_S)
        assert status(client)["halted"] is True
    assert isinstance(answers["rollback"], CommandError)
    assert str(answers["record"]).endswith(".mcap")
