"""VICE: DrQ whose reward is a classifier of goals, trained against the agent's own frames.

Fu et al. 2018, "Variational Inverse Control with Events". The operator gives pictures of the goal;
the classifier tells them from what the agent sees, so the agent cannot exploit it for long. Label
smoothing, mixup and a gradient penalty keep it from being certain too early.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor

from serl_rt.learner.agents.classifier_losses import gradient_penalty, mixup_loss
from serl_rt.learner.agents.drq import SERL_DRQ, DrQAgent, PixelConfig, pixel_networks
from serl_rt.learner.agents.high_utd import update_in_parts
from serl_rt.learner.agents.losses import Info
from serl_rt.learner.agents.parts import seeded_initialization
from serl_rt.learner.agents.sac import NETWORKS, SACAgent, SACConfig
from serl_rt.learner.data.batch import Batch
from serl_rt.learner.draws import Draws
from serl_rt.learner.networks.classifier import BinaryClassifier, classifier_network
from serl_rt.learner.networks.policy import Policy
from serl_rt.learner.networks.states import Observations
from serl_rt.learner.optim import OptimizerConfig
from serl_rt.learner.train_state import TrainState
from serl_rt.learner.vision.augment import random_shift
from serl_rt.learner.vision.build import EncoderConfig, make_encoding_wrapper
from serl_rt.learner.vision.encoding import EncodingWrapper
from serl_rt.learner.vision.trunk import FrozenTrunk


@dataclass(frozen=True)
class ViceConfig:
    """How the goal classifier is trained and read."""

    label_smoothing: float = 0.2
    """Labels are 1 - half of it and half of it."""
    gradient_penalty_weight: float = 10.0
    threshold: float = 0.5
    """Least probability that is rewarded."""
    bottleneck_dim: int = 512
    """Of its image heads."""
    hidden_dim: int = 256
    update_period: int = 1
    """Critic updates between two of the classifier's."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.label_smoothing < 1.0:
            raise ValueError(f"label_smoothing = {self.label_smoothing}: must be in [0, 1)")
        if not 0.0 < self.threshold < 1.0:
            raise ValueError(f"threshold = {self.threshold}: must be between 0 and 1")
        if self.update_period < 1:
            raise ValueError(f"update_period = {self.update_period}: must be at least 1")


