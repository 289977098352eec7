"""Hybrid agents: soft actor-critic moves the arms, a discrete critic (DQN) the grippers.

HIL-SERL's agents for a learned gripper, with one arm or two. The last component of each arm's
action is its gripper's: -1 closes, 0 keeps, 1 opens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from serl_rt.learner.agents.drq import PixelConfig, encode_batch, prepare_batch
from serl_rt.learner.agents.high_utd import update_in_parts
from serl_rt.learner.agents.losses import Info, actor_loss, critic_loss, temperature_loss
from serl_rt.learner.agents.parts import (
    NETWORK_DEFAULTS,
    critic_on,
    policy_on,
    seeded_initialization,
)
from serl_rt.learner.agents.sac import SACAgent, SACConfig
from serl_rt.learner.data.batch import Batch
from serl_rt.learner.draws import Draws
from serl_rt.learner.networks.grasp import GraspCritic
from serl_rt.learner.networks.mlp import MLP
from serl_rt.learner.networks.policy import Policy
from serl_rt.learner.networks.states import ObservationEncoder, Observations, StateEncoder
from serl_rt.learner.optim import OptimizerConfig
from serl_rt.learner.train_state import TrainState
from serl_rt.learner.vision.build import EncoderConfig, make_encoding_wrapper
from serl_rt.learner.vision.encoding import EncodingWrapper

HYBRID_NETWORKS = ("actor", "critic", "grasp_critic", "temperature")
HIL_SERL: Mapping[str, Any] = {"discount": 0.97, "critic_ensemble_size": 2}
"""HIL-SERL's launcher."""
COMMANDS = 3  # of a gripper: close, keep, open


