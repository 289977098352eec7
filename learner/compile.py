"""Compiled updates: the whole update as one traced function, compiled by TorchInductor.

An eager update of small networks spends most of its time between its operations. Here losses,
gradients, Adam and the targets' EMA become one graph (see traced_update.py and
tracing.py), and the compiler fuses what is between the matrix products. A compiled update is
compared with the eager one before it is used.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch._inductor
from torch import Tensor, nn
from torch.fx import GraphModule

from serl_rt.learner.agents.high_utd import critics_leave_policy, mean_and_std
from serl_rt.learner.data.batch import Batch, named_tensors, slice_batch
from serl_rt.learner.draws import GeneratorDraws
from serl_rt.learner.networks.states import Observations, count_rows, slice_observations
from serl_rt.learner.optim import BETA1
from serl_rt.learner.traced_policy import TracedPolicy
from serl_rt.learner.traced_update import TracedUpdate
from serl_rt.learner.train_state import TrainState

if TYPE_CHECKING:
    from serl_rt.learner.agents.losses import Info
    from serl_rt.learner.agents.sac import SACAgent

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tolerance:
    """How far rounding, in another order, may take a compiled update from the eager one."""

    moments: float
    """Largest difference of Adam's moments, relative to the tensor's largest."""
    parameters: float
    """Largest difference of parameters where rounding does not decide where Adam's step goes."""


TOLERANCES: Mapping[str, Tolerance] = {
    "float32": Tolerance(moments=1e-4, parameters=1e-5),
    # Eight bits of mantissa: a product's rounding is 0.4 % of it.
    "bfloat16": Tolerance(moments=3e-2, parameters=1e-4),
}
INDUCTOR: Mapping[str, bool | int] = {
    "size_asserts": False,
    "alignment_asserts": False,
    # What the processor says that it can do is believed: trial programs take 7 s to build. Where
    # the C++ compiler is too old for it, compiling fails and the updates stay eager.
    "cpp.vec_isa_ok": True,
    # Longer expressions are kept, not evaluated wherever they are read: 3 % of an actor's update.
    "realize_opcount_threshold": 8,
}
CACHED_ROWS = 2048
"""How many rows of a hidden layer, of all critics together, go through at once: more no longer lie
in a core's cache, fewer spend their time between the operations."""
SETTLED_GRADIENT = 1e-6
"""Below this, in float32, rounding decides where Adam's first step goes."""
TIMED_UPDATES = 5

T = TypeVar("T")
Key = tuple[frozenset[str], tuple[tuple[str, tuple[int, ...]], ...], bool]
"""Networks to update; names and shapes of what goes through at once; whether that is a piece."""


class ParityError(RuntimeError):
    """The compiled update does not compute what the eager one does."""


