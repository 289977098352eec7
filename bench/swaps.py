"""Policies on their way into a running controller: how long a swap takes, what it disturbs."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from bench.programs import CONTROLLER, environment
from serl_rt.export.columns import transition_columns
from serl_rt.export.onnx_graph import PolicyExporter
from serl_rt.export.task import load_task
from serl_rt.export.verify import open_session
from serl_rt.learner.data.transition_log import TransitionLog
from serl_rt.learner.receive import LearnerServer
from serl_rt.sim.processes import Process

FIRST_POLICY_S = 30.0
SWAP_TIMEOUT_S = 5.0
SESSIONS = 20


def edited_task(folder: Path, name: str, edits: Mapping[str, str]) -> Path:
    """Write a bundled task with other lines in the folder; each must be there to be replaced."""
    text = load_task(name).path.read_text()
    for old, new in edits.items():
        assert old in text, f"{name} has no line '{old}'"
        text = text.replace(old, new)
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


def endless_task(
    folder: Path, name: str, rate_hz: float, edits: Mapping[str, str] | None = None
) -> Path:
    """A task at another policy rate, in one endless episode.

    At 10 Hz the wait for a step edge, and between episodes the arm's way home, would hide the swap.
    """
    usual = {
        "policy_rate_hz = 10.0": f"policy_rate_hz = {rate_hz}",
        "max_steps = 50": "max_steps = 1000000",
    }
    return edited_task(folder, name, usual | dict(edits or {}))


@contextmanager
def running_pair(folder: Path, task_file: Path, name: str) -> Iterator[tuple[LearnerServer, Path]]:
    """A learner's server in this process and a realtime controller that is connected to it.

    The controller's summary is in the file that comes second, once this has ended.
    """
    contract = load_task(task_file).contract
    columns = transition_columns(
        [(field.name, field.shape) for field in contract.observation],
        contract.action_dim,
        [(image.name, (image.height, image.width, 3)) for image in contract.images],
    )
    summary = folder / f"{name}.json"
    with (
        TransitionLog(folder / f"{name}-log", contract.contract_id) as log,
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


def swap_times_ms(folder: Path, task_file: Path, source: PolicyExporter, swaps: int) -> list[float]:
    """From publish() to the arrival of the first transition that the new policy acted in [ms]."""
    times = []
    with running_pair(folder, task_file, "swap") as (server, _):
        server.publish(source.export(1, 0))
        wait_for_version(server, 1, FIRST_POLICY_S)
        for version in range(2, swaps + 2):
            policy = source.export(version, 0)
            began = time.perf_counter()
            server.publish(policy)
            wait_for_version(server, version, SWAP_TIMEOUT_S)
            times.append((time.perf_counter() - began) * 1e3)
    return times


def session_times_ms(model: bytes) -> list[float]:
    """What a swap cannot do without: ONNX Runtime's reading of the model [ms]."""
    times = []
    for _ in range(SESSIONS):
        began = time.perf_counter()
        open_session(model)
        times.append((time.perf_counter() - began) * 1e3)
    return times


def wait_for_version(server: LearnerServer, version: int, timeout_s: float) -> None:
    """Wait until a transition of this policy version (or a newer one) is stored."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        server.wait(0.05)
        for batch in server.drain():
            if np.max(batch.columns["policy_version"]) >= version:
                return
    refused = [v for v in server.policy_verdicts() if not v.accepted]
    why = f": the controller refused it: {refused[-1].reason}" if refused else ""
    raise TimeoutError(f"policy {version} did not act within {timeout_s} s{why}")


def late_ticks(
    folder: Path,
    name: str,
    task_file: Path,
    source: PolicyExporter,
    load: PolicyExporter,
    *,
    seconds: float,
    interval_s: float,
    swapping: bool,
) -> float:
    """Late ticks of a controller while it acts with the policies of `source`.

    Every `interval_s` a policy of `load` is exported; with `swapping` it is published, too.
    """
    with running_pair(folder, task_file, name) as (server, summary):
        server.publish(source.export(1, 0))
        wait_for_version(server, 1, FIRST_POLICY_S)
        end = time.monotonic() + seconds
        version = 1
        while time.monotonic() < end:
            version += 1
            policy = load.export(version, 0)
            if swapping:
                server.publish(policy)
            time.sleep(interval_s)
            server.drain()
    result = json.loads(summary.read_text())
    print(
        f"  {name}: {result['late_ticks']} late of {result['ticks']} ticks, "
        f"{result['policies']['swapped']} swaps"
    )
    return float(result["late_ticks"])
