"""The 1 kHz side: the tick hot and in its loop, the machine's wake-up, lockstep speed."""

import json
import time
from pathlib import Path

import mujoco
import numpy as np

from bench.programs import output_of, program, run_controller
from bench.rows import Row, make_row
from serl_rt.sim.envs import ASSETS, TICK_NS, SimArmEnv

EPISODES = 20
REPETITIONS = 5
CYCLICTEST_BUCKETS_US = 20_000


def lockstep_rows() -> list[Row]:
    """Ticks a second of law, limits, physics and contacts, against bare physics of the scene."""
    env = SimArmEnv("pick_cube")
    rng = np.random.default_rng(0)
    rates, bare = [], []
    for _ in range(REPETITIONS):
        before, began = env.time_ns // TICK_NS, time.perf_counter()
        for episode in range(EPISODES):
            env.reset(seed=episode)
            for _ in range(50):
                env.step(rng.uniform(-1, 1, 4).astype(np.float32))
        ticks = env.time_ns // TICK_NS - before
        rates.append(ticks / (time.perf_counter() - began))
        bare.append(bare_steps_per_s())
    return [make_row("lockstep_ticks_per_s", "1/s", rates, "mj_step alone, same scene", bare)]


def bare_steps_per_s(steps: int = 50_000) -> float:
    """Steps a second of MuJoCo alone: no law, no hand-over, the arm falling on the table."""
    model = mujoco.MjModel.from_xml_path(str(ASSETS / "pick_cube.xml"))
    data = mujoco.MjData(model)
    mujoco.mj_step(model, data, nstep=2000)
    began = time.perf_counter()
    mujoco.mj_step(model, data, nstep=steps)
    return steps / (time.perf_counter() - began)


def hot_rows() -> tuple[list[Row], list[float]]:
    """The tick in a hot loop; also returns its batches [us], the control of the loop rows."""
    results = json.loads(output_of([program("bench_tick")]))
    tick = [ns * 1e-3 for ns in results["tick_ns"]]
    svd = [ns * 1e-3 for ns in results["nullspace_svd_ns"]]
    control = "null-space projection alone, by SVD (SERL's way)"
    return [make_row("tick_hot_us", "us", tick, control, svd)], tick


def loop_rows(folder: Path, policy: Path, seconds: float, hot: list[float]) -> list[Row]:
    """The tick inside the real-time loop, where caches are cold between ticks."""
    steps = str(max(10, round(10 * seconds)))
    p50, p99 = [], []
    for i in range(REPETITIONS):
        summary = run_controller(
            folder / f"loop{i}.json", "--task", "pick_cube", "--policy", str(policy),
            "--steps", steps,
        )  # fmt: skip
        p50.append(summary["tick_us"]["p50"])
        p99.append(summary["tick_us"]["p99"])
    control = "the same tick in a hot loop"
    return [
        make_row("tick_loop_us_p50", "us", p50, control, hot),
        make_row("tick_loop_us_p99", "us", p99, control, hot),
    ]


def wakeup_rows(seconds: float) -> list[Row]:
    """How late the control thread wakes, against cyclictest, in turn."""
    ours, cyclictest = [], []
    whole = str(max(1, round(seconds)))
    for _ in range(REPETITIONS):
        (result,) = json.loads(output_of([program("bench_wakeup"), whole, "1"]))
        ours.append(result["p999"] * 1e-3)
        cyclictest.append(cyclictest_p999_us(max(1, round(seconds))))
    return [make_row("wakeup_us_p999", "us", ours, "cyclictest -m -p80 -i1000", cyclictest)]


def cyclictest_p999_us(seconds: int) -> float:
    """99.9th percentile of cyclictest's wake-up latency [us]."""
    output = output_of(
        ["cyclictest", "-m", "-p80", "-i1000", f"-l{seconds * 1000}", "-q",
         f"-h{CYCLICTEST_BUCKETS_US}"],
    )  # fmt: skip
    counts = [
        (int(fields[0]), int(fields[1]))
        for line in output.splitlines()
        if line[:1].isdigit() and len(fields := line.split()) == 2
    ]
    missing = seconds * 1000 - sum(count for _, count in counts)
    allowed = 0.001 * seconds * 1000 - missing  # overflows lie above every bucket
    for latency, count in reversed(counts):
        allowed -= count
        if allowed < 0:
            return float(latency)
    return 0.0
