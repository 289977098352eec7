"""From an agent to the policy file that the controller runs."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from serl_rt.export.contract import Contract
from serl_rt.export.onnx_graph import PolicyExporter
from serl_rt.export.policy_module import PolicyModule
from serl_rt.learner.data.transitions import STATE
from serl_rt.learner.networks.policy import Policy
from serl_rt.learner.vision.trunk import FrozenTrunk


class ActorModule(nn.Module):
    """A policy network as `PolicyModule` calls it: normalised features (and images) in."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        if not policy.tanh_squash_distribution:
            raise ValueError("only a tanh-squashed policy keeps its actions in [-1, 1]")
        self.policy = policy

    def forward(
        self, features: Tensor, images: Mapping[str, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """(batch, observation_dim) -> mean and standard deviation before tanh."""
        return self.policy.mean_and_std({STATE: features} | dict(images or {}))


def make_exporter(policy: Policy, contract: Contract, recipe: str) -> PolicyExporter:
    """Return what exports this policy, as it is at the time of each call."""
    module = PolicyModule(contract, ActorModule(policy))
    return PolicyExporter(module, contract, recipe, frozen_weights(module))


def frozen_weights(module: nn.Module) -> list[str]:
    """Return the keys of the module's state dict that belong to frozen trunks."""
    trunks = tuple(
        f"{name}."
        for name, part in module.named_modules(remove_duplicate=False)
        if isinstance(part, FrozenTrunk)
    )
    return [key for key in module.state_dict() if key.startswith(trunks)]
