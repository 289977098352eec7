"""The policy: observations to an action distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from serl_rt.learner.networks.distributions import (
    Distribution,
    MultivariateNormalDiag,
    TanhMultivariateNormalDiag,
)
from serl_rt.learner.networks.mlp import apply_last_layer, linear
from serl_rt.learner.networks.states import ObservationEncoder, Observations

StdParameterization = Literal["exp", "softplus", "uniform", "fixed"]


class Policy(nn.Module):
    """Encoder -> network -> mean and standard deviation of a diagonal Gaussian.

    The standard deviation is a function of the observation ("exp", "softplus"), a learned vector
    ("uniform") or given ("fixed"); it is clipped to [std_min, std_max]. The loss of a policy never
    trains the image encoder: its features are detached.
    """

    def __init__(
        self,
        encoder: ObservationEncoder,
        network: nn.Module,
        action_dim: int,
        *,
        std_parameterization: StdParameterization = "exp",
        std_min: float = 1e-5,
        std_max: float = 10.0,
        tanh_squash_distribution: bool = False,
        fixed_std: Sequence[float] | None = None,
        train_encoder: bool = False,
    ) -> None:
        super().__init__()
        if (fixed_std is not None) != (std_parameterization == "fixed"):
            raise ValueError("fixed_std: given for std_parameterization 'fixed' and no other")
        self.encoder = encoder
        self.network = network
        self.action_dim = action_dim
        self.std_parameterization = std_parameterization
        self.std_min, self.std_max = std_min, std_max
        self.tanh_squash_distribution = tanh_squash_distribution
        self.train_encoder = train_encoder
        hidden = int(network.output_dim)  # type: ignore[arg-type]
        self.mean = linear(hidden, action_dim)
        match std_parameterization:
            case "exp" | "softplus":
                self.std = linear(hidden, action_dim)
            case "uniform":
                self.log_stds = nn.Parameter(torch.zeros(action_dim))
            case "fixed":
                stds = torch.as_tensor(fixed_std, dtype=torch.float32).expand(action_dim)
                self.register_buffer("fixed_std", stds.clone())
            case other:
                raise ValueError(
                    f"std_parameterization '{other}': choose exp, softplus, uniform or fixed"
                )

    def mean_and_std(
        self,
        observations: Observations,
        *,
        train: bool = False,
        train_encoder: bool | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Observations -> mean and clipped standard deviation before squashing, (batch, action).

        `train_encoder` overrides the policy's own.
        """
        trained = self.train_encoder if train_encoder is None else train_encoder
        features = self.encoder(observations, train=train, stop_gradient=not trained)
        hidden = self.network(features, train=train)
        return apply_last_layer(self.mean, hidden), self._std(hidden).clamp(
            self.std_min, self.std_max
        )

    def forward(
        self,
        observations: Observations,
        *,
        temperature: float = 1.0,
        train: bool = False,
        train_encoder: bool | None = None,
    ) -> Distribution:
        """Observations -> distribution over actions (batch, action_dim).

        The standard deviation is scaled by sqrt(temperature); `train` turns dropout on;
        `train_encoder` is whether what is made of the distribution can train the encoder (None: as
        this policy was built).
        """
        mean, std = self.mean_and_std(observations, train=train, train_encoder=train_encoder)
        if temperature != 1.0:
            std = std * temperature**0.5
        return self.distribution(mean, std)

    def distribution(self, mean: Tensor, std: Tensor) -> Distribution:
        """Return the distribution of this policy's kind with these parameters."""
        if self.tanh_squash_distribution:
            return TanhMultivariateNormalDiag(mean, std)
        return MultivariateNormalDiag(mean, std)

    def _std(self, hidden: Tensor) -> Tensor:
        match self.std_parameterization:
            case "exp":
                return torch.exp(apply_last_layer(self.std, hidden))
            case "softplus":
                return F.softplus(apply_last_layer(self.std, hidden))
            case "uniform":
                return self.log_stds.exp().expand(*hidden.shape[:-1], self.action_dim)
            case _:
                std: Tensor = self.fixed_std  # type: ignore[assignment]
                return std.expand(*hidden.shape[:-1], self.action_dim)
