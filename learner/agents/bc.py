"""Behaviour cloning, and its interactive form HG-DAgger (Kelly et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Generator, Tensor

from serl_rt.learner.agents.drq import PixelConfig, prepare_observations
from serl_rt.learner.agents.high_utd import cut
from serl_rt.learner.agents.losses import Info, mean_info
from serl_rt.learner.agents.parts import policy_on, seeded_initialization
from serl_rt.learner.data.batch import Batch, concat_batches
from serl_rt.learner.draws import Draws, GeneratorDraws
from serl_rt.learner.networks.policy import Policy
from serl_rt.learner.networks.states import Observations, StateEncoder
from serl_rt.learner.optim import OptimizerConfig
from serl_rt.learner.train_state import TrainState
from serl_rt.learner.vision.build import EncoderConfig, make_encoding_wrapper
from serl_rt.learner.vision.encoding import EncodingWrapper

LARGEST_ACTION = 1.0 - 1e-6
"""Where a squashed policy's actions are cut: at 1 its log-density is infinite."""


@dataclass
class BCAgent:
    """A policy that imitates the actions of its batches."""

    state: TrainState
    encoder: EncodingWrapper | None = None
    """None for state vectors."""
    pixels: PixelConfig = PixelConfig()
    draws: Draws = field(init=False)
    """Cloning draws nothing but the random shifts of images, from the state's generator."""

    def __post_init__(self) -> None:
        self.draws = GeneratorDraws(self.state.generator)

    @property
    def actor(self) -> Policy:
        """The policy."""
        return self.state.networks["actor"]  # type: ignore[return-value]

    def loss(self, batch: Batch) -> tuple[Tensor, Info]:
        """-mean log pi(a|s); `mse` is the squared distance of the mode, summed over components."""
        distribution = self.actor(batch.observations, train=True)
        actions = batch.actions
        if self.actor.tanh_squash_distribution:
            actions = actions.clamp(-LARGEST_ACTION, LARGEST_ACTION)
        loss = -distribution.log_prob(actions).mean()
        distances = (distribution.mode().detach() - batch.actions).square().sum(-1)
        return loss, {"actor_loss": loss.detach(), "mse": distances.mean()}

    def update(self, batch: Batch) -> tuple[BCAgent, Info]:
        """Take one step towards the batch's actions."""
        if self.encoder is not None:
            generator = self.state.generator
            seen = prepare_observations(batch.observations, self.encoder, self.pixels, generator)
            batch = batch._replace(observations=seen)
        loss, info = self.loss(batch)
        self.state.apply_gradients({"actor": self.state.gradients("actor", loss)})
        return self, info | self.state.learning_rates()

    def update_high_utd(self, batch: Batch, *, utd_ratio: int) -> tuple[BCAgent, Info]:
        """Take `utd_ratio` steps, each towards its part of the batch.

        Raises ValueError when the batch does not divide.
        """
        return self, mean_info([self.update(part)[1] for part in cut(batch, utd_ratio)])

    @torch.no_grad()
    def sample_actions(
        self,
        observations: Observations,
        *,
        argmax: bool = False,
        generator: Generator | None = None,
        temperature: float = 1.0,
    ) -> Tensor:
        """Return actions (batch, action_dim): the policy's mode, or a sample from `generator`.

        `temperature` scales the variance. The actions of a policy that is not squashed are cut to
        [-1, 1].
        """
        distribution = self.actor(observations, temperature=temperature)
        actions: Tensor = distribution.mode()
        if not argmax:
            if generator is None:
                raise ValueError("sample_actions: give a generator, or argmax=True")
            noise = torch.randn(actions.shape, generator=generator, device=generator.device)
            actions = distribution.sample(noise.to(actions.device))
        return actions.clamp(-1.0, 1.0)

    @classmethod
    def create(
        cls,
        observations: Observations,
        actions: Tensor,
        *,
        encoder: EncoderConfig | None = None,
        pixels: PixelConfig = PixelConfig(),  # noqa: B008 - frozen
        train_encoder: bool = True,
        tanh_squash_distribution: bool = False,
        policy_network_kwargs: Mapping[str, Any] | None = None,
        policy_kwargs: Mapping[str, Any] | None = None,
        optimizer: OptimizerConfig = OptimizerConfig(),  # noqa: B008 - frozen
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> BCAgent:
        """Build an agent for observations shaped like the examples (batch, ...).

        `encoder` says how to see; None is for state vectors. With `train_encoder` the cloning
        loss trains what is not frozen of the encoder. SERL's never does (False): there the image
        features stay what the initialisation made them.
        """
        kwargs = {"tanh_squash_distribution": tanh_squash_distribution, **(policy_kwargs or {})}
        kwargs["train_encoder"] = train_encoder
        action_dim = actions.shape[-1]
        wrapper = None
        with seeded_initialization(seed):
            if encoder is None:
                states = StateEncoder.for_observations(observations)
                policy = policy_on(states, action_dim, policy_network_kwargs, kwargs)
            else:
                if isinstance(observations, Tensor):
                    raise TypeError("an encoder needs named observations, not one array")
                wrapper = make_encoding_wrapper(encoder, observations)
                policy = policy_on(wrapper, action_dim, policy_network_kwargs, kwargs)
        state = TrainState({"actor": policy}, {"actor": optimizer}, seed=seed, device=device)
        return cls(state, wrapper, pixels)


def hg_dagger_update(
    agent: BCAgent, demonstrations: Batch, interventions: Batch | None
) -> tuple[BCAgent, Info]:
    """Clone the demonstrations and the corrections made so far; None while there are none.

    HG-DAgger trains on the aggregate of both, with only the operator's own steps of the rollouts.
    The share of each batch decides their weight.
    """
    if interventions is None:
        return agent.update(demonstrations)
    return agent.update(concat_batches((demonstrations, interventions)))
