"""A policy that sees two images of 128 x 128 through a ResNet-10: acting, and being swapped."""

import json
import statistics
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch

from bench.policy_files import exporter as state_exporter
from bench.programs import output_of, program
from bench.rows import Row, make_row
from bench.swaps import endless_task, late_ticks, session_times_ms, swap_times_ms
from serl_rt.export.onnx_graph import PolicyExporter
from serl_rt.export.policy_module import PolicyModule
from serl_rt.export.publish import write_policy_file
from serl_rt.export.task import TaskFile, load_task
from serl_rt.export.verify import make_probes
from serl_rt.learner.agents.build import build_agent
from serl_rt.learner.agents.drq import DrQAgent
from serl_rt.learner.policy_export import ActorModule, frozen_weights
from serl_rt.learner.recipe import Recipe, load_recipe
from serl_rt.sim.processes import Process

SIDE = 128
RATE_HZ = 20.0
"""Of the policy where it is swapped: the fastest that leaves it half of its period."""
RUNS = 20
"""Of torch, a repetition."""
REPETITIONS = 3
SWAPS = 15
LATE_PAIRS = 3
SWAP_INTERVAL_S = 0.5


def rows(folder: Path, seconds: float) -> list[Row]:
    """Return every row; the longest runs take `seconds` each."""
    task_file = pixel_task(folder)
    task = load_task(task_file)
    module = policy_module(task)
    source = PolicyExporter(module, task.contract, recipe().name, frozen_weights(module))
    return [
        *act_rows(folder, task, module, source),
        *swap_rows(folder, task_file, source),
        *late_tick_rows(folder, task_file, source, seconds),
    ]


def pixel_task(folder: Path) -> Path:
    """Picking the cube with the cameras' full size."""
    edits = {"height = 72": f"height = {SIDE}", "width = 72": f"width = {SIDE}"}
    return endless_task(folder, "pick_cube_vision", RATE_HZ, edits)


def recipe() -> Recipe:
    """SERL's network: one frozen ResNet-10 for both cameras, its learned pooling, 256 x 256.

    With random weights, which take as long as trained ones.
    """
    bundled = load_recipe("drq_rlpd_cached")
    assert bundled.encoder is not None
    encoder = replace(
        bundled.encoder, type="resnet-random", crop=None, bottleneck_dim=256, cached_crops=0
    )
    policy = replace(bundled.policy, hidden_dims=(256, 256))
    return replace(bundled, name="resnet10", encoder=encoder, policy=policy)


def policy_module(task: TaskFile) -> PolicyModule:
    """Return an untrained policy for the task."""
    agent = build_agent(recipe(), task.contract, seed=0)
    assert isinstance(agent, DrQAgent)
    return PolicyModule(task.contract, ActorModule(agent.actor)).eval()


def act_rows(
    folder: Path, task: TaskFile, module: PolicyModule, source: PolicyExporter
) -> list[Row]:
    """Observation to target in C++, against the network alone in eager torch; a core each."""
    path = folder / "pixels.onnx"
    write_policy_file(source.export(1, 0), path)
    ours: list[float] = []
    eager: list[float] = []
    for _ in range(REPETITIONS):  # in turn: what else the machine does meets both
        lines = output_of([program("bench_policy"), path, "--hot-only"]).splitlines()
        results = {row["name"]: row for row in map(json.loads, lines)}
        ours += [us * 1e-3 for us in results["policy_hot_us"]["p50"]]
        eager.append(eager_ms(task, module))
    return [make_row("pixel_policy_ms_p50", "ms", ours, "torch eager, one thread", eager)]


def eager_ms(task: TaskFile, module: PolicyModule) -> float:
    """Median time of the module on one observation [ms]."""
    observation, noise = make_probes(task.contract, 1).row(0)
    tensors = {name: torch.from_numpy(value) for name, value in observation.items()}
    times = []
    with torch.inference_mode():
        for _ in range(RUNS + 1):
            began = time.perf_counter()
            module(tensors, torch.from_numpy(noise))
            times.append((time.perf_counter() - began) * 1e3)
    return statistics.median(times[1:])


def swap_rows(folder: Path, task_file: Path, source: PolicyExporter) -> list[Row]:
    """From publish() to the first transition of the new policy, and what is sent for it."""
    times = swap_times_ms(folder, task_file, source, SWAPS)
    policy = source.export(1, 0)
    sessions = session_times_ms(policy.model)
    whole = len(policy.model) / 1e6
    sent = whole - policy.trunk_size / 1e6
    return [
        make_row("pixel_swap_ms", "ms", times, "opening an ONNX Runtime session", sessions),
        make_row("pixel_policy_sent_mb", "MB", [sent], "the whole file", [whole]),
    ]


def late_tick_rows(
    folder: Path, task_file: Path, source: PolicyExporter, seconds: float
) -> list[Row]:
    """Late ticks while policies see and are swapped, against neither, in turn.

    The control acts with a policy on states at the same rate and draws no images, while another
    process does an image policy's work; image policies are exported in both.
    """
    control_file = endless_task(folder, "pick_cube", RATE_HZ)
    state = state_exporter(load_task(control_file))
    path = folder / "load.onnx"
    write_policy_file(source.export(1, 0), path)
    load = [sys.executable, "-m", "bench.acting_load", str(task_file), str(path),
            str(RATE_HZ), str(SWAP_INTERVAL_S)]  # fmt: skip
    late: dict[bool, list[float]] = {True: [], False: []}
    for repetition in range(LATE_PAIRS):
        for pixels in (False, True):
            name = f"pixels-{'swaps' if pixels else 'control'}{repetition}"
            with nullcontext() if pixels else Process(name + "-load", load, folder / "load.log"):
                ticks = late_ticks(
                    folder, name, task_file if pixels else control_file,
                    source if pixels else state, source,
                    seconds=seconds, interval_s=SWAP_INTERVAL_S, swapping=pixels,
                )  # fmt: skip
            late[pixels].append(ticks)
    control = f"a state policy for the same {seconds:.0f} s, its work done by another process"
    return [make_row("late_ticks_with_pixel_swaps", "ticks", late[True], control, late[False])]
