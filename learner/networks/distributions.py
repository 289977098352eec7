"""Action distributions: a diagonal Gaussian, plain or squashed by tanh.

Noise is always given by the caller, so that the same noise gives the same actions here, in the
exported policy and in the controller.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


class MultivariateNormalDiag:
    """A Gaussian with independent components; `loc` and `scale_diag` are (..., dim)."""

    def __init__(self, loc: Tensor, scale_diag: Tensor) -> None:
        self.loc = loc
        self.scale_diag = scale_diag

    def mode(self) -> Tensor:
        """Return the most likely value, (..., dim)."""
        return self.loc

    def stddev(self) -> Tensor:
        """Return the standard deviations, (..., dim)."""
        return self.scale_diag.expand_as(self.loc)

    def sample(self, noise: Tensor) -> Tensor:
        """Map standard normal noise (..., dim) to a sample."""
        return self.loc + self.scale_diag * noise

    def sample_and_log_prob(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return a sample (..., dim) and its log-density (...)."""
        return self.sample(noise), self._log_density(noise)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density (...) of values (..., dim)."""
        return self._log_density((value - self.loc) / self.scale_diag)

    def _log_density(self, noise: Tensor) -> Tensor:
        return (-0.5 * noise.square() - self.scale_diag.log() - _HALF_LOG_TWO_PI).sum(-1)


class TanhMultivariateNormalDiag:
    """tanh of a diagonal Gaussian, optionally stretched from (-1, 1) to (low, high)."""

    def __init__(
        self,
        loc: Tensor,
        scale_diag: Tensor,
        low: Tensor | None = None,
        high: Tensor | None = None,
    ) -> None:
        if (low is None) != (high is None):
            raise ValueError("low and high: give both or neither")
        self.base = MultivariateNormalDiag(loc, scale_diag)
        self.half_range: Tensor | None = None
        if low is not None and high is not None:
            self.half_range, self.center = (high - low) / 2, (high + low) / 2

    def mode(self) -> Tensor:
        """Return tanh of the Gaussian's mean (the median, which is what one acts with)."""
        return self._stretch(torch.tanh(self.base.loc))

    def stddev(self) -> Tensor:
        """Return the standard deviations before the squashing."""
        return self.base.stddev()

    def sample(self, noise: Tensor) -> Tensor:
        """Map standard normal noise (..., dim) to a sample."""
        return self._stretch(torch.tanh(self.base.sample(noise)))

    def sample_and_log_prob(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return a sample (..., dim) and its log-density (...)."""
        raw, log_prob = self.base.sample_and_log_prob(noise)
        return self._stretch(torch.tanh(raw)), log_prob - self._log_slope(raw)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density (...) of values (..., dim) strictly inside the range."""
        if self.half_range is not None:
            value = (value - self.center) / self.half_range
        raw = torch.atanh(value)
        return self.base.log_prob(raw) - self._log_slope(raw)

    def _stretch(self, squashed: Tensor) -> Tensor:
        if self.half_range is None:
            return squashed
        return self.center + self.half_range * squashed

    def _log_slope(self, raw: Tensor) -> Tensor:
        """log |da/d raw|, summed: log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2 u)), stable."""
        slope = 2.0 * (math.log(2.0) - raw - F.softplus(-2.0 * raw))
        if self.half_range is not None:
            slope = slope + self.half_range.log()
        return slope.sum(-1)


Distribution = MultivariateNormalDiag | TanhMultivariateNormalDiag
