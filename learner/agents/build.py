"""From a recipe and a contract to an agent."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from serl_rt.export.contract import Contract
from serl_rt.export.contract_fields import GripperAction
from serl_rt.learner.agents.agent import Agent
from serl_rt.learner.agents.bc import BCAgent
from serl_rt.learner.agents.drq import DrQAgent, PixelConfig
from serl_rt.learner.agents.hybrid import HybridAgent
from serl_rt.learner.agents.sac import NETWORKS, SACAgent
from serl_rt.learner.agents.vice import ViceAgent, ViceConfig
from serl_rt.learner.data.transitions import STATE, observation_spec
from serl_rt.learner.numerics import Numerics
from serl_rt.learner.optim import OptimizerConfig
from serl_rt.learner.recipe import (
    EncoderRecipe,
    NetworkRecipe,
    OptimizerRecipe,
    Recipe,
    TrainingRecipe,
)
from serl_rt.learner.vision.build import EncoderConfig

TERNARY_THRESHOLD = 0.5
"""The controller's, for a gripper of kind ternary."""
_SAC_SETTINGS = (
    "discount",
    "soft_target_update_rate",
    "target_entropy",
    "critic_ensemble_size",
    "critic_subsample_size",
    "backup_entropy",
    "discount_entropy_backup",
    "bc_weight",
    "encoder_bc_weight",
    "num_atoms",
    "value_low",
    "value_high",
    "step_unused_optimizers",
    "optimizers_cover_all",
)


def build_agent(
    recipe: Recipe, contract: Contract, *, seed: int = 0, device: torch.device | str = "cpu"
) -> Agent:
    """Return a new agent for the contract's observations and actions.

    Raises ValueError when the recipe cannot use what the contract offers.
    """
    agent = _new_agent(recipe, contract, seed, device)
    rate = recipe.training.policy_average_rate
    if rate is not None:
        acting = [name for name in ("actor", "grasp_critic") if name in agent.state.networks]
        agent.state.keep_averages(acting, rate)
    return agent


def _new_agent(recipe: Recipe, contract: Contract, seed: int, device: torch.device | str) -> Agent:
    images = tuple(image.name for image in contract.images)
    if bool(images) != (recipe.encoder is not None):
        has = f"images: {', '.join(images)}" if images else "no images"
        sees = "states (it has no [encoder])" if images else "images (it has an [encoder])"
        raise ValueError(
            f"recipe '{recipe.name}' learns from {sees}; the task {contract.name} has {has}"
        )
    actions = torch.zeros(1, contract.action_dim)
    settings = _settings(recipe) | {"seed": seed, "device": device}
    if recipe.agent.kind == "hybrid":
        return _hybrid_agent(recipe, contract, settings)
    if recipe.agent.kind == "bc":
        return _cloning_agent(recipe, contract, settings)
    if recipe.agent.kind == "vice":
        return _vice_agent(recipe, contract, settings)
    if recipe.encoder is None:
        observations = {STATE: torch.zeros(1, contract.observation_dim)}
        states = SACAgent.create_states(observations, actions, **settings)
        states.numerics = numerics(recipe.training)
        return states
    pixels = DrQAgent.create_drq(
        example_observations(contract),
        actions,
        encoder=encoder_config(recipe.encoder, images),
        pixels=pixel_config(recipe.encoder, augment=recipe.agent.kind == "drq"),
        **settings,
    )
    pixels.sac.numerics = numerics(recipe.training)
    return pixels


def _hybrid_agent(recipe: Recipe, contract: Contract, settings: dict[str, Any]) -> HybridAgent:
    """Return an agent whose gripper is moved by a critic of its three commands."""
    last, images = contract.action[-1], tuple(image.name for image in contract.images)
    if not isinstance(last, GripperAction) or last.kind not in ("binary", "ternary"):
        raise ValueError(
            f"recipe '{recipe.name}' learns a gripper's commands; the last action of the task "
            f"{contract.name} is {last.name}: it must be a gripper of kind binary or ternary"
        )
    vision: dict[str, Any] = {}
    if recipe.encoder is not None:
        vision = {
            "encoder": encoder_config(recipe.encoder, images),
            "pixels": pixel_config(recipe.encoder, augment=True),
        }
    settings["optimizers"] |= {"grasp_critic": optimizer_config(recipe.grasp_critic_optimizer)}
    return HybridAgent.create(
        example_observations(contract),
        torch.zeros(1, contract.action_dim),
        gripper_threshold=TERNARY_THRESHOLD if last.threshold is None else last.threshold,
        grasp_critic_network_kwargs=network_kwargs(recipe.grasp_critic),
        **vision,
        **settings,
    )


