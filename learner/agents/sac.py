"""Soft actor-critic with an ensemble of critics.

One class covers SAC, REDQ (large ensemble, subsampled targets), RLPD (REDQ with layer norm on
batches half of demonstrations) and TD3-like agents (fixed standard deviation): they differ in
settings. Haarnoja et al. 2018, Chen et al. 2021, Ball et al. 2023.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from serl_rt.learner.data.batch import Batch, slice_batch
from serl_rt.learner.draws import Draws, GeneratorDraws
from serl_rt.learner.networks.critic import Critic
from serl_rt.learner.networks.lagrange import LagrangeMultiplier
from serl_rt.learner.networks.mlp import MLP
from serl_rt.learner.networks.policy import Policy
from serl_rt.learner.networks.states import Observations, StateEncoder
from serl_rt.learner.optim import OptimizerConfig
from serl_rt.learner.train_state import TrainState

Info = dict[str, Tensor | float]
"""Metrics: 0-dimensional tensors (not yet synchronised) or numbers."""

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
    step_unused_optimizers: bool = False
    """Step the optimizers of networks left out of an update with zero gradients, as SERL does."""
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
    compiled: Callable[[Batch, Iterable[str]], Info] | None = None
    """Does what an update does, faster; see learner/compile.py."""

    def __post_init__(self) -> None:
        self.draws = GeneratorDraws(self.state.generator)
        if self.config.bc_weight < 0.0:
            raise ValueError(f"bc_weight = {self.config.bc_weight}: must not be negative")
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

    # --- losses ---------------------------------------------------------------------------------

    def target_values(self, batch: Batch) -> Tensor:
        """Return y = r + discount * mask * min_i Q_i(s', a'), a' ~ pi(s'); (batch,)."""
        config = self.config
        next_actions, log_probs = self._sample(batch.next_observations, batch.size)
        members = None
        if config.critic_subsample_size is not None:
            members = self.draws.integers(config.critic_ensemble_size, config.critic_subsample_size)
        next_qs = self.target_critic(batch.next_observations, next_actions, members=members)
        discounts = config.discount * batch.masks
        target: Tensor = batch.rewards + discounts * next_qs.amin(0)
        if config.backup_entropy:
            bonus = self.temperature() * log_probs
            target = target - (discounts * bonus if config.discount_entropy_backup else bonus)
        return target

    def critic_loss(self, batch: Batch) -> tuple[Tensor, Info]:
        """Mean over members and batch of (Q - y)^2."""
        with torch.no_grad():
            target = self.target_values(batch)
        qs = self.critic(batch.observations, batch.actions, train=True)  # (ensemble, batch)
        loss = (qs - target).square().mean()
        return loss, {
            "critic_loss": loss.detach(),
            "predicted_qs": qs.detach().mean(),
            "target_qs": target.mean(),
        }

    def actor_loss(self, batch: Batch) -> tuple[Tensor, Info]:
        """Mean of temperature * log pi(a|s) - mean_i Q_i(s, a), a ~ pi(s)."""
        noise = self.draws.normal(batch.size, self.actor.action_dim)
        distribution = self.actor(batch.observations, train=True)
        actions, log_probs = distribution.sample_and_log_prob(noise)
        temperature = self.temperature().detach()
        qs = self.critic(batch.observations, actions, detach_features=True).mean(0)
        loss = (temperature * log_probs - qs).mean()
        info: Info = {
            "actor_loss": loss.detach(),
            "temperature": temperature,
            "entropy": -log_probs.detach().mean(),
        }
        if self.config.bc_weight:
            distance = imitation_loss(distribution.mode(), batch)
            loss = loss + self.config.bc_weight * distance
            info["bc_loss"] = distance.detach()
        return loss, info

    def temperature_loss(self, batch: Batch) -> tuple[Tensor, Info]:
        """temperature * (entropy - target entropy), entropy = -mean log pi(a'|s')."""
        with torch.no_grad():
            _, log_probs = self._sample(batch.next_observations, batch.size)
        loss = self.temperature(lhs=-log_probs.mean(), rhs=self.target_entropy)
        return loss, {"temperature_loss": loss.detach()}

    def losses(self) -> dict[str, Callable[[Batch], tuple[Tensor, Info]]]:
        """Return the loss of each network, in the order in which they draw random numbers."""
        return {
            "actor": self.actor_loss,
            "critic": self.critic_loss,
            "temperature": self.temperature_loss,
        }

    def _sample(self, observations: Observations, count: int) -> tuple[Tensor, Tensor]:
        noise = self.draws.normal(count, self.actor.action_dim)
        distribution = self.actor(observations, train=True)
        result: tuple[Tensor, Tensor] = distribution.sample_and_log_prob(noise)
        return result

    # --- updates --------------------------------------------------------------------------------

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
                loss, metrics = loss_function(batch)
                gradients[name] = self.state.gradients(name, loss)
                info |= metrics
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
        if utd_ratio < 1 or batch.size % utd_ratio:
            raise ValueError(f"utd_ratio = {utd_ratio} does not divide the batch of {batch.size}")
        part = batch.size // utd_ratio
        infos: list[Info] = []
        for start in range(0, batch.size, part):
            _, info = self.update_critics(slice_batch(batch, start, start + part))
            infos.append(info)
        _, info = self.update(batch, ("actor", "temperature"))
        return self, mean_info(infos) | info

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
        actor: Policy,
        critic: nn.Module,
        config: SACConfig,
        *,
        temperature_init: float = 1.0,
        optimizers: Mapping[str, OptimizerConfig] | None = None,
        seed: int = 0,
        device: torch.device | str = "cpu",
        target_networks: Sequence[str] = ("critic",),
    ) -> SACAgent:
        """Assemble an agent from its networks."""
        state = TrainState(
            {
                "actor": actor,
                "critic": critic,
                "temperature": LagrangeMultiplier(temperature_init, constraint="geq"),
            },
            {name: (optimizers or {}).get(name, OptimizerConfig()) for name in NETWORKS},
            targets=target_networks,
            seed=seed,
            device=device,
            step_unused=config.step_unused_optimizers,
            all_parameters=config.optimizers_cover_all,
        )
        target_entropy = config.target_entropy
        if target_entropy is None:
            target_entropy = -actor.action_dim / 2
        return cls(config, state, target_entropy)

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
        action_dim = actions.shape[-1]
        with seeded_initialization(seed):
            actor = make_policy(observations, action_dim, policy_network_kwargs, policy_kwargs)
            critic = make_critic(observations, action_dim, config, critic_network_kwargs)
        return cls.create(
            actor,
            critic,
            config,
            temperature_init=temperature_init,
            optimizers=optimizers,
            seed=seed,
            device=device,
            target_networks=target_networks,
        )


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


def make_policy(
    observations: Observations,
    action_dim: int,
    network_kwargs: Mapping[str, Any] | None = None,
    policy_kwargs: Mapping[str, Any] | None = None,
) -> Policy:
    """Return a policy on state vectors."""
    encoder = StateEncoder.for_observations(observations)
    network = MLP(encoder.output_dim, **{**NETWORK_DEFAULTS, **(network_kwargs or {})})
    return Policy(encoder, network, action_dim, **{**POLICY_DEFAULTS, **(policy_kwargs or {})})


def make_critic(
    observations: Observations,
    action_dim: int,
    config: SACConfig,
    network_kwargs: Mapping[str, Any] | None = None,
) -> Critic:
    """Return an ensemble of independent critics on state vectors."""
    encoder = StateEncoder.for_observations(observations)
    size = config.critic_ensemble_size
    network = MLP(
        encoder.output_dim + action_dim,
        **{**NETWORK_DEFAULTS, **(network_kwargs or {})},
        ensemble_size=size,
    )
    return Critic(encoder, network, ensemble_size=size)


def imitation_loss(modes: Tensor, batch: Batch) -> Tensor:
    """Mean squared distance (summed over components) to the demonstrated actions of the batch.

    Raises ValueError when the batch does not say which of its transitions are demonstrations.
    """
    if batch.demonstrations is None:
        raise ValueError("bc_weight > 0 needs demonstrations: the batch marks none")
    distances = (modes - batch.actions).square().sum(-1)
    count = batch.demonstrations.sum().clamp(min=1.0)
    return (distances * batch.demonstrations).sum() / count


def mean_info(infos: Sequence[Info]) -> Info:
    """Average metrics of the same names."""
    count = len(infos)
    return {key: sum(info[key] for info in infos) / count for key in infos[0]}


@contextlib.contextmanager
def seeded_initialization(seed: int) -> Iterator[None]:
    """Draw initial parameters from `seed` and leave torch's global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
