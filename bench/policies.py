"""The policy path: a step hot and at 1 kHz, re-export, and hot swap end to end."""

import json
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from bench.policy_files import exporter, policy_module
from bench.programs import CONTROLLER, environment, output_of, program
from bench.rows import Row, make_row
from serl_rt.export.messages import transition_columns
from serl_rt.export.onnx_graph import build_graph
from serl_rt.export.task import TaskFile, load_task
from serl_rt.export.verify import OnnxPolicy, make_probes, open_session
from serl_rt.learner.data.transition_log import TransitionLog
from serl_rt.learner.receive import LearnerServer
from serl_rt.sim.processes import Process

EXPORTS = 30
SWAPS = 40
SWAP_RATE_HZ = 50.0
SWAP_INTERVAL_S = 0.1


def step_rows(task: TaskFile, policy: Path) -> list[Row]:
    """Observation to target in C++, against the same model run from Python."""
    lines = output_of([program("bench_policy"), policy]).splitlines()
    results = {row["name"]: row for row in map(json.loads, lines)}
    python = python_runs_us(task, policy)
    control = "onnxruntime from Python, hot"
    return [
        make_row("policy_hot_us", "us", results["policy_hot_us"]["p50"], control, python),
        make_row("policy_loop_us_p50", "us", results["policy_loop_us"]["p50"], control, python),
    ]


def python_runs_us(task: TaskFile, policy: Path, batches: int = 7, runs: int = 1000) -> list[float]:
    """Time of one run of the policy from Python, per batch [us]."""
    session = OnnxPolicy(policy.read_bytes(), task.contract)
    observation, noise = make_probes(task.contract, 1).row(0)
    result = []
    for _ in range(batches):
        began = time.perf_counter()
        for _ in range(runs):
            session.act(observation, noise)
        result.append((time.perf_counter() - began) / runs * 1e6)
    return result


def export_rows(task: TaskFile) -> list[Row]:
    """Re-export by patching weights and verifying, against building the graph anew."""
    patched = exporter(task)
    patched.export(1, 0)  # builds the template
    times = []
    for version in range(2, EXPORTS + 2):
        began = time.perf_counter()
        patched.export(version, version)
        times.append((time.perf_counter() - began) * 1e3)
    module = policy_module(task).eval()
    whole = []
    for _ in range(3):
        began = time.perf_counter()
        build_graph(module, task.contract)
        whole.append((time.perf_counter() - began) * 1e3)
    return [make_row("export_ms", "ms", times, "exporting the whole graph", whole)]


@contextmanager
def running_pair(folder: Path, task_file: Path, name: str) -> Iterator[tuple[LearnerServer, Path]]:
    """A learner's server in this process and a realtime controller that is connected to it."""
    task = load_task(task_file)
    fields = [(field.name, field.shape) for field in task.contract.observation]
    columns = transition_columns(fields, task.contract.action_dim)
    summary = folder / f"{name}.json"
    with (
        TransitionLog(folder / f"{name}-log", task.contract.contract_id) as log,
        LearnerServer(log, columns, "tcp://127.0.0.1:*") as server,
    ):
        command = [
            str(CONTROLLER), "--task", str(task_file), "--learner", server.address,
            "--state", "none", "--commands", "none", "--policies", str(folder / f"{name}-store"),
            "--summary", str(summary),
        ]  # fmt: skip
        with Process(name, command, folder / f"{name}.log", environment()) as controller:
            yield server, summary
            controller.interrupt()
            controller.wait(10.0)


def fast_task(folder: Path) -> Path:
    """The pick task with a 50 Hz policy and one endless episode.

    At 10 Hz the wait for a step edge, and between episodes the arm's way home, would hide the swap.
    """
    text = load_task("pick_cube").path.read_text()
    for old, new in (
        ("policy_rate_hz = 10.0", f"policy_rate_hz = {SWAP_RATE_HZ}"),
        ("max_steps = 50", "max_steps = 1000000"),
    ):
        assert old in text
        text = text.replace(old, new)
    path = folder / "pick_cube.toml"
    path.write_text(text)
    return path


def swap_rows(folder: Path) -> list[Row]:
    """From publish() to the arrival of the first transition that the new policy acted in."""
    task_file = fast_task(folder)
    source = exporter(load_task(task_file))
    times = []
    with running_pair(folder, task_file, "swap") as (server, _):
        server.publish(source.export(1, 0))
        wait_for_version(server, 1, 30.0)
        for version in range(2, SWAPS + 2):
            policy = source.export(version, 0)
            began = time.perf_counter()
            server.publish(policy)
            wait_for_version(server, version, 5.0)
            times.append((time.perf_counter() - began) * 1e3)
    model = source.export(1, 0).model
    sessions = []
    for _ in range(20):
        began = time.perf_counter()
        open_session(model)
        sessions.append((time.perf_counter() - began) * 1e3)
    return [make_row("swap_ms", "ms", times, "opening an ONNX Runtime session", sessions)]


def wait_for_version(server: LearnerServer, version: int, timeout_s: float) -> None:
    """Wait until a transition of this policy version (or a newer one) is stored."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        server.wait(0.05)
        for batch in server.drain():
            if np.max(batch.columns["policy_version"]) >= version:
                return
    raise TimeoutError(f"policy {version} did not act within {timeout_s} s")


def late_tick_rows(folder: Path, seconds: float) -> list[Row]:
    """Late ticks while a policy is swapped every 100 ms, against the same without, in turn."""
    task_file = fast_task(folder)
    source = exporter(load_task(task_file))
    late: dict[bool, list[float]] = {True: [], False: []}
    for repetition in range(2):
        for swapping in (False, True):
            name = f"late-{'swaps' if swapping else 'control'}{repetition}"
            with running_pair(folder, task_file, name) as (server, summary):
                server.publish(source.export(1, 0))
                wait_for_version(server, 1, 30.0)
                end = time.monotonic() + seconds
                version = 1
                while time.monotonic() < end:
                    version += 1
                    policy = source.export(version, 0)  # the control has this load, too
                    if swapping:
                        server.publish(policy)
                    time.sleep(SWAP_INTERVAL_S)
                    server.drain()
            result = json.loads(summary.read_text())
            late[swapping].append(float(result["late_ticks"]))
            print(
                f"  {name}: {result['late_ticks']} late of {result['ticks']} ticks, "
                f"{result['policies']['swapped']} swaps"
            )
    control = f"the same {seconds:.0f} s without swaps"
    row = make_row("late_ticks_with_swaps", "ticks", late[True], control, late[False])
    print(f"  mean of late ticks {statistics.mean(late[True])} / {statistics.mean(late[False])}")
    return [row]
