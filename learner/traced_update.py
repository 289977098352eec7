"""One update of an agent as a traced function of tensors.

The agent's own loss functions (so there is one definition of them) with Adam and the targets' EMA
behind them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from serl_rt.learner.agents.losses import mean_info
from serl_rt.learner.data.batch import Batch, slice_batch
from serl_rt.learner.optim import BETA1, BETA2, EPS, Optimizer, clip_by_global_norm
from serl_rt.learner.tracing import Compiler, GivenDraws, Held, RecordingDraws, Traced

if TYPE_CHECKING:
    from serl_rt.learner.agents.losses import Info
    from serl_rt.learner.agents.sac import SACAgent


class TracedUpdate:
    """The update of some networks on batches of one shape, traced and handed to a compiler.

    With `cut`, `batch` is one piece of the batches that will come. Their pieces go through one
    after the other, and the gradients are averaged before the one step: the same update with
    activations that fit into a core's cache.
    """

    def __init__(
        self,
        agent: SACAgent,
        batch: Batch,
        names: frozenset[str],
        compiler: Compiler,
        *,
        cut: bool = False,
    ) -> None:
        self.names = [name for name in agent.losses() if name in names]
        self.cut, self.size = cut, batch.size
        self.requests, draws = self._record_draws(agent, batch)
        self.bind(agent)
        scalars = self._scalars()
        graphs = agent.numerics.cuda_graphs and agent.state.device.type == "cuda"
        if not cut:
            given = {"batch": _fields(batch), "draws": draws, "scalars": scalars}
            self._whole = Traced(self._update, given, self._held, compiler, graphs)
        else:
            piece = next(self._pieces(batch, draws))
            self._piece = Traced(self._accumulate, piece, self._held, compiler, graphs)
            self._finish = Traced(self._step, {"scalars": scalars}, self._held, compiler, graphs)

    def bind(self, agent: SACAgent) -> None:
        """Work on this agent's tensors from now on; they may change, but not be replaced."""
        self.agent = agent
        state = agent.state
        moments = {
            name: (state.optimizers[name].first_moments, state.optimizers[name].second_moments)
            for name in self.names
        }
        held: dict[str, Any] = {
            "networks": [p.detach() for p in state.networks.parameters()],
            "targets": [p.detach() for p in state.targets.parameters()],
            "moments": moments,
        }
        if self.cut:
            held["sums"] = {n: [torch.zeros_like(m) for m in moments[n][0]] for n in self.names}
        self._held = Held(held)

    def __call__(self, batch: Batch) -> Info:
        """Update the agent in place and return the metrics."""
        state = self.agent.state
        draws = [self._draw(kind, sizes, batch.size) for kind, sizes in self.requests]
        info: Info
        if not self.cut:
            given = {"batch": _fields(batch), "draws": draws, "scalars": self._scalars()}
            info = self._whole(given, self._held)
        else:
            info = mean_info([self._piece(p, self._held) for p in self._pieces(batch, draws)])
            self._finish({"scalars": self._scalars()}, self._held)
        for name in self.names:
            optimizer = state.optimizers[name]
            optimizer.set_count(optimizer.count + 1)
        state.step += 1
        return info | state.learning_rates()

    def _record_draws(
        self, agent: SACAgent, batch: Batch
    ) -> tuple[list[tuple[str, tuple[int, ...]]], list[Tensor]]:
        """Run the losses once to learn which random numbers they draw, in which order."""
        recorder = RecordingDraws(torch.Generator(agent.state.device).manual_seed(0))
        draws, agent.draws = agent.draws, recorder
        try:
            for name in self.names:
                agent.numerics.gradients(agent.losses()[name], batch, lambda _: [])
        finally:
            agent.draws = draws
        return recorder.requests, recorder.values

    def _draw(self, kind: str, sizes: tuple[int, ...], rows: int) -> Tensor:
        """Draw what was recorded; noise for this many rows."""
        if kind == "normal":
            return self.agent.draws.normal(rows, *sizes[1:])
        return self.agent.draws.integers(*sizes)

    def _scalars(self) -> list[Tensor]:
        """Return rates and bias corrections, which are new at every update."""
        return [self.agent.state.optimizers[name].step_scalars() for name in self.names]

    def _pieces(self, batch: Batch, draws: Sequence[Tensor]) -> Iterator[dict[str, Any]]:
        """Cut the batch, and the noise of its rows, into the parts."""
        share = torch.tensor(self.size / batch.size, device=batch.rewards.device)
        for start in range(0, batch.size, self.size):
            rows = slice(start, start + self.size)
            noise = [
                draw[rows] if kind == "normal" else draw
                for (kind, _), draw in zip(self.requests, draws, strict=True)
            ]
            piece = slice_batch(batch, start, start + self.size)
            yield {"batch": _fields(piece), "draws": noise, "share": share}

    # What is traced: reads first, writes last.

    def _update(self, given: Mapping[str, Any], held: Mapping[str, Any]) -> Info:
        gradients, info = self._gradients(given, held)
        self._apply(gradients, given["scalars"], held)
        return info

    def _accumulate(self, given: Mapping[str, Any], held: Mapping[str, Any]) -> Info:
        gradients, info = self._gradients(given, held)
        for name, new in gradients.items():
            for total, gradient in zip(held["sums"][name], new, strict=True):
                total.copy_(total + gradient * given["share"])
        return info

    def _step(self, given: Mapping[str, Any], held: Mapping[str, Any]) -> Info:
        self._apply(held["sums"], given["scalars"], held)
        for totals in held["sums"].values():
            for total in totals:
                total.zero_()
        return {}

    def _places(self) -> dict[str, list[int]]:
        """Return where each optimizer's parameters are among all."""
        state = self.agent.state
        place = {id(p): i for i, p in enumerate(state.networks.parameters())}
        return {n: [place[id(p)] for p in state.optimizers[n].parameters] for n in self.names}

    def _gradients(
        self, given: Mapping[str, Any], held: Mapping[str, Any]
    ) -> tuple[dict[str, Sequence[Tensor]], Info]:
        agent, places = self.agent, self._places()
        networks = [p.detach().requires_grad_() for p in held["networks"]]
        batch = Batch(**given["batch"])
        draws, agent.draws = agent.draws, GivenDraws(given["draws"])
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
        return gradients, info

    @torch.no_grad()
    def _apply(
        self,
        gradients: Mapping[str, Sequence[Tensor]],
        scalars: Sequence[Tensor],
        held: Mapping[str, Any],
    ) -> None:
        """Write new parameters, moments and targets."""
        state, places = self.agent.state, self._places()
        new = list(held["networks"])
        writes: list[tuple[Tensor, Tensor]] = []
        for name, values in zip(self.names, scalars, strict=True):
            own = [new[i] for i in places[name]]
            changed, moments = adam_step(
                state.optimizers[name], own, gradients[name], held["moments"][name], values
            )
            for i, parameter in zip(places[name], changed, strict=True):
                new[i] = parameter
            writes += moments
        writes += [(old, p) for old, p in zip(held["networks"], new, strict=True) if p is not old]
        if "critic" in self.names:
            rate = self.agent.config.soft_target_update_rate
            for target, source in state.target_places():
                old = held["targets"][target]
                writes.append((old, old.lerp(new[source], rate)))
        for old, value in writes:
            old.copy_(value)


def _fields(batch: Batch) -> dict[str, Any]:
    return {name: value for name, value in batch._asdict().items() if value is not None}


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
