"""Adam with warm-up, cosine decay, decoupled weight decay and clipping, as optax chains them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

Schedule = Callable[[int], float]
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class OptimizerConfig:
    """Settings of one network's optimizer."""

    learning_rate: float = 3e-4
    warmup_steps: int = 0
    """Steps over which the rate rises linearly from 0."""
    cosine_decay_steps: int | None = None
    """Steps, warm-up included, at which the rate has fallen to 0; None keeps it constant."""
    weight_decay: float | None = None
    """Decoupled (AdamW); None is plain Adam."""
    clip_grad_norm: float | None = None
    """Largest Euclidean norm of all gradients together."""

    def __post_init__(self) -> None:
        if self.cosine_decay_steps is not None and self.cosine_decay_steps <= self.warmup_steps:
            raise ValueError(
                f"cosine_decay_steps = {self.cosine_decay_steps}: must be greater than "
                f"warmup_steps = {self.warmup_steps}"
            )

    def rate(self, count: int) -> float:
        """Return the learning rate of the step after `count` steps."""
        if count < self.warmup_steps:
            return self.learning_rate * count / self.warmup_steps
        if self.cosine_decay_steps is None:
            return self.learning_rate
        length = self.cosine_decay_steps - self.warmup_steps
        done = min((count - self.warmup_steps) / length, 1.0)
        return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * done))


class Optimizer:
    """Adam over one list of parameters; gradients are handed in, not read from `.grad`."""

    def __init__(self, parameters: Iterable[Tensor], config: OptimizerConfig) -> None:
        self.config = config
        self.parameters = [p for p in parameters if p.requires_grad]
        self.first_moments = [torch.zeros_like(p) for p in self.parameters]
        self.second_moments = [torch.zeros_like(p) for p in self.parameters]
        # One shared counter: `count` for the schedule, as tensors for the fused kernel.
        self.steps = [torch.zeros((), device=p.device) for p in self.parameters]
        self.count = 0

    @property
    def learning_rate(self) -> float:
        """Rate of the last step (of the first one before there was any)."""
        return self.config.rate(max(self.count - 1, 0))

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor]) -> None:
        """Update the parameters in place; `gradients` are in the order of `parameters`."""
        if self.config.clip_grad_norm is not None:
            gradients = clip_by_global_norm(gradients, self.config.clip_grad_norm)
        rate = self.config.rate(self.count)
        decay = [p * (rate * (self.config.weight_decay or 0.0)) for p in self._decayed]
        adam(
            self.parameters,
            list(gradients),
            self.first_moments,
            self.second_moments,
            [],
            self.steps,
            fused=True,
            amsgrad=False,
            beta1=BETA1,
            beta2=BETA2,
            lr=rate,
            weight_decay=0.0,
            eps=EPS,
            maximize=False,
        )
        # As optax: decay by the old parameters, not before the step as torch's AdamW does.
        for parameter, amount in zip(self._decayed, decay, strict=True):
            parameter.sub_(amount)
        self.count += 1

    @property
    def _decayed(self) -> list[Tensor]:
        return self.parameters if self.config.weight_decay else []

    def step_scalars(self) -> Tensor:
        """Return rate and both bias corrections of the next step, (3,), for compiled updates."""
        count = self.count + 1
        values = [self.config.rate(self.count), 1.0 - BETA1**count, 1.0 - BETA2**count]
        return torch.tensor(values, device=self.parameters[0].device)

    def zero_step(self) -> None:
        """Step with zero gradients: momentum, schedule and weight decay go on."""
        self.step([torch.zeros_like(p) for p in self.parameters])

    def set_count(self, count: int) -> None:
        """Continue as after `count` steps (on resume)."""
        self.count = count
        for step in self.steps:
            step.fill_(count)


def make_optimizer(
    parameters: nn.Module | Iterable[Tensor],
    learning_rate: float = 3e-4,
    warmup_steps: int = 0,
    cosine_decay_steps: int | None = None,
    weight_decay: float | None = None,
    clip_grad_norm: float | None = None,
) -> Optimizer:
    """Return Adam (AdamW with `weight_decay`) over a module or parameters; see OptimizerConfig."""
    config = OptimizerConfig(
        learning_rate, warmup_steps, cosine_decay_steps, weight_decay, clip_grad_norm
    )
    if isinstance(parameters, nn.Module):
        parameters = parameters.parameters()
    return Optimizer(parameters, config)


def clip_by_global_norm(gradients: Sequence[Tensor], largest: float) -> list[Tensor]:
    """Scale all gradients by one factor so that their joint norm is at most `largest`."""
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients]))
    factor = (largest / norm).clamp(max=1.0)
    return [g * factor for g in gradients]
