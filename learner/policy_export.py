"""From an agent to the policy file that the controller runs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from serl_rt.export.contract import Contract
from serl_rt.export.onnx_graph import PolicyExporter
from serl_rt.export.policy_module import PolicyModule
from serl_rt.learner.agents.agent import Agent
from serl_rt.learner.agents.bc import LARGEST_ACTION, BCAgent
from serl_rt.learner.agents.hybrid import Arms, HybridAgent
from serl_rt.learner.data.transitions import STATE
from serl_rt.learner.networks.grasp import GraspCritic
from serl_rt.learner.networks.policy import Policy
from serl_rt.learner.vision.trunk import FrozenTrunk

SATURATED = 20.0
"""Its tanh is 1 in float32."""


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


class ClonedActorModule(nn.Module):
    """A policy that gives actions themselves, as the mean before tanh; it does not explore."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        # Without the deviation's layer: weights that an action does not need are in no policy file.
        self.encoder, self.network, self.mean = policy.encoder, policy.network, policy.mean

    def forward(
        self, features: Tensor, images: Mapping[str, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """The same as ActorModule's, without deviation: its tanh is the mode, cut to [-1, 1]."""
        mean = self.mean(self.network(self.encoder({STATE: features} | dict(images or {}))))
        cut = mean.clamp(-LARGEST_ACTION, LARGEST_ACTION)
        # atanh, in operations that every exporter knows.
        return 0.5 * (torch.log(1.0 + cut) - torch.log(1.0 - cut)), torch.zeros_like(cut)


class HybridActorModule(nn.Module):
    """A policy of the arms and the grippers' best commands, as one Gaussian before tanh."""

    def __init__(self, policy: Policy, grasp_critic: GraspCritic, arms: Arms) -> None:
        super().__init__()
        self.moves, self.grasp_critic, self.arms = ActorModule(policy), grasp_critic, arms

    def forward(
        self, features: Tensor, images: Mapping[str, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """The same as ActorModule's; a command has no deviation: its tanh is -1, 0 or 1."""
        mean, std = self.moves(features, images)
        values = self.grasp_critic({STATE: features} | dict(images or {}))
        commands = self.arms.commands(values.argmax(-1)).to(mean.dtype)
        return (
            self.arms.interleave(mean, SATURATED * commands),
            self.arms.interleave(std, torch.zeros_like(commands)),
        )


def actor_module(agent: Agent) -> nn.Module:
    """Return what acts for this agent, as `PolicyModule` calls it."""
    actor = agent.state.acting("actor")
    assert isinstance(actor, Policy)
    if isinstance(agent, HybridAgent):
        grasp_critic = agent.state.acting("grasp_critic")
        assert isinstance(grasp_critic, GraspCritic)
        return HybridActorModule(actor, grasp_critic, agent.arms)
    if isinstance(agent, BCAgent):
        return ClonedActorModule(actor)
    return ActorModule(actor)


def make_exporter(agent: Agent, contract: Contract, recipe: str) -> PolicyExporter:
    """Return what exports this agent's policy, as it is at the time of each call."""
    module = PolicyModule(contract, actor_module(agent))
    return PolicyExporter(module, contract, recipe, frozen_weights(module))


def frozen_weights(module: nn.Module) -> list[str]:
    """Return the keys of the module's state dict that belong to frozen trunks."""
    trunks = tuple(
        f"{name}."
        for name, part in module.named_modules(remove_duplicate=False)
        if isinstance(part, FrozenTrunk)
    )
    return [key for key in module.state_dict() if key.startswith(trunks)]
