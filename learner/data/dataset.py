"""Fixed data sets of transitions: sample, split, filter and normalise by episode returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from serl_rt.learner.data.batch import Batch, batch_to_device, make_batch

Nested = dict[str, Any]
"""Arrays of equal length, or dicts of them."""


class Dataset:
    """Nested arrays with a common first axis, under SERL's names.

    `dones` marks the last transition of each episode; what follows the last one is an episode of
    its own. Raises ValueError when lengths differ, naming the array.
    """

    def __init__(self, arrays: Mapping[str, Any], seed: int | None = None) -> None:
        self.arrays: Nested = _as_arrays(arrays)
        lengths = {name: len(array) for name, array in _leaves(self.arrays)}
        if not lengths:
            raise ValueError("a data set needs at least one array")
        self._size = next(iter(lengths.values()))
        for name, length in lengths.items():
            if length != self._size:
                raise ValueError(f"'{name}' has {length} rows, the others {self._size}")
        self._rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        return self._size

    def seed(self, seed: int) -> None:
        """Start the random numbers of `sample` and `split` anew."""
        self._rng = np.random.default_rng(seed)

    def take(self, indices: NDArray[Any]) -> Nested:
        """Return copies of the chosen rows (indices or a boolean mask)."""
        return _map(lambda array: array[indices], self.arrays)

    def sample(
        self, batch_size: int, keys: tuple[str, ...] = (), indices: NDArray[Any] | None = None
    ) -> Nested:
        """Return uniformly drawn rows (with replacement) of all arrays, or of those in `keys`."""
        if indices is None:
            if self._size == 0:
                raise ValueError("the data set is empty: nothing to sample")
            indices = self._rng.integers(self._size, size=batch_size)
        names = keys or tuple(self.arrays)
        for name in names:
            if name not in self.arrays:
                raise KeyError(f"no array '{name}'; there are {', '.join(self.arrays)}")
        return {name: _map_value(lambda a: a[indices], self.arrays[name]) for name in names}

    def sample_torch(self, batch_size: int, device: torch.device | str = "cpu") -> Batch:
        """Return a typed batch on a device."""
        return batch_to_device(make_batch(self.sample(batch_size)), device)

    def split(self, ratio: float) -> tuple[Dataset, Dataset]:
        """Shuffle and divide: the first part has `ratio` of the rows."""
        if not 0.0 < ratio < 1.0:
            raise ValueError(f"ratio = {ratio}: must be between 0 and 1")
        order = self._rng.permutation(self._size)
        cut = int(self._size * ratio)
        return Dataset(self.take(order[:cut])), Dataset(self.take(order[cut:]))

    def episodes(self) -> list[slice]:
        """Return the rows of each episode, in order."""
        ends = np.flatnonzero(np.asarray(self.arrays["dones"], dtype=bool)) + 1
        bounds = [0, *ends.tolist()]
        if bounds[-1] != self._size:
            bounds.append(self._size)
        return [slice(a, b) for a, b in zip(bounds[:-1], bounds[1:], strict=True)]

    def returns(self) -> NDArray[np.float64]:
        """Return the sum of rewards of each episode."""
        rewards = np.asarray(self.arrays["rewards"], np.float64)
        return np.array([rewards[rows].sum() for rows in self.episodes()])

    def filter(self, *, take_top: float | None = None, threshold: float | None = None) -> Dataset:
        """Keep the `take_top` percent of episodes with the highest returns, or those of at least
        `threshold`. Give one of the two."""
        if (take_top is None) == (threshold is None):
            raise ValueError("filter: give either take_top [percent] or threshold")
        returns = self.returns()
        if take_top is not None:
            if not 0.0 < take_top <= 100.0:
                raise ValueError(f"take_top = {take_top}: must be above 0 and at most 100 percent")
            count = max(1, round(len(returns) * take_top / 100.0))
            threshold = float(np.sort(returns)[-count])
        keep = np.zeros(self._size, dtype=bool)
        for rows, value in zip(self.episodes(), returns, strict=True):
            keep[rows] = value >= threshold
        return Dataset(self.take(keep))

    def normalize_returns(self, scaling: float = 1000.0) -> None:
        """Scale rewards in place so that episode returns span `scaling` (Fu et al. 2020).

        Raises ValueError when all returns are the same.
        """
        returns = self.returns()
        span = float(returns.max() - returns.min())
        if span == 0.0:
            raise ValueError("normalize_returns: every episode has the same return")
        self.arrays["rewards"] = self.arrays["rewards"] * (scaling / span)


def _as_arrays(value: Mapping[str, Any]) -> Nested:
    return _map(np.asarray, dict(value))


def _map(function: Any, nested: Mapping[str, Any]) -> Nested:
    return {name: _map_value(function, value) for name, value in nested.items()}


def _map_value(function: Any, value: Any) -> Any:
    return _map(function, value) if isinstance(value, Mapping) else function(value)


def _leaves(nested: Mapping[str, Any], prefix: str = "") -> list[tuple[str, NDArray[Any]]]:
    result: list[tuple[str, NDArray[Any]]] = []
    for name, value in nested.items():
        if isinstance(value, Mapping):
            result += _leaves(value, f"{prefix}{name}/")
        else:
            result.append((f"{prefix}{name}", value))
    return result