@dataclass
class ViceAgent:
    """A DrQ agent and the goal classifier that rewards it."""

    drq: DrQAgent
    config: ViceConfig
    goals: Mapping[str, Tensor] | None = None
    """Pictures {camera: (n, height, width, 3)} on which `update` trains the classifier; or None."""

    @property
    def state(self) -> TrainState:
        """Networks, targets, optimizers, generator."""
        return self.drq.state

    @property
    def draws(self) -> Draws:
        """Where the losses' noise comes from."""
        return self.drq.draws

    @draws.setter
    def draws(self, draws: Draws) -> None:
        self.drq.draws = draws

    @property
    def actor(self) -> Policy:
        """The policy."""
        return self.drq.actor

    @property
    def encoder(self) -> EncodingWrapper:
        """What actor and critics see with."""
        return self.drq.encoder

    @property
    def classifier(self) -> BinaryClassifier:
        """Tells goals from other frames."""
        return self.state.networks["vice"]  # type: ignore[return-value]

    @torch.no_grad()
    def vice_reward(self, observations: Observations) -> Tensor:
        """Observations -> (batch,) probability of being a goal."""
        return torch.sigmoid(self.classifier(observations))

    def vice_loss(
        self, frames: Mapping[str, Tensor], goals: Mapping[str, Tensor]
    ) -> tuple[Tensor, Info]:
        """Loss of the classifier on the agent's frames (label 0) and on goals (label 1).

        Each picture is taken as it is and shifted at random. All cameras share the mixing.
        """
        generator = self.state.generator
        encoder = self.classifier.encoder
        assert isinstance(encoder, EncodingWrapper)
        pictures, targets = [], []
        for label, observations in enumerate((frames, goals)):
            for shifted in (False, True):
                pictures.append(self._pictures(observations, encoder, shifted))
                targets.append(torch.full((len(pictures[-1]),), float(label)))
        encoded = torch.cat(pictures)
        labels = torch.cat(targets).to(encoded.device)
        shuffle = torch.randperm(len(labels), generator=generator, device=generator.device)
        encoded, labels = encoded[shuffle.to(encoded.device)], labels[shuffle.to(encoded.device)]
        smooth = labels * (1.0 - self.config.label_smoothing) + 0.5 * self.config.label_smoothing

        classification, mixed = mixup_loss(self.classifier, encoded, smooth, generator)
        penalty = gradient_penalty(self.classifier, mixed, generator)
        loss = classification + self.config.gradient_penalty_weight * penalty
        with torch.no_grad():
            right = (self.classifier.logits(encoded) > 0) == (labels > 0.5)
        return loss, {
            "vice_loss": classification.detach(),
            "vice_gradient_penalty": penalty.detach(),
            "vice_accuracy": right.float().mean(),
        }

    def _pictures(
        self, observations: Mapping[str, Tensor], encoder: EncodingWrapper, shifted: bool
    ) -> Tensor:
        images = {key: observations[key] for key in encoder.image_keys}
        padding = self.drq.pixels.shift_padding
        for key, value in images.items():
            if shifted and padding and not value.is_floating_point():
                images[key] = random_shift(value, self.state.generator, padding=padding)
        vectors: Tensor = encoder(images, train=True)
        return vectors

    def update_vice(self, batch: Batch, goals: Mapping[str, Tensor]) -> tuple[ViceAgent, Info]:
        """Train the classifier to tell `goals` from the batch's next observations.

        goals: images of reached goals {camera: (n, ...)}, usually as many as the batch has rows.
        """
        assert not isinstance(batch.next_observations, Tensor)
        loss, info = self.vice_loss(batch.next_observations, goals)
        self.state.apply_gradients({"vice": self.state.gradients("vice", loss)})
        return self, info

    def _learn_goals(self, batch: Batch, updates: int) -> Info:
        """Train the classifier, if one of the next `updates` critic updates is due for that.

        Goals are drawn with replacement, as many as the batch has rows.
        """
        done, period = self.state.optimizers["critic"].count, self.config.update_period
        if self.goals is None or done // period == (done + updates) // period:
            return {}
        generator, known = self.state.generator, len(next(iter(self.goals.values())))
        rows = torch.randint(known, (batch.size,), generator=generator, device=generator.device)
        _, info = self.update_vice(batch, {key: value[rows] for key, value in self.goals.items()})
        return info

    def prepare(self, batch: Batch) -> Batch:
        """Prepare as DrQ, with the classifier's verdict on the next observation as reward."""
        batch = self.drq.prepare(batch)
        goal = self.vice_reward(batch.next_observations) >= self.config.threshold
        return batch._replace(rewards=goal.to(batch.rewards.dtype) + self.drq.pixels.reward_bias)

    def update(
        self, batch: Batch, networks_to_update: Iterable[str] = NETWORKS
    ) -> tuple[ViceAgent, Info]:
        """Train the classifier if that is due, then the named networks once on its rewards."""
        learned = self._learn_goals(batch, 1)
        batch = self.prepare(batch)
        _, info = self.drq.update_prepared(batch, networks_to_update)
        return self, learned | info | {"vice_rewards": batch.rewards.mean()}

    def update_critics(self, batch: Batch) -> tuple[ViceAgent, Info]:
        """Update only the critics."""
        return self.update(batch, ("critic",))

    def update_high_utd(self, batch: Batch, *, utd_ratio: int) -> tuple[ViceAgent, Info]:
        """Train the classifier if that is due, then do as DrQ on its rewards."""
        learned = self._learn_goals(batch, utd_ratio)
        batch = self.prepare(batch)
        info = update_in_parts(self.drq.update_prepared, batch, utd_ratio)
        return self, learned | info | {"vice_rewards": batch.rewards.mean()}

    def sample_actions(
        self,
        observations: Observations,
        *,
        argmax: bool = False,
        generator: Generator | None = None,
    ) -> Tensor:
        """Return actions (batch, action_dim): the policy's mode, or a sample from `generator`."""
        return self.drq.sample_actions(observations, argmax=argmax, generator=generator)

    @classmethod
    def create_vice(
        cls,
        observations: Mapping[str, Tensor],
        actions: Tensor,
        *,
        encoder: EncoderConfig,
        vice: ViceConfig = ViceConfig(),
        pixels: PixelConfig = PixelConfig(),  # noqa: B008 - frozen
        critic_network_kwargs: Mapping[str, Any] | None = None,
        policy_network_kwargs: Mapping[str, Any] | None = None,
        policy_kwargs: Mapping[str, Any] | None = None,
        optimizers: Mapping[str, OptimizerConfig] | None = None,
        temperature_init: float = 1e-2,
        seed: int = 0,
        device: torch.device | str = "cpu",
        **settings: Any,
    ) -> ViceAgent:
        """Build an agent for observations shaped like the examples (batch, ...), as `create_drq`.

        The classifier has image heads of its own, on the same frozen trunk if there is one.
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
            networks["vice"] = _make_classifier(encoder, observations, wrapper, vice)
        sac = SACAgent.create(
            networks,
            config,
            temperature_init=temperature_init,
            target_entropy=-action_dim / 2,
            optimizers=optimizers,
            seed=seed,
            device=device,
        )
        return cls(DrQAgent(sac, wrapper, pixels), vice)


def _make_classifier(
    config: EncoderConfig,
    observations: Mapping[str, Tensor],
    shared: EncodingWrapper,
    vice: ViceConfig,
) -> BinaryClassifier:
    trunk = shared.encoders[config.image_keys[0]].trunk
    options = {**config.options, "bottleneck_dim": vice.bottleneck_dim}
    encoder = make_encoding_wrapper(
        replace(config, proprio_keys=(), options=options),
        observations,
        trunk if isinstance(trunk, FrozenTrunk) else None,
    )
    network = classifier_network(
        encoder.output_dim, hidden_dim=vice.hidden_dim, activations="leaky_relu"
    )
    return BinaryClassifier(encoder, network)
