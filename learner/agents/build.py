"""From a recipe and a contract to an agent."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from serl_rt.export.contract import Contract
from serl_rt.learner.agents.sac import NETWORKS, SACAgent
from serl_rt.learner.data.transitions import STATE
from serl_rt.learner.optim import OptimizerConfig
from serl_rt.learner.recipe import NetworkRecipe, OptimizerRecipe, Recipe

_SAC_SETTINGS = (
    "discount",
    "soft_target_update_rate",
    "target_entropy",
    "critic_ensemble_size",
    "critic_subsample_size",
    "backup_entropy",
    "discount_entropy_backup",
    "bc_weight",
    "step_unused_optimizers",
    "optimizers_cover_all",
)


def build_agent(
    recipe: Recipe, contract: Contract, *, seed: int = 0, device: torch.device | str = "cpu"
) -> SACAgent:
    """Return a new agent for the contract's observations and actions.

    Raises ValueError when the recipe cannot use what the contract offers.
    """
    if contract.images:
        names = ", ".join(image.name for image in contract.images)
        raise ValueError(f"recipe '{recipe.name}' learns from states; the task has images: {names}")
    agent = dataclasses.asdict(recipe.agent)
    policy = recipe.policy
    return SACAgent.create_states(
        {STATE: torch.zeros(1, contract.observation_dim)},
        torch.zeros(1, contract.action_dim),
        critic_network_kwargs=network_kwargs(recipe.critic),
        policy_network_kwargs=network_kwargs(policy),
        policy_kwargs={
            "std_parameterization": policy.std_parameterization,
            "std_min": policy.std_min,
            "std_max": policy.std_max,
            "fixed_std": None if policy.fixed_std is None else (policy.fixed_std,),
        },
        optimizers={
            name: optimizer_config(getattr(recipe, f"{name}_optimizer")) for name in NETWORKS
        },
        temperature_init=recipe.agent.temperature_init,
        seed=seed,
        device=device,
        **{name: agent[name] for name in _SAC_SETTINGS},
    )


def network_kwargs(recipe: NetworkRecipe) -> Mapping[str, Any]:
    """Return the arguments of MLP."""
    return {
        "hidden_dims": recipe.hidden_dims,
        "activations": recipe.activations,
        "use_layer_norm": recipe.use_layer_norm,
        "dropout_rate": recipe.dropout_rate,
        "activate_final": True,
    }


def optimizer_config(recipe: OptimizerRecipe) -> OptimizerConfig:
    """Return the same settings for the optimizer."""
    return OptimizerConfig(**dataclasses.asdict(recipe))
