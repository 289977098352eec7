"""The networks that agents have in common: a policy and critics on an encoder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from serl_rt.learner.networks.critic import Critic
from serl_rt.learner.networks.mlp import MLP
from serl_rt.learner.networks.policy import Policy
from serl_rt.learner.networks.states import ObservationEncoder

NETWORK_DEFAULTS: Mapping[str, Any] = {
    "hidden_dims": (256, 256),
    "activations": "tanh",
    "use_layer_norm": True,
    "activate_final": True,
}
"""SERL's launcher."""
POLICY_DEFAULTS: Mapping[str, Any] = {
    "tanh_squash_distribution": True,
    "std_parameterization": "exp",
    "std_min": 1e-5,
    "std_max": 5.0,
}


def policy_on(
    encoder: ObservationEncoder,
    action_dim: int,
    network_kwargs: Mapping[str, Any] | None = None,
    policy_kwargs: Mapping[str, Any] | None = None,
) -> Policy:
    """Return a policy on an encoder that it may share."""
    network = MLP(encoder.output_dim, **{**NETWORK_DEFAULTS, **(network_kwargs or {})})
    return Policy(encoder, network, action_dim, **{**POLICY_DEFAULTS, **(policy_kwargs or {})})


def critic_on(
    encoder: ObservationEncoder,
    action_dim: int,
    ensemble_size: int,
    network_kwargs: Mapping[str, Any] | None = None,
    *,
    shared_head: bool = False,
) -> Critic:
    """Return an ensemble of critics on an encoder that it may share.

    With `shared_head` all members have one last layer, as SERL's on images.
    """
    network = critic_network(encoder, action_dim, ensemble_size, network_kwargs)
    return Critic(encoder, network, ensemble_size=ensemble_size, shared_head=shared_head)


def critic_network(
    encoder: ObservationEncoder,
    action_dim: int,
    ensemble_size: int,
    network_kwargs: Mapping[str, Any] | None = None,
) -> MLP:
    """Return the hidden layers of such critics."""
    kwargs = {**NETWORK_DEFAULTS, **(network_kwargs or {})}
    return MLP(encoder.output_dim + action_dim, **kwargs, ensemble_size=ensemble_size)


@contextlib.contextmanager
def seeded_initialization(seed: int) -> Iterator[None]:
    """Draw initial parameters from `seed` and leave torch's global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
