"""One case of the learner's benchmark in a process of its own; prints one line of JSON.

python -m bench.learner_case sac_c10_utd8 --threads 2 --seconds 3
"""

import argparse
import json
import re
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from serl_rt.learner.agents.drq import DrQAgent
from serl_rt.learner.agents.sac import SACAgent
from serl_rt.learner.compile import CompiledUpdates, compile_updates
from serl_rt.learner.data.batch import Batch, slice_batch
from serl_rt.learner.numerics import Numerics
from serl_rt.learner.process import keep_freed_memory, set_threads
from serl_rt.learner.vision.build import EncoderConfig

OBSERVATION, ACTION, BATCH, IMAGE = 18, 7, 256, 128
SAC = re.compile(r"sac_c(\d+)_utd(\d+)(_last)?(_bf16)?(_eager)?")
DRQ = re.compile(r"drq_b(\d+)_(plain|cached)(_bf16)?")
WARM_UPS = 3


@dataclass(frozen=True)
class Result:
    """What a case measured."""

    seconds: list[float]
    """Of each call."""
    updates_per_call: int
    """Critic updates in a call."""
    prepare_s: float
    """Compiling, or loading what was compiled before."""
    gigaflops: float
    """Matrix products of a call [GFLOP]."""
    matmul_rate: float
    """Best rate of one product of the case's hidden layers, in this process [GFLOP/s]."""
    peak_rss_mib: float
    """Before the rate was measured."""


def run(name: str, seconds: float) -> Result:
    """Build, warm up and time a case. Raises ValueError for an unknown name."""
    if match := SAC.fullmatch(name):
        critics, utd = int(match[1]), int(match[2])
        last, bf16 = bool(match[3]), bool(match[4])
        call, prepare_s = sac_case(critics, utd, last, bf16, bool(match[5]))
        eager, _ = sac_case(critics, utd, last, False, True)
    elif match := DRQ.fullmatch(name):
        critics, utd = 10, 1
        eager = call = drq_case(int(match[1]), match[2] == "cached", bool(match[3]))
        prepare_s = 0.0
    elif name == "act_state":
        critics, utd = 1, 1
        eager = call = acting_case()
        prepare_s = 0.0
    else:
        raise ValueError(f"unknown case '{name}'")
    times = timed(call, seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with FlopCounterMode(display=False) as counter:
        eager()
    rate = matmul_rate(critics)
    return Result(times, utd, prepare_s, counter.get_total_flops() / 1e9, rate, peak)


def timed(call: Callable[[], object], seconds: float) -> list[float]:
    """Return the duration of each call within `seconds`, at least five, after some that warm up."""
    for _ in range(WARM_UPS):
        call()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return times


def sac_case(
    critics: int, utd: int, last: bool, bf16: bool, eager: bool
) -> tuple[Callable[[], object], float]:
    """SERL's state agent: 256x256, tanh, layer norm; of ten critics two are drawn for a target.

    The actor is updated on the whole batch as in SERL, or on its `last` part as in SBX.
    """
    agent = SACAgent.create_states(
        {"state": torch.zeros(1, OBSERVATION)},
        torch.zeros(1, ACTION),
        critic_ensemble_size=critics,
        critic_subsample_size=2 if critics > 2 else None,
    )
    if bf16:
        agent.numerics = Numerics("bfloat16")
    batch = random_batch(BATCH * utd, {})
    began = time.perf_counter()
    parts = [slice_batch(batch, start, start + BATCH) for start in range(0, batch.size, BATCH)]

    def in_parts() -> None:
        for part in parts[:-1]:
            agent.update_critics(part)
        agent.update(parts[-1])

    if last and not eager:
        agent.compiled = CompiledUpdates(agent, required=True)
        in_parts()
    elif not eager:
        compile_updates(agent, batch, utd, required=True)
    prepare_s = time.perf_counter() - began
    if last:
        return in_parts, prepare_s
    if utd == 1:
        return lambda: agent.update(batch), prepare_s
    return lambda: agent.update_high_utd(batch, utd_ratio=utd), prepare_s


def drq_case(size: int, cached: bool, bf16: bool) -> Callable[[], object]:
    """SERL's image agent on a frozen ResNet-10 with random weights; one update of the critics."""
    cameras = ("front", "wrist")
    example = {key: torch.zeros(1, IMAGE, IMAGE, 3, dtype=torch.uint8) for key in cameras}
    precision = "bfloat16" if bf16 else "float32"
    agent = DrQAgent.create_drq(
        {**example, "state": torch.zeros(1, OBSERVATION)},
        torch.zeros(1, ACTION),
        encoder=EncoderConfig(
            "resnet-random", image_keys=cameras, stack=None, trunk_precision=precision
        ),
    )
    shape = (size, IMAGE, IMAGE, 3)
    generator = torch.Generator().manual_seed(1)
    images = {
        key: torch.randint(256, shape, generator=generator, dtype=torch.uint8) for key in cameras
    }
    batch = random_batch(size, images)
    if cached:  # features of frozen trunks stand in the images' place
        with torch.no_grad():
            features = agent.encoder.trunk_features(images)
        batch = random_batch(size, {key: value.clone() for key, value in features.items()})
    return lambda: agent.update_critics(batch)


def acting_case() -> Callable[[], object]:
    """The mode of SERL's state policy for one observation."""
    agent = SACAgent.create_states({"state": torch.zeros(1, OBSERVATION)}, torch.zeros(1, ACTION))
    observation = {"state": torch.randn(1, OBSERVATION)}
    return lambda: agent.sample_actions(observation, argmax=True)


def random_batch(size: int, images: dict[str, Tensor]) -> Batch:
    """Return a batch of noise."""
    g = torch.Generator().manual_seed(0)
    observations = [
        {**images, "state": torch.randn(size, OBSERVATION, generator=g)} for _ in range(2)
    ]
    return Batch(
        observations=observations[0],
        actions=torch.rand(size, ACTION, generator=g) * 2 - 1,
        next_observations=observations[1],
        rewards=torch.randn(size, generator=g),
        masks=torch.ones(size),
    )


def matmul_rate(members: int) -> float:
    """Return the best rate of (members, 256, 256) @ (members, 256, 256) [GFLOP/s]."""
    a, b = torch.randn(2, members, 256, 256).unbind()
    out = torch.empty_like(a)
    best = min(timed(lambda: torch.bmm(a, b, out=out), 0.3))
    return 2 * members * 256**3 / best / 1e9


def main() -> int:
    """Run one case."""
    p = argparse.ArgumentParser(prog="python -m bench.learner_case", description=__doc__)
    p.add_argument("case", help="e.g. sac_c2_utd8, sac_c10_utd1_bf16, drq_b64_cached, act_state")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--seconds", type=float, default=3.0)
    arguments = p.parse_args()
    keep_freed_memory()
    set_threads(arguments.threads)
    try:
        print(json.dumps(asdict(run(arguments.case, arguments.seconds))))
    except ValueError as error:
        p.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
