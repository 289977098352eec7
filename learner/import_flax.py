"""Parameters under the names and in the layouts of SERL's Flax modules.

`flax_views(module)` maps Flax names to views of the module's own tensors, transposed to Flax's
layout, so the one table serves reading SERL's parameters, writing them and comparing. Modules
elsewhere (image encoders) add theirs with `@flax_children.register`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import singledispatch
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from serl_rt.learner.networks.critic import Critic, DistributionalCritic, ValueCritic
from serl_rt.learner.networks.ensemble import EnsembleLayerNorm, EnsembleLinear
from serl_rt.learner.networks.lagrange import LagrangeMultiplier
from serl_rt.learner.networks.mlp import MLP, MLPResNet, MLPResNetBlock, Scalar
from serl_rt.learner.networks.policy import Policy
from serl_rt.learner.networks.states import StateEncoder

_VMAP = "VmapMLP_0/"
"""One more level that Flax puts in where only the trunk of a critic is ensembled."""

Child = nn.Module | Tensor
"""A submodule with its own names, or a view of a parameter in Flax's layout."""


@singledispatch
def flax_children(module: Any) -> dict[str, Child]:
    """Return what a Flax module calls its parts. Raises TypeError for an unknown class."""
    raise TypeError(f"no Flax names are known for {type(module).__name__}")


def flax_views(module: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    """Return every parameter by its Flax path (`network/Dense_0/kernel`), in Flax's layout."""
    views: dict[str, Tensor] = {}
    for name, child in flax_children(module).items():
        path = f"{prefix}/{name}" if prefix and name else prefix or name
        if isinstance(child, Tensor):
            views[path] = child.detach()
        else:
            views |= flax_views(child, path)
    return views


def load_flax(module: nn.Module, parameters: Mapping[str, NDArray[Any]], prefix: str = "") -> None:
    """Copy Flax parameters (flat, '/'-joined names under `prefix`) into a module.

    Raises ValueError that names what is missing, misshapen or left over.
    """
    start = f"{prefix}/" if prefix else ""
    given = {
        name.removeprefix(start).replace(_VMAP, ""): value
        for name, value in parameters.items()
        if name.startswith(start)
    }
    views = flax_views(module)
    for name, view in views.items():
        value = given.pop(name, None)
        if value is None:
            raise ValueError(f"{start}{name} is missing")
        if tuple(value.shape) != tuple(view.shape):
            raise ValueError(f"{start}{name} has shape {value.shape}, not {tuple(view.shape)}")
        view.copy_(torch.from_numpy(np.array(value)))
    if given:
        raise ValueError(f"no place for {', '.join(start + name for name in given)}")


@flax_children.register
def _linear(module: nn.Linear) -> dict[str, Child]:
    return {"kernel": module.weight.T, "bias": module.bias}


@flax_children.register
def _ensemble_linear(module: EnsembleLinear) -> dict[str, Child]:
    return {"kernel": module.weight, "bias": module.bias}


@flax_children.register
def _layer_norm(module: nn.LayerNorm) -> dict[str, Child]:
    return {"scale": module.weight, "bias": module.bias}


@flax_children.register
def _ensemble_layer_norm(module: EnsembleLayerNorm) -> dict[str, Child]:
    return {"scale": module.weight, "bias": module.bias}


@flax_children.register
def _identity(module: nn.Identity) -> dict[str, Child]:
    return {}


@flax_children.register
def _states(module: StateEncoder) -> dict[str, Child]:
    return {}


@flax_children.register
def _mlp(module: MLP) -> dict[str, Child]:
    layers = {f"Dense_{i}": layer for i, layer in enumerate(module.layers)}
    norms = {f"LayerNorm_{i}": norm for i, norm in enumerate(module.norms)}
    return {**layers, **norms}


@flax_children.register
def _mlp_resnet(module: MLPResNet) -> dict[str, Child]:
    blocks = {f"MLPResNetBlock_{i}": block for i, block in enumerate(module.blocks)}
    return {"Dense_0": module.first, **blocks, "Dense_1": module.last}


@flax_children.register
def _mlp_resnet_block(module: MLPResNetBlock) -> dict[str, Child]:
    norm = {} if isinstance(module.norm, nn.Identity) else {"LayerNorm_0": module.norm}
    return {**norm, "Dense_0": module.expand, "Dense_1": module.contract}


@flax_children.register
def _scalar(module: Scalar) -> dict[str, Child]:
    return {"value": module.value}


@flax_children.register
def _policy(module: Policy) -> dict[str, Child]:
    children: dict[str, Child] = {
        "encoder": cast(nn.Module, module.encoder),
        "network": module.network,
        "Dense_0": module.mean,
    }
    match module.std_parameterization:
        case "exp" | "softplus":
            children["Dense_1"] = module.std
        case "uniform":
            children["log_stds"] = module.log_stds
    return children


@flax_children.register
def _critic(module: Critic) -> dict[str, Child]:
    # Without the encoder: it is the policy's, and Flax keeps it there.
    return {"network": module.network, "Dense_0": module.head}


@flax_children.register(ValueCritic)
@flax_children.register(DistributionalCritic)
def _other_critic(module: ValueCritic | DistributionalCritic) -> dict[str, Child]:
    return {"network": module.network, "Dense_0": module.head}


@flax_children.register
def _lagrange(module: LagrangeMultiplier) -> dict[str, Child]:
    return {"lagrange": module.lagrange}
