"""DrQ: soft actor-critic from images that are shifted at random (Kostrikov et al. 2021).

Actor and critics share one image encoder, which only the critics' loss trains.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn

from serl_rt.learner.agents.high_utd import update_in_parts
from serl_rt.learner.agents.losses import Info
from serl_rt.learner.agents.parts import critic_on, policy_on, seeded_initialization
from serl_rt.learner.agents.sac import NETWORKS, SACAgent, SACConfig
from serl_rt.learner.data.batch import Batch
from serl_rt.learner.draws import Draws
from serl_rt.learner.networks.policy import Policy
from serl_rt.learner.networks.states import Observations
from serl_rt.learner.optim import OptimizerConfig
from serl_rt.learner.train_state import TrainState
from serl_rt.learner.vision.augment import move_images
from serl_rt.learner.vision.build import EncoderConfig, make_encoding_wrapper
from serl_rt.learner.vision.encoding import EncodingWrapper

SERL_DRQ: Mapping[str, Any] = {
    "discount": 0.96,
    "critic_ensemble_size": 10,
    "critic_subsample_size": 2,
}
"""SERL's launcher."""


@dataclass(frozen=True)
class PixelConfig:
    """What an agent does with a batch's images before its losses see them."""

    augment: bool = True
    """Move every image at random: a crop where the encoder has one, else a shift. Without it this
    is SAC on images (SERL's `SACAgent.create_pixels`)."""
    shift_padding: int = 4
    """Largest random shift [pixels], the edge repeated."""
    share_encodings: bool = False
    """Encode each image once per update, for all losses and targets: two passes through the
    encoder instead of six. Targets then use the online encoder (as DrQ-v2 does) and the head's
    dropout is off. SERL has a target encoder."""
    reward_bias: float = 0.0
    """Added to the rewards, e.g. -0.1 as a cost of time."""


def prepare_observations(
    observations: Observations, encoder: EncodingWrapper, config: PixelConfig, generator: Generator
) -> dict[str, Tensor]:
    """Move each camera's images, by its own draw, and pass them through frozen trunks.

    Cached features stay as they are.
    """
    if isinstance(observations, Tensor):
        raise TypeError("an agent with an encoder needs named observations, not one array")
    moved = dict(observations)
    for key in encoder.image_keys if config.augment else ():
        if not moved[key].is_floating_point():
            moved[key] = move_images(moved[key], encoder.crop, config.shift_padding, generator)
    return encoder.trunk_features(moved)


def prepare_batch(
    batch: Batch, encoder: EncodingWrapper, config: PixelConfig, generator: Generator
) -> Batch:
    """Prepare both observations, each by its own draws, once for all losses; bias the rewards."""
    return batch._replace(
        observations=prepare_observations(batch.observations, encoder, config, generator),
        next_observations=prepare_observations(batch.next_observations, encoder, config, generator),
        rewards=batch.rewards + config.reward_bias,
    )


def encode_batch(batch: Batch, encoder: EncodingWrapper, *, train: bool) -> Batch:
    """Replace all images by their vectors; with `train` a loss can train the encoder by them."""
    assert not isinstance(batch.observations, Tensor)
    assert not isinstance(batch.next_observations, Tensor)
    with torch.set_grad_enabled(train):
        observations = encoder.image_vectors(batch.observations)
    with torch.no_grad():
        next_observations = encoder.image_vectors(batch.next_observations)
    return batch._replace(observations=observations, next_observations=next_observations)


