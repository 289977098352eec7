"""The policy path: a step hot and at 1 kHz, re-export, and hot swap end to end."""

import json
import statistics
import time
from pathlib import Path

from bench.policy_files import exporter, policy_module
from bench.programs import output_of, program
from bench.rows import Row, make_row
from bench.swaps import endless_task, late_ticks, session_times_ms, swap_times_ms
from serl_rt.export.onnx_graph import build_graph
from serl_rt.export.task import TaskFile, load_task
from serl_rt.export.verify import OnnxPolicy, make_probes

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


def fast_task(folder: Path) -> Path:
    """The pick task, fast enough to see a swap."""
    return endless_task(folder, "pick_cube", SWAP_RATE_HZ)


def swap_rows(folder: Path) -> list[Row]:
    """From publish() to the arrival of the first transition that the new policy acted in."""
    task_file = fast_task(folder)
    source = exporter(load_task(task_file))
    times = swap_times_ms(folder, task_file, source, SWAPS)
    sessions = session_times_ms(source.export(1, 0).model)
    return [make_row("swap_ms", "ms", times, "opening an ONNX Runtime session", sessions)]


def late_tick_rows(folder: Path, seconds: float) -> list[Row]:
    """Late ticks while a policy is swapped every 100 ms, against the same without, in turn."""
    task_file = fast_task(folder)
    source = exporter(load_task(task_file))
    late: dict[bool, list[float]] = {True: [], False: []}
    for repetition in range(2):
        for swapping in (False, True):
            name = f"late-{'swaps' if swapping else 'control'}{repetition}"
            ticks = late_ticks(
                folder, name, task_file, source, source,
                seconds=seconds, interval_s=SWAP_INTERVAL_S, swapping=swapping,
            )  # fmt: skip
            late[swapping].append(ticks)
    control = f"the same {seconds:.0f} s without swaps"
    row = make_row("late_ticks_with_swaps", "ticks", late[True], control, late[False])
    print(f"  mean of late ticks {statistics.mean(late[True])} / {statistics.mean(late[False])}")
    return [row]