def compile_updates(
    agent: SACAgent, example: Batch, critic_actor_ratio: int, *, required: bool
) -> None:
    """Compile what training on batches like `example` needs, and use it from now on.

    `example` holds `critic_actor_ratio` parts. Where compiling fails or does not pay the agent
    stays eager with a warning, unless `required`.
    """
    try:
        size = example.size // critic_actor_ratio
        compiled = CompiledUpdates(agent, part_size=size, required=required)
    except ValueError as error:
        if required:
            raise
        log.warning("updates stay eager: %s", error)
        return
    if critic_actor_ratio == 1:
        compiled.prepare(example, agent.losses())
    else:
        if critics_leave_policy(agent):
            example = example._replace(next_policy=compiled.policy(example.next_observations))
        part = slice_batch(example, 0, example.size // critic_actor_ratio)
        compiled.prepare(part, ("critic",))
        compiled.prepare(example, ("actor", "temperature"))
    agent.compiled = compiled


class CompiledUpdates:
    """Stands in for `SACAgent.update`; compiles each combination of networks and shapes once.

    Where that fails, or the result is wrong or not faster, the agent goes on eagerly (with a
    warning), unless `required`.
    """

    def __init__(
        self, agent: SACAgent, *, part_size: int | None = None, required: bool = False
    ) -> None:
        if any(_has_dropout(module) for module in agent.state.networks.modules()):
            raise ValueError("compiled updates draw no dropout masks: set dropout_rate to none")
        if agent.state.step_unused:
            raise ValueError("compiled updates do not step unused optimizers")
        if agent.numerics.precision == "float16":
            raise ValueError("compiled updates do not skip what overflows float16: use bfloat16")
        self.agent = agent
        self.part_size = part_size
        self.required = required
        self._steps: dict[Key, TracedUpdate | None] = {}
        self._policies: dict[int, TracedPolicy | None] = {}

    def __call__(self, batch: Batch, names: Iterable[str]) -> Info:
        """Update the named networks in place and return the metrics.

        Raises ParityError, or what the compiler raises, if compiled updates are required.
        """
        step = self.prepare(batch, names)
        return self.agent.update_eagerly(batch, names) if step is None else step(batch)

    def prepare(self, batch: Batch, names: Iterable[str]) -> TracedUpdate | None:
        """Compile for batches like this one, if it is not done; None where eager is better."""
        size = self._piece_size(batch)
        cut = size < batch.size
        piece = slice_batch(batch, 0, size)
        shapes = tuple((n, tuple(t.shape)) for n, t in named_tensors(piece))
        key = (frozenset(names), shapes, cut)
        if key not in self._steps:
            checked = slice_batch(batch, 0, 2 * size) if cut else batch
            self._steps[key] = self._compile(checked, piece, key[0])
        return self._steps[key]

    def policy(self, observations: Observations) -> Tensor:
        """Return the policy's mean and standard deviation, (batch, 2, action_dim)."""
        rows = count_rows(observations)
        size = self._fitting(rows, self.part_size or rows, 1)
        if size not in self._policies:
            piece = slice_observations(observations, 0, size)
            self._policies[size] = self._attempt(lambda: _checked_policy(self.agent, piece))
        policy = self._policies[size]
        if policy is None:
            return mean_and_std(self.agent, observations)
        pieces = [slice_observations(observations, i, i + size) for i in range(0, rows, size)]
        return torch.cat([policy(piece) for piece in pieces])

    def _piece_size(self, batch: Batch) -> int:
        """Into pieces of how many rows a batch is cut; its own size is whole."""
        size, agent = self.part_size or batch.size, self.agent
        # An imitation term is a mean over the demonstrations, of which the pieces have unlike many.
        whole = agent.config.bc_weight > 0.0 or agent.numerics.accumulation > 1
        if whole:
            return batch.size
        return self._fitting(batch.size, size, agent.config.critic_ensemble_size)

    def _fitting(self, rows: int, size: int, members: int) -> int:
        """Return the multiple of `size` that divides `rows` and fits into a core's cache.

        On a GPU, or where `size` does not divide them, all rows.
        """
        if rows % size or self.agent.state.device.type != "cpu":
            return rows
        fitting, parts = CACHED_ROWS // (size * members), rows // size
        return size * max((n for n in range(1, fitting + 1) if parts % n == 0), default=1)

    def _compile(self, batch: Batch, piece: Batch, names: frozenset[str]) -> TracedUpdate | None:
        result = self._attempt(lambda: _checked_step(self.agent, batch, piece, names))
        if result is None:
            return None
        step, gain = result
        log.info("compiled update of %s: %.2f times as fast", ", ".join(sorted(names)), gain)
        return step if gain > 1.0 or self.required else None

    def _attempt(self, compile_it: Callable[[], T]) -> T | None:
        """Return what the compiler makes; None with a warning where it fails."""
        try:
            return compile_it()
        except Exception as error:  # the compiler raises what its passes raise
            if self.required:
                raise
            log.warning("updates stay eager: compiling them failed: %s", error)
            return None


def inductor(graph: GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
    """Compile for these shapes; the result is kept on disk for the next start.

    The entry for traced graphs: without the checks at every call of `torch.compile`.
    """
    compiled: Callable[..., Any] = torch._inductor.standalone_compile(
        graph,
        [*inputs],
        dynamic_shapes="from_example_inputs",
        options={"config_patches": INDUCTOR},
    )
    return compiled


def _checked_step(
    agent: SACAgent, batch: Batch, piece: Batch, names: frozenset[str]
) -> tuple[TracedUpdate, float]:
    """Compile an update, compare it with the eager one on copies of the agent, and time both.

    `piece` is how much of a batch goes through at once: all of `batch`, or half of it.

    Returns the step and how many times as fast it is. Raises ParityError when results differ.
    """
    reference, trial = copy.deepcopy(agent), copy.deepcopy(agent)
    for clone in (reference, trial):
        clone.compiled = None
        clone.draws = GeneratorDraws(torch.Generator(clone.state.device).manual_seed(0))
    step = TracedUpdate(trial, piece, names, inductor, cut=piece.size < batch.size)
    reference.update_eagerly(batch, names)
    step(batch)
    _check_parity(trial.state, reference.state, names, TOLERANCES[agent.numerics.precision])
    eager = _fastest(lambda: reference.update_eagerly(batch, names))
    compiled = _fastest(lambda: step(batch))
    step.bind(agent)
    return step, eager / compiled


def _checked_policy(agent: SACAgent, observations: Observations) -> TracedPolicy:
    """Compile the policy and compare it with the eager one. Raises ParityError when it differs."""
    policy = TracedPolicy(agent, observations, inductor)
    expected = mean_and_std(agent, observations)
    largest = expected.abs().max().clamp(min=1e-12)
    difference = float((policy(observations) - expected).abs().max() / largest)
    if not difference <= TOLERANCES[agent.numerics.precision].moments:
        raise ParityError(f"the policy differs by {difference:.3g} of itself")
    return policy


def _check_parity(
    state: TrainState, expected: TrainState, names: frozenset[str], tolerance: Tolerance
) -> None:
    for name in names:
        ours, theirs = state.optimizers[name], expected.optimizers[name]
        moments = (ours.first_moments, theirs.first_moments)
        for i, (a, b) in enumerate(zip(*moments, strict=True)):
            largest = b.abs().max().clamp(min=1e-12)
            difference = float((a - b).abs().max() / largest)
            if not difference <= tolerance.moments:
                raise ParityError(f"gradient {i} of {name} differs by {difference:.3g} of itself")
            settled = b.abs() > tolerance.moments * largest + SETTLED_GRADIENT * (1.0 - BETA1)
            distance = (ours.parameters[i] - theirs.parameters[i]).detach().abs()[settled]
            if distance.numel() and not float(distance.max()) <= tolerance.parameters:
                raise ParityError(f"parameter {i} of {name} differs by {float(distance.max()):.3g}")


def _fastest(function: Callable[[], object]) -> float:
    """Return the shortest of a few durations [s]."""
    durations = []
    for _ in range(TIMED_UPDATES):
        start = time.perf_counter()
        function()
        durations.append(time.perf_counter() - start)
    return min(durations)


def _has_dropout(module: nn.Module) -> bool:
    return bool(getattr(module, "dropout_rate", 0.0))