def _cloning_agent(recipe: Recipe, contract: Contract, settings: Mapping[str, Any]) -> BCAgent:
    """Return an agent that imitates; of the settings those of a policy."""
    vision: dict[str, Any] = {}
    if recipe.encoder is not None:
        images = tuple(image.name for image in contract.images)
        vision = {
            "encoder": encoder_config(recipe.encoder, images),
            "pixels": pixel_config(recipe.encoder, augment=True),
        }
    names = ("policy_network_kwargs", "policy_kwargs", "seed", "device")
    return BCAgent.create(
        example_observations(contract),
        torch.zeros(1, contract.action_dim),
        optimizer=settings["optimizers"]["actor"],
        **vision,
        **{name: settings[name] for name in names},
    )


def _vice_agent(recipe: Recipe, contract: Contract, settings: dict[str, Any]) -> ViceAgent:
    """Return an agent that is rewarded by a classifier of goals; `goals` are still to be given."""
    assert recipe.encoder is not None  # `check_recipe`
    settings["optimizers"] |= {"vice": optimizer_config(recipe.vice_optimizer)}
    return ViceAgent.create_vice(
        example_observations(contract),
        torch.zeros(1, contract.action_dim),
        encoder=encoder_config(recipe.encoder, tuple(image.name for image in contract.images)),
        vice=ViceConfig(**dataclasses.asdict(recipe.vice)),
        pixels=pixel_config(recipe.encoder, augment=True),
        **settings,
    )


def pixel_config(recipe: EncoderRecipe, *, augment: bool) -> PixelConfig:
    """Return how the agent treats its images."""
    return PixelConfig(
        augment=augment,
        shift_padding=recipe.shift_padding,
        share_encodings=recipe.share_encodings,
    )


def numerics(recipe: TrainingRecipe) -> Numerics:
    """Return how gradients are computed."""
    return Numerics(recipe.precision, recipe.gradient_accumulation, recipe.cuda_graphs)


def _settings(recipe: Recipe) -> dict[str, Any]:
    """Return what all kinds of agents take."""
    agent = dataclasses.asdict(recipe.agent)
    policy = recipe.policy
    return {
        "critic_network_kwargs": network_kwargs(recipe.critic),
        "policy_network_kwargs": network_kwargs(policy),
        "policy_kwargs": {
            "std_parameterization": policy.std_parameterization,
            "std_min": policy.std_min,
            "std_max": policy.std_max,
            "fixed_std": None if policy.fixed_std is None else (policy.fixed_std,),
        },
        "optimizers": {
            name: optimizer_config(getattr(recipe, f"{name}_optimizer")) for name in NETWORKS
        },
        "temperature_init": recipe.agent.temperature_init,
        **{name: agent[name] for name in _SAC_SETTINGS},
    }


def example_observations(contract: Contract) -> dict[str, Tensor]:
    """Return one observation of zeros, (1, ...), shaped as in batches."""
    spec = observation_spec(contract)
    return {name: torch.zeros((1, *shape), dtype=dtype) for name, (shape, dtype) in spec.items()}


def encoder_config(recipe: EncoderRecipe, images: tuple[str, ...]) -> EncoderConfig:
    """Return how the agent sees these images and the state."""
    options = {
        name: getattr(recipe, name)
        for name in ("channels", "bottleneck_dim", "dropout")
        if getattr(recipe, name) is not None
    }
    if recipe.standardize_images:
        options["standardize_images"] = True
    return EncoderConfig(
        encoder_type=recipe.type,
        image_keys=images,
        proprio_keys=(STATE,),
        proprio_dim=recipe.proprio_dim,
        stack=None,
        join_cameras=recipe.join_cameras,
        crop=recipe.crop,
        weights=None if recipe.weights is None else Path(recipe.weights),
        last_block=recipe.last_block,
        trunk_precision=recipe.trunk_precision,
        options=options,
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