@dataclass(frozen=True)
class Arms:
    """Which components of an action move arms, and which grippers."""

    action_dim: int
    count: int = 1
    threshold: float = 0.5
    """From which size on a gripper's component opens or closes it."""

    def __post_init__(self) -> None:
        if self.count not in (1, 2):
            raise ValueError(f"{self.count} arms: must be 1 or 2")
        if self.action_dim % self.count or self.action_dim < 2 * self.count:
            raise ValueError(f"an action of {self.action_dim} components is not {self.count} arms'")

    @property
    def continuous(self) -> list[int]:
        """Components that the policy gives."""
        grippers = self.grippers
        return [i for i in range(self.action_dim) if i not in grippers]

    @property
    def grippers(self) -> list[int]:
        """The last component of each arm."""
        width = self.action_dim // self.count
        return [width * (arm + 1) - 1 for arm in range(self.count)]

    @property
    def num_commands(self) -> int:
        """Joint commands of all grippers."""
        return COMMANDS if self.count == 1 else COMMANDS**2

    def command_index(self, actions: Tensor) -> Tensor:
        """(batch, action_dim) -> (batch,) index of the joint command, left arm first."""
        given = actions[:, self.grippers]
        commands = (given > self.threshold).long() - (given < -self.threshold).long() + 1
        index = commands[:, 0]
        for arm in range(1, self.count):
            index = COMMANDS * index + commands[:, arm]
        return index

    def commands(self, index: Tensor) -> Tensor:
        """(batch,) index of a joint command -> (batch, count) -1, 0 or 1, left arm first."""
        commands = []
        for _ in range(self.count):
            commands.append(index % COMMANDS - 1)
            index = index // COMMANDS
        return torch.stack(commands[::-1], dim=1)

    def interleave(self, continuous: Tensor, grippers: Tensor) -> Tensor:
        """The policy's components and (batch, count) grippers', in their places."""
        each = continuous.reshape(-1, self.count, self.action_dim // self.count - 1)
        return torch.cat([each, grippers.to(each.dtype).unsqueeze(2)], dim=2).flatten(1)

    def join(self, continuous: Tensor, index: Tensor) -> Tensor:
        """The policy's components and a joint command, put together: (batch, action_dim)."""
        return self.interleave(continuous, self.commands(index))


@dataclass
class HybridAgent:
    """A SAC agent on the continuous components and a grasp critic beside it.

    All losses of an update are taken at the same parameters.
    """

    sac: SACAgent
    arms: Arms
    encoder: EncodingWrapper | None = None
    """None for state vectors."""
    pixels: PixelConfig = PixelConfig()

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
        """The policy of the arms."""
        return self.sac.actor

    @property
    def grasp_critic(self) -> GraspCritic:
        """Values of the grippers' joint commands."""
        return self.state.networks["grasp_critic"]  # type: ignore[return-value]

    def grasp_critic_loss(self, batch: Batch) -> tuple[Tensor, Info]:
        """Mean squared error to r + penalty + discount * mask * Q_target(s', argmax Q(s', .)).

        Double DQN (van Hasselt et al. 2016). The penalty never enters the other critic.
        """
        if batch.grasp_penalty is None:
            raise ValueError("batch: 'grasp_penalty' is missing, which a hybrid agent needs")
        rewards = batch.rewards + batch.grasp_penalty
        with torch.no_grad():
            best = self.grasp_critic(batch.next_observations).argmax(-1, keepdim=True)
            target_critic = self.state.targets["grasp_critic"]
            next_qs = target_critic(batch.next_observations).gather(1, best).squeeze(1)
            target = rewards + self.sac.config.discount * batch.masks * next_qs
        taken = self.arms.command_index(batch.actions).unsqueeze(1)
        qs = self.grasp_critic(batch.observations, train=True).gather(1, taken).squeeze(1)
        loss = F.mse_loss(qs, target)
        return loss, {
            "grasp_critic_loss": loss.detach(),
            "predicted_grasp_qs": qs.detach().mean(),
            "target_grasp_qs": target.mean(),
            "grasp_rewards": rewards.mean(),
        }

    def update(
        self, batch: Batch, networks_to_update: Iterable[str] = HYBRID_NETWORKS
    ) -> tuple[HybridAgent, Info]:
        """Update the named networks once."""
        return self._update(self._prepare(batch), networks_to_update)

    def update_critics(self, batch: Batch) -> tuple[HybridAgent, Info]:
        """Update both critics."""
        return self.update(batch, ("critic", "grasp_critic"))

    def update_high_utd(self, batch: Batch, *, utd_ratio: int) -> tuple[HybridAgent, Info]:
        """Update both critics on `utd_ratio` parts of the batch, then the rest on all of it."""
        critics = ("critic", "grasp_critic")
        return self, update_in_parts(self._update, self._prepare(batch), utd_ratio, critics)

    def _prepare(self, batch: Batch) -> Batch:
        if self.encoder is not None:
            return prepare_batch(batch, self.encoder, self.pixels, self.state.generator)
        return batch._replace(rewards=batch.rewards + self.pixels.reward_bias)

    def _update(self, batch: Batch, networks: Iterable[str]) -> tuple[HybridAgent, Info]:
        names = frozenset(networks)
        if not names <= set(HYBRID_NETWORKS):
            unknown = ", ".join(sorted(names - set(HYBRID_NETWORKS)))
            choices = ", ".join(HYBRID_NETWORKS)
            raise ValueError(f"networks_to_update: unknown {unknown}; choose {choices}")
        arms, grippers = self._views(batch, names)
        losses: dict[str, Callable[[], tuple[Tensor, Info]]] = {
            "actor": lambda: actor_loss(self.sac, arms),
            "critic": lambda: critic_loss(self.sac, arms),
            "grasp_critic": lambda: self.grasp_critic_loss(grippers),
            "temperature": lambda: temperature_loss(self.sac, arms),
        }
        gradients: dict[str, list[Tensor]] = {}
        info: Info = {"rewards": batch.rewards.mean()}
        for name, loss_function in losses.items():
            if name in names:
                loss, metrics = loss_function()
                gradients[name] = self.state.gradients(name, loss)
                info |= metrics
        self.state.apply_gradients(gradients)
        if "critic" in names:
            self.state.update_targets(self.sac.config.soft_target_update_rate)
        return self, info | self.state.learning_rates()

    def _views(self, batch: Batch, names: frozenset[str]) -> tuple[Batch, Batch]:
        """The batch as the arms' losses see it, and as the grippers' does.

        With shared encodings each of the two critics still encodes for itself: both train the
        encoder, and a graph is differentiated only once.
        """
        arms = grippers = batch
        if self.encoder is not None and self.pixels.share_encodings:
            arms = encode_batch(batch, self.encoder, train="critic" in names)
            grippers = batch._replace(next_observations=arms.next_observations)
        return arms._replace(actions=batch.actions[:, self.arms.continuous]), grippers

    @torch.no_grad()
    def sample_actions(
        self,
        observations: Observations,
        *,
        argmax: bool = False,
        generator: Generator | None = None,
    ) -> Tensor:
        """Return actions (batch, action_dim): arms as SAC, grippers always greedily."""
        arms = self.sac.sample_actions(observations, argmax=argmax, generator=generator)
        return self.arms.join(arms, self.grasp_critic(observations).argmax(-1))

    @classmethod
    def create(
        cls,
        observations: Observations,
        actions: Tensor,
        *,
        arms: int = 1,
        gripper_threshold: float = 0.5,
        encoder: EncoderConfig | None = None,
        pixels: PixelConfig = PixelConfig(),  # noqa: B008 - frozen
        critic_network_kwargs: Mapping[str, Any] | None = None,
        grasp_critic_network_kwargs: Mapping[str, Any] | None = None,
        policy_network_kwargs: Mapping[str, Any] | None = None,
        policy_kwargs: Mapping[str, Any] | None = None,
        optimizers: Mapping[str, OptimizerConfig] | None = None,
        temperature_init: float = 1e-2,
        seed: int = 0,
        device: torch.device | str = "cpu",
        target_networks: tuple[str, ...] = ("critic", "grasp_critic"),
        **settings: Any,
    ) -> HybridAgent:
        """Build an agent for observations and full actions shaped like the examples (batch, ...).

        `arms` is 1 or 2; a gripper's component of at least `gripper_threshold` opens or closes it;
        `settings` are SACConfig's, over HIL-SERL's. The default target entropy
        counts the grippers' components too, as HIL-SERL's does.
        """
        config = SACConfig(**{**HIL_SERL, **settings})
        layout = Arms(actions.shape[-1], arms, gripper_threshold)
        grasp_kwargs = {
            **NETWORK_DEFAULTS,
            "activate_final": False,  # as HIL-SERL's launcher leaves it
            **(grasp_critic_network_kwargs or {}),
        }
        dim = len(layout.continuous)
        with seeded_initialization(seed):
            seen = _make_encoder(observations, encoder)
            networks = {
                "actor": policy_on(seen, dim, policy_network_kwargs, policy_kwargs),
                "critic": critic_on(
                    seen, dim, config.critic_ensemble_size, critic_network_kwargs, shared_head=True
                ),
                "grasp_critic": GraspCritic(
                    seen, MLP(seen.output_dim, **grasp_kwargs), layout.num_commands
                ),
            }
        sac = SACAgent.create(
            networks,
            config,
            temperature_init=temperature_init,
            target_entropy=-layout.action_dim / 2,
            optimizers=optimizers,
            target_networks=target_networks,
            seed=seed,
            device=device,
        )
        return cls(sac, layout, seen if isinstance(seen, EncodingWrapper) else None, pixels)


def _make_encoder(observations: Observations, config: EncoderConfig | None) -> ObservationEncoder:
    if config is None:
        return StateEncoder.for_observations(observations)
    if isinstance(observations, Tensor):
        raise TypeError("an encoder needs named observations, not one array")
    return make_encoding_wrapper(config, observations)
