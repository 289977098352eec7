"""One update of an agent as a single traced function of tensors.

`make_fx` runs the agent's own loss functions (so there is one definition of them) with Adam and the
targets' EMA behind them, and records every operation. What reads comes first and what writes last,
so that equal operations can be merged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.passes.dialect.common.cse_pass import CSEPass
from torch.utils import _pytree as pytree

from serl_rt.learner.data.batch import Batch
from serl_rt.learner.optim import BETA1, BETA2, EPS, Optimizer, clip_by_global_norm

if TYPE_CHECKING:
    from serl_rt.learner.agents.losses import Info
    from serl_rt.learner.agents.sac import SACAgent

Compiler = Callable[[GraphModule, list[Tensor]], Callable[..., Any]]


class TracedUpdate:
    """The update of some networks on batches of one shape, traced and handed to a compiler."""

    def __init__(
        self, agent: SACAgent, batch: Batch, names: frozenset[str], compiler: Compiler
    ) -> None:
        self.names = [name for name in agent.losses() if name in names]
        self.requests, draws = self._record_draws(agent, batch)
        self.bind(agent)
        inputs = [*self._given(batch, draws), *self._held]
        count = len(inputs) - len(self._held)

        def function(*tensors: Tensor) -> Info:
            given = pytree.tree_unflatten(list(tensors[:count]), self._given_spec)
            held = pytree.tree_unflatten(list(tensors[count:]), self._held_spec)
            return self._update(agent, given, held)

        copies = [tensor.detach().clone() for tensor in inputs]
        with torch.enable_grad():
            graph = make_fx(function, decomposition_table=DECOMPOSITIONS)(*copies)
        merged = CSEPass()(graph)
        assert merged is not None
        self.compiled = compiler(merged.graph_module, copies)

    def bind(self, agent: SACAgent) -> None:
        """Work on this agent's tensors from now on; they may change, but not be replaced."""
        self.agent = agent
        state = agent.state
        held = {
            "networks": [p.detach() for p in state.networks.parameters()],
            "targets": [p.detach() for p in state.targets.parameters()],
            "moments": {
                name: (state.optimizers[name].first_moments, state.optimizers[name].second_moments)
                for name in self.names
            },
        }
        self._held, self._held_spec = pytree.tree_flatten(held)

    def __call__(self, batch: Batch) -> Info:
        """Update the agent in place and return the metrics."""
        state = self.agent.state
        draws = [getattr(self.agent.draws, kind)(*sizes) for kind, sizes in self.requests]
        with torch.no_grad():
            info: Info = dict(self.compiled(*self._given(batch, draws), *self._held))
        for name in self.names:
            optimizer = state.optimizers[name]
            optimizer.set_count(optimizer.count + 1)
        state.step += 1
        return info | state.learning_rates()

    def _record_draws(
        self, agent: SACAgent, batch: Batch
    ) -> tuple[list[tuple[str, tuple[int, ...]]], list[Tensor]]:
        """Run the losses once to learn which random numbers they draw, in which order."""
        recorder = _RecordingDraws(torch.Generator(agent.state.device).manual_seed(0))
        draws, agent.draws = agent.draws, recorder
        try:
            for name in self.names:
                agent.numerics.gradients(agent.losses()[name], batch, lambda _: [])
        finally:
            agent.draws = draws
        return recorder.requests, recorder.values

    def _given(self, batch: Batch, draws: Sequence[Tensor]) -> list[Tensor]:
        """Return what is new at every update: the batch, the draws, rates and bias corrections."""
        given = {
            "batch": {k: v for k, v in batch._asdict().items() if v is not None},
            "draws": list(draws),
            "scalars": [self.agent.state.optimizers[name].step_scalars() for name in self.names],
        }
        flat, self._given_spec = pytree.tree_flatten(given)
        return flat

    def _update(self, agent: SACAgent, given: Mapping[str, Any], held: Mapping[str, Any]) -> Info:
        """The traced function: writes parameters, moments and targets; returns the metrics."""
        state = agent.state
        networks = [p.detach().requires_grad_() for p in held["networks"]]
        place = {id(p): i for i, p in enumerate(state.networks.parameters())}
        places = {n: [place[id(p)] for p in state.optimizers[n].parameters] for n in self.names}
        batch = Batch(**given["batch"])
        draws, agent.draws = agent.draws, _GivenDraws(given["draws"])
        info: Info = {}
        gradients: dict[str, Sequence[Tensor]] = {}
        try:
            for name in self.names:
                own = [networks[i] for i in places[name]]
                gradients[name], metrics = agent.numerics.gradients(
                    partial(_call, agent, name, networks, held["targets"]),
                    batch,
                    partial(torch.autograd.grad, inputs=own, materialize_grads=True),
                )
                info |= metrics
        finally:
            agent.draws = draws
        new = list(held["networks"])
        writes: list[tuple[Tensor, Tensor]] = []
        with torch.no_grad():
            for name, scalars in zip(self.names, given["scalars"], strict=True):
                own = [new[i] for i in places[name]]
                changed, moments = adam_step(
                    state.optimizers[name], own, gradients[name], held["moments"][name], scalars
                )
                for i, parameter in zip(places[name], changed, strict=True):
                    new[i] = parameter
                writes += moments
            writes += [
                (old, p) for old, p in zip(held["networks"], new, strict=True) if p is not old
            ]
            if "critic" in self.names:
                rate = agent.config.soft_target_update_rate
                for target, source in state.target_places():
                    old = held["targets"][target]
                    writes.append((old, old.lerp(new[source], rate)))
            for old, value in writes:
                old.copy_(value)
        return info


