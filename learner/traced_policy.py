"""The policy's mean and standard deviation as a traced function of tensors."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.func import functional_call

from serl_rt.learner.agents.high_utd import mean_and_std
from serl_rt.learner.networks.states import Observations
from serl_rt.learner.tracing import Compiler, Held, Metrics, Traced

if TYPE_CHECKING:
    from serl_rt.learner.agents.sac import SACAgent


class TracedPolicy:
    """`high_utd.mean_and_std` for observations of one shape, traced and handed to a compiler."""

    def __init__(self, agent: SACAgent, observations: Observations, compiler: Compiler) -> None:
        self._module = _MeanAndStd(agent)
        self._held = Held([p.detach() for p in self._module.parameters()])
        graphs = agent.numerics.cuda_graphs and agent.state.device.type == "cuda"
        self._traced = Traced(self._evaluate, observations, self._held, compiler, graphs)

    def __call__(self, observations: Observations) -> Tensor:
        """Return (batch, 2, action_dim)."""
        result = self._traced(observations, self._held)["mean_and_std"]
        assert isinstance(result, Tensor)
        return result

    def _evaluate(self, observations: Observations, parameters: Any) -> Metrics:
        names = [name for name, _ in self._module.named_parameters()]
        values: Mapping[str, Tensor] = dict(zip(names, parameters, strict=True))
        return {"mean_and_std": functional_call(self._module, dict(values), (observations,))}


class _MeanAndStd(nn.Module):
    """The function as a module that owns the policy."""

    def __init__(self, agent: SACAgent) -> None:
        super().__init__()
        self.actor = agent.actor
        self.function = partial(mean_and_std, agent)

    def forward(self, observations: Observations) -> Tensor:
        return self.function(observations)
