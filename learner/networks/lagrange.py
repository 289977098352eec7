"""Lagrange multipliers of equality and inequality constraints (SAC's temperature is one)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Constraint = Literal["eq", "leq", "geq"]
Parameterization = Literal["softplus", "exp", "none"]


class LagrangeMultiplier(nn.Module):
    """A learned multiplier of `lhs = rhs`, `lhs <= rhs` or `lhs >= rhs`.

    For the inequalities it is kept non-negative by softplus or exp; for the equality it is free.
    """

    def __init__(
        self,
        init_value: float = 1.0,
        *,
        constraint: Constraint = "geq",
        parameterization: Parameterization = "softplus",
        shape: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        if constraint not in ("eq", "leq", "geq"):
            raise ValueError(f"constraint '{constraint}': choose eq, leq or geq")
        self.constraint = constraint
        self.parameterization = "none" if constraint == "eq" else parameterization
        raw = inverse_parameterization(init_value, self.parameterization)
        self.lagrange = nn.Parameter(torch.full(shape, raw))

    def multiplier(self) -> Tensor:
        """Return the multiplier's value."""
        match self.parameterization:
            case "softplus":
                return F.softplus(self.lagrange)
            case "exp":
                return self.lagrange.exp()
            case _:
                return self.lagrange

    def forward(self, lhs: Tensor | None = None, rhs: Tensor | float = 0.0) -> Tensor:
        """Return the multiplier, or with `lhs` its loss.

        Minimising the loss raises the multiplier while the constraint is violated and lowers it
        while it holds.
        """
        multiplier = self.multiplier()
        if lhs is None:
            return multiplier
        slack = rhs - lhs if self.constraint == "leq" else lhs - rhs
        return multiplier * slack


def inverse_parameterization(value: float, parameterization: str) -> float:
    """Return the raw parameter that stands for `value`; raises ValueError where there is none."""
    if parameterization == "none":
        return value
    if not value > 0.0:
        raise ValueError(f"init_value = {value}: must be positive with '{parameterization}'")
    match parameterization:
        case "softplus":
            return value + math.log(-math.expm1(-value))
        case "exp":
            return math.log(value)
        case other:
            raise ValueError(f"parameterization '{other}': choose softplus, exp or none")
