"""Soft actor-critic with an ensemble of critics.

One class covers SAC, REDQ (large ensemble, subsampled targets), RLPD (REDQ with layer norm on
batches half of demonstrations) and TD3-like agents (fixed standard deviation): they differ in
settings. Haarnoja et al. 2018, Chen et al. 2021, Ball et al. 2023.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from serl_rt.learner.agents.distributional import distributional_critic_loss, expected_values
from serl_rt.learner.agents.high_utd import (
    critics_leave_policy,
    update_in_parts,
    with_next_policy,
)
from serl_rt.learner.agents.losses import Info, actor_loss, critic_loss, temperature_loss
from serl_rt.learner.agents.parts import critic_network, critic_on, policy_on, seeded_initialization
from serl_rt.learner.data.batch import Batch
from serl_rt.learner.draws import Draws, GeneratorDraws
from serl_rt.learner.networks.critic import DistributionalCritic
from serl_rt.learner.networks.lagrange import LagrangeMultiplier
from serl_rt.learner.networks.policy import Policy
from serl_rt.learner.networks.states import Observations, StateEncoder
from serl_rt.learner.numerics import Numerics
from serl_rt.learner.optim import OptimizerConfig
from serl_rt.learner.train_state import TrainState

if TYPE_CHECKING:
    from serl_rt.learner.compile import CompiledUpdates

NETWORKS = ("actor", "critic", "temperature")


@dataclass(frozen=True)
class SACConfig:
    """The algorithm's settings, networks and optimizers aside."""

    discount: float = 0.95
    soft_target_update_rate: float = 0.005
    target_entropy: float | None = None
    """Entropy that the temperature holds the policy at; None is -action_dim / 2."""
    critic_ensemble_size: int = 2
    critic_subsample_size: int | None = None
    """Members drawn, with replacement, for each target; None is all."""
    backup_entropy: bool = False
    """Subtract temperature * log pi from the target."""
    discount_entropy_backup: bool = False
    """Multiply that by discount and mask, as in the papers; SERL does not."""
    bc_weight: float = 0.0
    """Weight of the squared distance to demonstrated actions in the actor's loss."""
    encoder_bc_weight: float = 0.0
    """Weight of the same in the critic's loss, which trains the encoder and no other network."""
    step_unused_optimizers: bool = False
    """Step the optimizers of networks left out of an update with zero gradients, as SERL does."""
    num_atoms: int | None = None
    """Critics give a distribution of returns over so many atoms (C51); None is its mean alone."""
    value_low: float = -10.0
    value_high: float = 10.0
    """The outermost atoms, for C51."""
    optimizers_cover_all: bool = False
    """Let every optimizer cover every parameter, as SERL's do: matters with weight decay."""


