"""Compiled updates: the whole update as one traced function, compiled by TorchInductor.

An eager update of small networks spends most of its time between its operations. Here losses,
gradients, Adam and the targets' EMA become one graph: `make_fx` traces the agent's own loss
functions (so there is one definition of them), and the compiler fuses what is between the matrix
products. A compiled update is compared with the eager one before it is used.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from serl_rt.learner.data.batch import Batch, named_tensors, slice_batch
from serl_rt.learner.draws import GeneratorDraws
from serl_rt.learner.optim import BETA1, BETA2, EPS, Optimizer, clip_by_global_norm
from serl_rt.learner.train_state import TrainState

if TYPE_CHECKING:
    from serl_rt.learner.agents.losses import Info
    from serl_rt.learner.agents.sac import SACAgent

log = logging.getLogger(__name__)

MOMENT_TOLERANCE = 1e-4
"""Largest difference of Adam's moments from the eager ones, relative to the tensor's largest."""
PARAMETER_TOLERANCE = 1e-5
SETTLED_GRADIENT = 1e-6
"""Below this, rounding decides where Adam's first step goes, and parameters are not compared."""
TIMED_UPDATES = 5

Key = tuple[frozenset[str], tuple[tuple[str, tuple[int, ...]], ...]]
"""Networks to update; names and shapes of the batch."""


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
        compiled = CompiledUpdates(agent, required=required)
    except ValueError as error:
        if required:
            raise
        log.warning("updates stay eager: %s", error)
        return
    if critic_actor_ratio == 1:
        compiled.prepare(example, agent.losses())
    else:
        part = slice_batch(example, 0, example.size // critic_actor_ratio)
        compiled.prepare(part, ("critic",))
        compiled.prepare(example, ("actor", "temperature"))
    agent.compiled = compiled


class CompiledUpdates:
    """Stands in for `SACAgent.update`; compiles each combination of networks and shapes once.

    Where that fails, or the result is wrong or not faster, the agent goes on eagerly (with a
    warning), unless `required`.
    """

    def __init__(self, agent: SACAgent, *, required: bool = False) -> None:
        if any(_has_dropout(module) for module in agent.state.networks.modules()):
            raise ValueError("compiled updates draw no dropout masks: set dropout_rate to none")
        if agent.state.step_unused:
            raise ValueError("compiled updates do not step unused optimizers")
        self.agent = agent
        self.required = required
        self._steps: dict[Key, _Step | None] = {}

    def __call__(self, batch: Batch, names: Iterable[str]) -> Info:
        """Update the named networks in place and return the metrics.

        Raises ParityError, or what the compiler raises, if compiled updates are required.
        """
        step = self.prepare(batch, names)
        return self.agent.update_eagerly(batch, names) if step is None else step(batch)

    def prepare(self, batch: Batch, names: Iterable[str]) -> _Step | None:
        """Compile for batches like this one, if it is not done; None where eager is better."""
        key = (frozenset(names), tuple((n, tuple(t.shape)) for n, t in named_tensors(batch)))
        if key not in self._steps:
            self._steps[key] = self._compile(batch, key[0])
        return self._steps[key]

    def _compile(self, batch: Batch, names: frozenset[str]) -> _Step | None:
        try:
            step, gain = _checked_step(self.agent, batch, names)
        except Exception as error:  # the compiler raises what its passes raise
            if self.required:
                raise
            log.warning("updates stay eager: compiling them failed: %s", error)
            return None
        log.info("compiled update of %s: %.2f times as fast", ", ".join(sorted(names)), gain)
        return step if gain > 1.0 or self.required else None


class _Step:
    """One traced and compiled update."""

    def __init__(self, agent: SACAgent, batch: Batch, names: frozenset[str]) -> None:
        self.agent = agent
        self.names = [name for name in agent.losses() if name in names]
        self.requests: list[tuple[str, tuple[int, ...]]] = []
        draws = self._record_draws(batch)
        inputs = self._inputs(batch, draws)
        flat, self.spec = pytree.tree_flatten(inputs)

        def function(*tensors: Tensor) -> dict[str, Tensor]:
            return self._update(pytree.tree_unflatten(list(tensors), self.spec))

        with torch.enable_grad():
            graph = make_fx(function)(*[tensor.detach().clone() for tensor in flat])
        self.compiled = torch.compile(graph, dynamic=False)

    def __call__(self, batch: Batch) -> Info:
        state = self.agent.state
        draws = [getattr(self.agent.draws, kind)(*sizes) for kind, sizes in self.requests]
        flat = pytree.tree_leaves(self._inputs(batch, draws))
        with torch.no_grad():
            info: Info = dict(self.compiled(*flat))
        for name in self.names:
            optimizer = state.optimizers[name]
            optimizer.set_count(optimizer.count + 1)
        state.step += 1
        return info | state.learning_rates()

    def _record_draws(self, batch: Batch) -> list[Tensor]:
        """Run the losses once to learn which random numbers they draw, in which order."""
        recorder = _RecordingDraws(torch.Generator(self.agent.state.device).manual_seed(0))
        draws, self.agent.draws = self.agent.draws, recorder
        try:
            for name in self.names:
                self.agent.losses()[name](batch)
        finally:
            self.agent.draws = draws
        self.requests = recorder.requests
        return recorder.values

    def _inputs(self, batch: Batch, draws: Sequence[Tensor]) -> dict[str, Any]:
        """Return everything that the update reads and writes, as one tree of tensors."""
        state = self.agent.state
        optimizers = {}
        for name in self.names:
            optimizer = state.optimizers[name]
            optimizers[name] = {
                "first": optimizer.first_moments,
                "second": optimizer.second_moments,
                "scalars": optimizer.step_scalars(),
            }
        return {
            "networks": [p.detach() for p in state.networks.parameters()],
            "targets": [p.detach() for p in state.targets.parameters()],
            "optimizers": optimizers,
            "batch": {k: v for k, v in batch._asdict().items() if v is not None},
            "draws": list(draws),
        }

    def _update(self, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        """The traced function: writes parameters, moments and targets; returns the metrics."""
        state = self.agent.state
        networks = [p.detach().requires_grad_() for p in inputs["networks"]]
        place = {id(p): i for i, p in enumerate(state.networks.parameters())}
        batch = Batch(**inputs["batch"])
        draws, self.agent.draws = self.agent.draws, _GivenDraws(inputs["draws"])
        info: dict[str, Tensor] = {}
        gradients: dict[str, tuple[Tensor, ...]] = {}
        try:
            for name in self.names:
                own = [networks[place[id(p)]] for p in state.optimizers[name].parameters]
                loss, metrics = self._call(name, batch, networks, inputs["targets"])
                gradients[name] = torch.autograd.grad(loss, own, materialize_grads=True)
                info |= metrics
        finally:
            self.agent.draws = draws
        with torch.no_grad():
            for name in self.names:
                optimizer = state.optimizers[name]
                own = [inputs["networks"][place[id(p)]] for p in optimizer.parameters]
                adam_step(optimizer, own, gradients[name], inputs["optimizers"][name])
            if "critic" in self.names:
                rate = self.agent.config.soft_target_update_rate
                for target, source in state.target_places():
                    old, new = inputs["targets"][target], inputs["networks"][source]
                    old.copy_(old.lerp(new, rate))
        return info

    def _call(
        self, name: str, batch: Batch, networks: Sequence[Tensor], targets: Sequence[Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Evaluate one of the agent's losses with other tensors in place of its parameters."""
        module = _Loss(self.agent, name)
        values: dict[str, Tensor] = {}
        for prefix, owner, tensors in (
            ("networks.", self.agent.state.networks, networks),
            ("targets.", self.agent.state.targets, targets),
        ):
            names = [prefix + key for key, _ in owner.named_parameters()]
            values |= dict(zip(names, tensors, strict=True))
        result: tuple[Tensor, dict[str, Tensor]] = functional_call(module, values, (batch,))
        return result


class _Loss(nn.Module):
    """A loss function as a module that owns the networks which it uses."""

    def __init__(self, agent: SACAgent, name: str) -> None:
        super().__init__()
        self.networks, self.targets = agent.state.networks, agent.state.targets
        self.function: Callable[[Batch], Any] = agent.losses()[name]

    def forward(self, batch: Batch) -> Any:
        return self.function(batch)


class _RecordingDraws:
    """Draws, and notes what was asked for."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self.requests: list[tuple[str, tuple[int, ...]]] = []
        self.values: list[Tensor] = []

    def normal(self, *shape: int) -> Tensor:
        self.requests.append(("normal", shape))
        device = self.generator.device
        self.values.append(torch.randn(shape, generator=self.generator, device=device))
        return self.values[-1]

    def integers(self, high: int, *shape: int) -> Tensor:
        self.requests.append(("integers", (high, *shape)))
        device = self.generator.device
        self.values.append(torch.randint(high, shape, generator=self.generator, device=device))
        return self.values[-1]


class _GivenDraws:
    """Hands out given numbers in order."""

    def __init__(self, values: Iterable[Tensor]) -> None:
        self.values = iter(values)

    def normal(self, *shape: int) -> Tensor:
        return next(self.values)

    def integers(self, high: int, *shape: int) -> Tensor:
        return next(self.values)


def adam_step(
    optimizer: Optimizer,
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    state: Mapping[str, Any],
) -> None:
    """Do what `Optimizer.step` does, in plain operations; counts and rates come as tensors."""
    rate, correction1, correction2 = state["scalars"]
    config = optimizer.config
    if config.clip_grad_norm is not None:
        gradients = clip_by_global_norm(gradients, config.clip_grad_norm)
    for parameter, gradient, first, second in zip(
        parameters, gradients, state["first"], state["second"], strict=True
    ):
        new_first = torch.lerp(first, gradient, 1.0 - BETA1)
        new_second = second * BETA2 + gradient * gradient * (1.0 - BETA2)
        step = (new_first / correction1) / ((new_second / correction2).sqrt() + EPS)
        if config.weight_decay:
            step = step + config.weight_decay * parameter
        parameter.copy_(parameter - rate * step)
        first.copy_(new_first)
        second.copy_(new_second)


def _checked_step(agent: SACAgent, batch: Batch, names: frozenset[str]) -> tuple[_Step, float]:
    """Compile an update, compare it with the eager one on copies of the agent, and time both.

    Returns the step and how many times as fast it is. Raises ParityError when results differ.
    """
    reference, trial = copy.deepcopy(agent), copy.deepcopy(agent)
    for clone in (reference, trial):
        clone.compiled = None
        clone.draws = GeneratorDraws(torch.Generator(clone.state.device).manual_seed(0))
    step = _Step(trial, batch, names)
    reference.update_eagerly(batch, names)
    step(batch)
    _check_parity(trial.state, reference.state, names)
    eager = _fastest(lambda: reference.update_eagerly(batch, names))
    compiled = _fastest(lambda: step(batch))
    step.agent = agent
    return step, eager / compiled


def _check_parity(state: TrainState, expected: TrainState, names: frozenset[str]) -> None:
    for name in names:
        ours, theirs = state.optimizers[name], expected.optimizers[name]
        moments = (ours.first_moments, theirs.first_moments)
        for i, (a, b) in enumerate(zip(*moments, strict=True)):
            difference = float((a - b).abs().max() / b.abs().max().clamp(min=1e-12))
            if not difference <= MOMENT_TOLERANCE:
                raise ParityError(f"gradient {i} of {name} differs by {difference:.3g} of itself")
            settled = b.abs() > SETTLED_GRADIENT * (1.0 - BETA1)
            distance = (ours.parameters[i] - theirs.parameters[i]).detach().abs()[settled]
            if distance.numel() and not float(distance.max()) <= PARAMETER_TOLERANCE:
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