@dataclass
class DrQAgent:
    """A SAC agent and the encoder between its batches and its losses.

    Batches carry uint8 images, or in their place features of a frozen trunk (see `vision.cache`),
    which skip the trunk.
    """

    sac: SACAgent
    encoder: EncodingWrapper
    pixels: PixelConfig

    @property
    def state(self) -> TrainState:
        """Networks, targets, optimizers, generator."""
        return self.sac.state

    @property
    def draws(self) -> Draws:
        """Where the losses' noise comes from."""
        return self.sac.draws

    @draws.setter
    def draws(self, draws: Draws) -> None:
        self.sac.draws = draws

    @property
    def actor(self) -> Policy:
        """The policy."""
        return self.sac.actor

    def update(
        self, batch: Batch, networks_to_update: Iterable[str] = NETWORKS
    ) -> tuple[DrQAgent, Info]:
        """Update the named networks once, all losses at the parameters before the update."""
        return self.update_prepared(self.prepare(batch), networks_to_update)

    def update_critics(self, batch: Batch) -> tuple[DrQAgent, Info]:
        """Update only the critics and, by their loss, the encoder."""
        return self.update(batch, ("critic",))

    def update_high_utd(self, batch: Batch, *, utd_ratio: int) -> tuple[DrQAgent, Info]:
        """Update the critics on `utd_ratio` parts of the batch, then actor and temperature once.

        The actor sees the whole batch, in the same shifts. Raises ValueError when the batch does
        not divide.
        """
        return self, update_in_parts(self.update_prepared, self.prepare(batch), utd_ratio)

    def sample_actions(
        self,
        observations: Observations,
        *,
        argmax: bool = False,
        generator: Generator | None = None,
    ) -> Tensor:
        """Return actions (batch, action_dim): the policy's mode, or a sample from `generator`."""
        return self.sac.sample_actions(observations, argmax=argmax, generator=generator)

    def prepare(self, batch: Batch) -> Batch:
        """Do what comes before the losses: see `prepare_batch`."""
        return prepare_batch(batch, self.encoder, self.pixels, self.state.generator)

    def update_prepared(
        self, batch: Batch, networks: Iterable[str] = NETWORKS
    ) -> tuple[DrQAgent, Info]:
        """Update from a batch that went through `prepare`."""
        names = tuple(networks)
        if self.pixels.share_encodings:
            batch = encode_batch(batch, self.encoder, train="critic" in names)
        _, info = self.sac.update(batch, names)
        return self, info

    @classmethod
    def create_drq(
        cls,
        observations: Mapping[str, Tensor],
        actions: Tensor,
        *,
        encoder: EncoderConfig,
        pixels: PixelConfig = PixelConfig(),
        critic_network_kwargs: Mapping[str, Any] | None = None,
        policy_network_kwargs: Mapping[str, Any] | None = None,
        policy_kwargs: Mapping[str, Any] | None = None,
        optimizers: Mapping[str, OptimizerConfig] | None = None,
        temperature_init: float = 1e-2,
        seed: int = 0,
        device: torch.device | str = "cpu",
        target_networks: tuple[str, ...] = ("critic",),
        **settings: Any,
    ) -> DrQAgent:
        """Build an agent for observations shaped like the examples (batch, ...).

        `settings` are SACConfig's, over SERL's for images (`SERL_DRQ`).
        """
        config = SACConfig(**{**SERL_DRQ, **settings})
        action_dim = actions.shape[-1]
        with seeded_initialization(seed):
            wrapper = make_encoding_wrapper(encoder, observations)
            networks = pixel_networks(
                wrapper,
                action_dim,
                config,
                critic_network_kwargs,
                policy_network_kwargs,
                policy_kwargs,
            )
        sac = SACAgent.create(
            networks,
            config,
            temperature_init=temperature_init,
            target_entropy=-action_dim / 2,
            optimizers=optimizers,
            target_networks=target_networks,
            seed=seed,
            device=device,
        )
        return cls(sac, wrapper, pixels)


def pixel_networks(
    encoder: EncodingWrapper,
    action_dim: int,
    config: SACConfig,
    critic_network_kwargs: Mapping[str, Any] | None,
    policy_network_kwargs: Mapping[str, Any] | None,
    policy_kwargs: Mapping[str, Any] | None,
) -> dict[str, nn.Module]:
    """Return actor and critics on one encoder; the critics have one last layer, as SERL's."""
    size = config.critic_ensemble_size
    return {
        "actor": policy_on(encoder, action_dim, policy_network_kwargs, policy_kwargs),
        "critic": critic_on(encoder, action_dim, size, critic_network_kwargs, shared_head=True),
    }
