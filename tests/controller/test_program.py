"""The controller as a program: both executables, both pacings, learner's server in this process."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cpp_program import CONTROLLER
from numpy.typing import NDArray

from serl_rt.controller.client import CommandError, ControllerClient, StateSubscriber
from serl_rt.controller.control import onnxruntime_library
from serl_rt.export.columns import transition_columns
from serl_rt.export.publish import PolicyFile, write_policy_file
from serl_rt.export.task import load_task
from serl_rt.learner.agents.build import build_agent
from serl_rt.learner.data.transition_log import TransitionLog
from serl_rt.learner.policy_export import make_exporter
from serl_rt.learner.receive import LearnerServer
from serl_rt.learner.recipe import load_recipe
from serl_rt.sim.processes import free_port

NATIVE = [CONTROLLER]
PYTHON = [sys.executable, "-m", "serl_rt.cli", "control"]
QUIET = ["--state", "none", "--commands", "none"]


@pytest.fixture(scope="module")
def policies() -> list[PolicyFile]:
    """Three versions of an untrained policy for the reach task."""
    contract = load_task("reach").contract
    agent = build_agent(load_recipe("sac_state"), contract, seed=0)
    exporter = make_exporter(agent, contract, "test")
    return [exporter.export(version, 0) for version in (1, 2, 3)]


@pytest.fixture
def policy_file(policies: list[PolicyFile], tmp_path: Path) -> Path:
    path = tmp_path / "policy.onnx"
    write_policy_file(policies[0], path)
    return path


def run(program: list[str], *options: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*program, *options, "--policies", str(folder / "store")],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
    )


@contextmanager
def learner_server(folder: Path, task: str = "reach") -> Iterator[LearnerServer]:
    contract = load_task(task).contract
    fields = [(field.name, field.shape) for field in contract.observation]
    columns = transition_columns(fields, contract.action_dim)
    with (
        TransitionLog(folder, contract.contract_id) as log,
        LearnerServer(log, columns, "tcp://127.0.0.1:*") as server,
    ):
        yield server


@contextmanager
def started(program: list[str], *options: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*program, *options, "--policies", str(folder / "store")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def collect(server: LearnerServer, count: int) -> dict[str, NDArray[Any]]:
    """The first `count` transitions that arrive, as columns."""
    batches = []
    end = time.monotonic() + 60
    received = 0
    while received < count:
        assert time.monotonic() < end, f"{received} of {count} transitions arrived"
        server.wait(0.2)
        for batch in server.drain():
            batches.append(batch.columns)
            received += len(batch.columns["reward"])
    return {
        name: np.concatenate([np.asarray(batch[name]) for batch in batches])[:count]
        for name in batches[0]
    }


def lockstep_transitions(
    program: list[str], policy: Path, folder: Path, seed: int
) -> dict[str, NDArray[Any]]:
    folder.mkdir()
    with learner_server(folder / "log") as server:
        server.grant(200)
        with started(
            program, "--task", "reach", "--lockstep", "--policy", str(policy),
            "--learner", server.address, "--seed", str(seed), "--evaluate-every", "2", *QUIET,
            folder=folder,
        ):  # fmt: skip
            return collect(server, 200)


def test_same_seed_gives_the_same_bits(policy_file: Path, tmp_path: Path) -> None:
    first = lockstep_transitions(NATIVE, policy_file, tmp_path / "a", seed=5)
    second = lockstep_transitions(PYTHON, policy_file, tmp_path / "b", seed=5)
    other = lockstep_transitions(NATIVE, policy_file, tmp_path / "c", seed=6)
    assert set(first) == set(second)
    for name in first:
        assert first[name].tobytes() == second[name].tobytes(), name
    assert first["action"].tobytes() != other["action"].tobytes()


def test_transitions_are_consistent(policy_file: Path, tmp_path: Path) -> None:
    columns = lockstep_transitions(NATIVE, policy_file, tmp_path / "a", seed=0)
    same_episode = columns["step"][1:] > 0
    for field in load_task("reach").contract.observation:
        following = columns[f"next_observation/{field.name}"][:-1]
        observed = columns[f"observation/{field.name}"][1:]
        assert np.array_equal(following[same_episode], observed[same_episode])
    assert columns["truncated"].sum() == 4
    assert columns["step"].max() == 49
    assert np.array_equal(columns["evaluation"][::50], [0, 1, 0, 1])
    assert np.all(np.abs(columns["action"]) <= 1.0)
    assert set(columns["policy_version"]) == {1}
    # 10 Hz on the robot's clock, whatever the wall clock did.
    assert set(np.diff(columns["time_ns"].astype(np.int64))[same_episode]) == {100_000_000}


def test_lockstep_keeps_to_the_credit(policy_file: Path, tmp_path: Path) -> None:
    with learner_server(tmp_path / "log") as server:
        server.grant(73)
        with started(
            NATIVE, "--task", "reach", "--lockstep", "--policy", str(policy_file),
            "--learner", server.address, *QUIET, folder=tmp_path,
        ):  # fmt: skip
            collect(server, 73)
            assert not server.wait(1.0)
            server.grant(90)
            assert len(collect(server, 17)["reward"]) == 17
            assert not server.wait(0.5)


def test_policies_are_swapped_and_interrupt_leaves_nothing(
    policies: list[PolicyFile], tmp_path: Path
) -> None:
    summary = tmp_path / "summary.json"
    with learner_server(tmp_path / "log") as server:
        server.grant(10**9)
        with started(
            PYTHON, "--task", "reach", "--lockstep", "--learner", server.address,
            "--summary", str(summary), *QUIET, folder=tmp_path,
        ) as process:  # fmt: skip
            for policy in policies:
                server.publish(policy)
                end = time.monotonic() + 60
                version = 0
                while version < policy.version:
                    assert time.monotonic() < end
                    version = int(collect(server, 1)["policy_version"].max())
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=10)
            assert time.monotonic() - began < 2.0 + slow_machine_s()
            assert process.returncode == 0, output
            stored = server.stats.transitions
    result = json.loads(summary.read_text())
    assert result["policies"]["swapped"] == 3
    assert result["link"]["pushed"] == result["link"]["acknowledged"] == stored
    # The last good policy starts a controller that has no learner.
    again = run(NATIVE, "--task", "reach", "--lockstep", "--steps", "60",
                "--summary", str(summary), *QUIET, folder=tmp_path)  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert json.loads(summary.read_text())["policies"]["active_version"] == 3


def slow_machine_s() -> float:
    """Allowance for a machine that is busy with something else [s]."""
    return 2.0 * os.getloadavg()[0]


def test_a_bad_policy_is_refused_while_the_arm_goes_on(
    policies: list[PolicyFile], tmp_path: Path
) -> None:
    with learner_server(tmp_path / "log") as server:
        server.grant(10**9)
        with started(
            NATIVE, "--task", "reach", "--lockstep", "--learner", server.address, *QUIET,
            folder=tmp_path,
        ):  # fmt: skip
            server.publish(policies[0])
            collect(server, 10)
            contract = load_task("pick_cube").contract
            agent = build_agent(load_recipe("rlpd_state"), contract, seed=0)
            other = make_exporter(agent, contract, "test").export(9, 0)
            truncated = policies[1].model[:1000]
            server.publish(with_model(policies[1], truncated))
            verdict = next_verdict(server)
            assert not verdict.accepted
            assert verdict.reason
            server.publish(with_model(policies[2], other.model))
            verdict = next_verdict(server)
            assert not verdict.accepted
            assert "contract" in verdict.reason
            server.drain()
            assert set(collect(server, 10)["policy_version"]) == {1}


def with_model(policy: PolicyFile, model: bytes) -> PolicyFile:
    """The announcement of one policy with the bytes of another."""
    import dataclasses
    import hashlib

    return dataclasses.replace(policy, model=model, sha256=hashlib.sha256(model).hexdigest())


def next_verdict(server: LearnerServer) -> Any:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        for verdict in server.policy_verdicts():
            if verdict.version > 1:
                return verdict
        server.wait(0.05)
        server.drain()
    raise AssertionError("no verdict came")


def await_status(
    client: ControllerClient, condition: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """Ask for the status until it is as wanted."""
    end = time.monotonic() + 30
    while True:
        status = client.command("status")
        assert isinstance(status, dict)
        if condition(status):
            return status
        assert time.monotonic() < end, status
        time.sleep(0.02)


def test_realtime_and_commands(policy_file: Path, tmp_path: Path) -> None:
    state, commands = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
    summary = tmp_path / "summary.json"
    with started(
        NATIVE, "--task", "reach", "--policy", str(policy_file), "--state", state,
        "--commands", commands, "--summary", str(summary), folder=tmp_path,
    ) as process:  # fmt: skip
        with ControllerClient(commands, timeout=10.0) as client:
            status = client.command("status")
            assert isinstance(status, dict)
            assert status["policies_swapped"] in (0, 1)
            client.command("set_gains", translational_stiffness=800.0)
            with pytest.raises(CommandError, match=r"translational_stiffness.*6000"):
                client.command("set_gains", translational_stiffness=9000.0)
            with pytest.raises(CommandError, match="status"):
                client.command("dance")
            with StateSubscriber(state) as states:
                assert states.receive(timeout=10.0).q.shape == (7,)
            client.command("stop")
            stopped = await_status(client, lambda status: status["stopped"])
            assert stopped["paused"] is True
            assert stopped["mode"] == "hold"
            steps = await_status(client, lambda status: True)["steps"]
            time.sleep(0.5)  # longer than a policy period: nothing acts meanwhile
            assert await_status(client, lambda status: True)["steps"] <= steps + 1
            client.command("resume")
            await_status(client, lambda status: status["steps"] > steps + 1)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=20)
        assert process.returncode == 0, output
    result = json.loads(summary.read_text())
    assert result["pacing"] == "realtime"
    assert result["ticks"] > 100
    assert result["faults"]["stop_requested"]["count"] >= 1


@pytest.mark.parametrize("program", [NATIVE, PYTHON], ids=["native", "python"])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--task", "nosuch"], ["nosuch", "pick_cube", "reach"]),
        (["--task", "reach", "--driver", "ur5"], ["driver", "sim"]),
        (["--task", "reach", "--lockstep"], ["--learner", "--policy"]),
        (["--task", "reach", "--policy", "missing.onnx"], ["missing.onnx"]),
        (["--task", "reach", "--policy", "broken.onnx"], ["broken.onnx", "refused"]),
        (["--task", "wrong.toml"], ["wrong.toml", "stifness", "translational_stiffness"]),
        (["--task", "range.toml"], ["range.toml", "translational_stiffness", "6000"]),
        (["--task", "reach", "--learner", "tcp://10.0.0.1:5588"], ["10.0.0.1", "keys"]),
        (["--task", "reach", "--episodes", "many"], ["episodes", "many"]),
        (
            ["--task", "reach", "--evaluate-every", "2", "--evaluations", "3"],
            ["--evaluations 3", "from 1 to --evaluate-every (2)"],
        ),
    ],
)
def test_user_errors_are_sentences(
    program: list[str], options: list[str], words: list[str], tmp_path: Path
) -> None:
    text = load_task("reach").path.read_text()
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    (tmp_path / "wrong.toml").write_text(text.replace("[impedance]", "[impedance]\nstifness = 1"))
    stiff = text.replace("translational_stiffness = 1500.0", "translational_stiffness = 60000.0")
    (tmp_path / "range.toml").write_text(stiff)
    result = run(program, *options, *QUIET, folder=tmp_path)
    assert result.returncode in (1, 2)
    message = result.stdout + result.stderr
    assert "Traceback" not in message
    assert "terminate" not in message
    for word in words:
        assert word in message, message


def test_native_program_needs_no_python(tmp_path: Path, policy_file: Path) -> None:
    linked = subprocess.run(["ldd", NATIVE[0]], capture_output=True, text=True, check=True).stdout
    assert "libpython" not in linked
    library = onnxruntime_library()
    assert library is not None
    result = subprocess.run(
        [*NATIVE, "--task", "reach", "--lockstep", "--policy", str(policy_file), "--steps", "20",
         "--onnxruntime", str(library), "--policies", str(tmp_path / "store"), *QUIET],
        capture_output=True, text=True, timeout=60, cwd=tmp_path, env={"PATH": "/nonexistent"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr


def learn_command(run: Path, port: int, *options: str) -> list[str]:
    return [
        sys.executable, "-u", "-m", "serl_rt.cli", "learn", "--recipe", "sac_state",
        "--task", "reach", "--bind", f"tcp://127.0.0.1:{port}", "--run", str(run),
        "--no-tensorboard", "--max-env-steps", "700", *options,
    ]  # fmt: skip


def test_nothing_counts_twice_when_a_killed_learner_comes_back(tmp_path: Path) -> None:
    port, learner_run, summary = free_port(), tmp_path / "run", tmp_path / "summary.json"
    with started(
        NATIVE, "--task", "reach", "--lockstep", "--learner", f"tcp://127.0.0.1:{port}",
        "--evaluate-every", "3", "--summary", str(summary), *QUIET, folder=tmp_path,
    ) as controller:  # fmt: skip
        first = subprocess.Popen(
            learn_command(learner_run, port), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True,
        )  # fmt: skip
        metrics = learner_run / "metrics.jsonl"
        end = time.monotonic() + 60
        while not metrics.exists() or metrics.read_text().count("\n") < 6:
            assert time.monotonic() < end, "the learner received nothing"
            time.sleep(0.05)
        first.kill()
        first.communicate()

        # The same controller lives on: it resends while the log is being read.
        second = subprocess.run(
            learn_command(learner_run, port, "--resume"),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert second.returncode == 0, second.stdout + second.stderr
        controller.send_signal(signal.SIGINT)
        output, _ = controller.communicate(timeout=20)
        assert controller.returncode == 0, output
    learned = json.loads((learner_run / "summary.json").read_text())
    controlled = json.loads(summary.read_text())
    assert learned["reason"] == "max_env_steps"
    stored = learned["transitions_stored"]
    assert learned["env_steps"] + learned["evaluation_steps"] == stored
    assert controlled["link"]["pushed"] == controlled["link"]["acknowledged"] == stored


def test_a_library_that_is_none_is_an_error_and_no_crash(policy_file: Path, tmp_path: Path) -> None:
    text = tmp_path / "libonnxruntime.so"
    text.write_text("not a library")
    environment = os.environ | {"SERL_RT_ONNXRUNTIME": str(text)}
    result = subprocess.run(
        [*NATIVE, "--task", "reach", "--lockstep", "--policy", str(policy_file), "--steps", "1",
         "--onnxruntime", str(text), *QUIET],
        capture_output=True, text=True, timeout=60, cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert result.returncode in (0, 1)  # 0 where the system has the library
    assert result.returncode == 0 or "Tried:" in result.stderr