def adam_step(
    optimizer: Optimizer,
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    moments: tuple[Sequence[Tensor], Sequence[Tensor]],
    scalars: Tensor,
) -> tuple[list[Tensor], list[tuple[Tensor, Tensor]]]:
    """Compute what `Optimizer.step` does, in plain operations; scalars as its `step_scalars`.

    Returns the new parameters, and each moment with its new value.
    """
    rate, correction1, correction2 = scalars.unbind()
    config = optimizer.config
    if config.clip_grad_norm is not None:
        gradients = clip_by_global_norm(gradients, config.clip_grad_norm)
    changed, writes = [], []
    for parameter, gradient, first, second in zip(parameters, gradients, *moments, strict=True):
        new_first = torch.lerp(first, gradient, 1.0 - BETA1)
        new_second = second * BETA2 + gradient * gradient * (1.0 - BETA2)
        step = (new_first / correction1) / ((new_second / correction2).sqrt() + EPS)
        if config.weight_decay:
            step = step + config.weight_decay * parameter
        changed.append(parameter - rate * step)
        writes += [(first, new_first), (second, new_second)]
    return changed, writes


def _layer_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Two passes over a row that is in the first cache, instead of the compiler's running mean."""
    axes = tuple(range(-len(shape), 0))
    mean = x.mean(axes, keepdim=True)
    centred = x - mean
    scale = (centred.square().mean(axes, keepdim=True) + eps).rsqrt()
    normal = centred * scale
    if weight is not None:
        normal = normal * weight
    return normal if bias is None else normal + bias, mean, scale


def _tanh(x: Tensor) -> Tensor:
    """Right to 1e-7 absolutely, but unlike the library's not relatively; a third of its time."""
    return 1.0 - 2.0 / ((2.0 * x).exp() + 1.0)


def _baddbmm(
    bias: Tensor, x: Tensor, y: Tensor, *, beta: float = 1.0, alpha: float = 1.0
) -> Tensor:
    """Add the bias where the product is read next, not by copying it to where it is written."""
    return (
        alpha * torch.bmm(x, y) + beta * bias if (alpha, beta) != (1, 1) else torch.bmm(x, y) + bias
    )


DECOMPOSITIONS: Mapping[Any, Callable[..., Any]] = {
    torch.ops.aten.baddbmm.default: _baddbmm,
    torch.ops.aten.native_layer_norm.default: _layer_norm,
    torch.ops.aten.tanh.default: _tanh,
}


def _call(
    agent: SACAgent,
    name: str,
    networks: Sequence[Tensor],
    targets: Sequence[Tensor],
    batch: Batch,
) -> tuple[Tensor, Info]:
    """Evaluate one of the agent's losses with other tensors in place of its parameters."""
    module = _Loss(agent, name)
    values: dict[str, Tensor] = {}
    for prefix, owner, tensors in (
        ("networks.", agent.state.networks, networks),
        ("targets.", agent.state.targets, targets),
    ):
        names = [prefix + key for key, _ in owner.named_parameters()]
        values |= dict(zip(names, tensors, strict=True))
    result: tuple[Tensor, Info] = functional_call(module, values, (batch,))
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