@dataclass
class SACAgent:
    """Networks under training and the rules that change them.

    Updates change the agent in place and return it, so that SERL's `agent, info = agent.update(b)`
    reads the same.
    """

    config: SACConfig
    state: TrainState
    target_entropy: float
    draws: Draws = field(init=False)
    compiled: CompiledUpdates | None = None
    """Does what an update does, faster; see learner/compile.py."""

    numerics: Numerics = field(default_factory=Numerics)
    """How gradients are computed: precision, and in how many parts."""

    def __post_init__(self) -> None:
        self.draws = GeneratorDraws(self.state.generator)
        for name in ("bc_weight", "encoder_bc_weight"):
            if (weight := getattr(self.config, name)) < 0.0:
                raise ValueError(f"{name} = {weight}: must not be negative")
        subsample, size = self.config.critic_subsample_size, self.config.critic_ensemble_size
        if subsample is not None and not 1 <= subsample <= size:
            raise ValueError(
                f"critic_subsample_size = {subsample}: must be from 1 to "
                f"critic_ensemble_size = {size}"
            )

    # --- networks -------------------------------------------------------------------------------

    @property
    def actor(self) -> Policy:
        """The policy."""
        return self.state.networks["actor"]  # type: ignore[return-value]

    @property
    def critic(self) -> nn.Module:
        """The critics; ([ensemble,] batch) values."""
        return self.state.networks["critic"]

    @property
    def target_critic(self) -> nn.Module:
        """Their EMA copy."""
        return self.state.targets["critic"]

    @property
    def temperature(self) -> LagrangeMultiplier:
        """The multiplier of the entropy constraint."""
        return self.state.networks["temperature"]  # type: ignore[return-value]

    def q_values(self, observations: Observations, actions: Tensor) -> Tensor:
        """Return every member's value, (ensemble, batch), differentiable by the actions only."""
        result = self.critic(observations, actions, detach_features=True)
        return result if self.config.num_atoms is None else expected_values(*result)

    # --- updates --------------------------------------------------------------------------------

    def losses(self) -> dict[str, Callable[[Batch], tuple[Tensor, Info]]]:
        """Return the loss of each network, in the order in which they draw random numbers."""
        critic = critic_loss if self.config.num_atoms is None else distributional_critic_loss
        functions = {"actor": actor_loss, "critic": critic, "temperature": temperature_loss}
        return {name: partial(function, self) for name, function in functions.items()}

    def update(
        self, batch: Batch, networks_to_update: Iterable[str] = NETWORKS
    ) -> tuple[SACAgent, Info]:
        """Update the named networks once, all losses at the parameters before the update."""
        names = frozenset(networks_to_update)
        if not names <= set(NETWORKS):
            unknown = ", ".join(sorted(names - set(NETWORKS)))
            raise ValueError(f"networks_to_update: unknown {unknown}; choose {', '.join(NETWORKS)}")
        function = self.update_eagerly if self.compiled is None else self.compiled
        return self, function(batch, names)

    def update_eagerly(self, batch: Batch, names: Iterable[str]) -> Info:
        """Update the named networks, operation by operation."""
        gradients: dict[str, list[Tensor]] = {}
        info: Info = {}
        for name, loss_function in self.losses().items():
            if name in names:
                differentiate = partial(self.state.gradients, name)
                gradients[name], metrics = self.numerics.gradients(
                    loss_function, batch, differentiate
                )
                info |= metrics
        if self.numerics.usable(gradients):
            self.state.apply_gradients(gradients)
            if "critic" in names:
                self.state.update_targets(self.config.soft_target_update_rate)
        return info | self.state.learning_rates()

    def update_critics(self, batch: Batch) -> tuple[SACAgent, Info]:
        """Update only the critics."""
        return self.update(batch, ("critic",))

    def update_high_utd(self, batch: Batch, *, utd_ratio: int) -> tuple[SACAgent, Info]:
        """Update the critics on `utd_ratio` parts of the batch, then actor and temperature once.

        The actor sees the whole batch. Critic metrics are the mean over the parts. Raises
        ValueError when the batch does not divide.
        """
        if utd_ratio > 1 and critics_leave_policy(self):
            batch = with_next_policy(self, batch)
        return self, update_in_parts(self.update, batch, utd_ratio)

    # --- acting ---------------------------------------------------------------------------------

    @torch.no_grad()
    def sample_actions(
        self,
        observations: Observations,
        *,
        argmax: bool = False,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return actions (batch, action_dim): the policy's mode, or a sample from `generator`."""
        distribution = self.actor(observations)
        mode: Tensor = distribution.mode()
        if argmax:
            return mode
        if generator is None:
            raise ValueError("sample_actions: give a generator, or argmax=True")
        noise = torch.randn(mode.shape, generator=generator, device=generator.device)
        sample: Tensor = distribution.sample(noise.to(mode.device))
        return sample

    # --- construction ---------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        networks: Mapping[str, nn.Module],
        config: SACConfig,
        *,
        temperature_init: float,
        target_entropy: float,
        optimizers: Mapping[str, OptimizerConfig] | None = None,
        target_networks: Sequence[str] = ("critic",),
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> SACAgent:
        """Put an agent together from actor, critic and what else shares its state.

        Adds the temperature. Every network gets an optimizer, Adam at 3e-4 where `optimizers`
        names none. `target_entropy` is what counts where the config leaves it open.
        """
        temperature = LagrangeMultiplier(temperature_init, constraint="geq")
        networks = {**networks, "temperature": temperature}
        state = TrainState(
            networks,
            {name: (optimizers or {}).get(name, OptimizerConfig()) for name in sorted(networks)},
            targets=target_networks,
            seed=seed,
            device=device,
            step_unused=config.step_unused_optimizers,
            all_parameters=config.optimizers_cover_all,
        )
        entropy = config.target_entropy
        return cls(config, state, target_entropy if entropy is None else entropy)

    @classmethod
    def create_states(
        cls,
        observations: Observations,
        actions: Tensor,
        *,
        critic_network_kwargs: Mapping[str, Any] | None = None,
        policy_network_kwargs: Mapping[str, Any] | None = None,
        policy_kwargs: Mapping[str, Any] | None = None,
        optimizers: Mapping[str, OptimizerConfig] | None = None,
        temperature_init: float = 1.0,
        seed: int = 0,
        device: torch.device | str = "cpu",
        target_networks: Sequence[str] = ("critic",),
        **settings: Any,
    ) -> SACAgent:
        """Build an agent for state vectors shaped like the examples (batch, ...).

        `critic_network_kwargs` and `policy_network_kwargs` are MLP's, `policy_kwargs` Policy's,
        the remaining `settings` SACConfig's. The same seed gives the same parameters.
        """
        config = SACConfig(**settings)
        action_dim, size = actions.shape[-1], config.critic_ensemble_size
        encoder = StateEncoder.for_observations(observations)
        with seeded_initialization(seed):
            actor = policy_on(encoder, action_dim, policy_network_kwargs, policy_kwargs)
            critic: nn.Module
            if config.num_atoms is None:
                critic = critic_on(encoder, action_dim, size, critic_network_kwargs)
            else:
                critic = DistributionalCritic(
                    encoder,
                    critic_network(encoder, action_dim, size, critic_network_kwargs),
                    q_low=config.value_low,
                    q_high=config.value_high,
                    num_bins=config.num_atoms,
                    ensemble_size=size,
                )
        return cls.create(
            {"actor": actor, "critic": critic},
            config,
            temperature_init=temperature_init,
            target_entropy=-action_dim / 2,
            optimizers=optimizers,
            target_networks=target_networks,
            seed=seed,
            device=device,
        )
