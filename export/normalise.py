"""How observations are scaled for a network: the one definition for training and serving.

Each component is mapped from its expected range in the contract to [-1, 1]:

    normalised = (x - middle) * scale,   middle = (low + high) / 2,   scale = 2 / (high - low)

Nothing is clipped: a value outside its range stays visible to the network.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serl_rt.export.contract import Contract


@dataclass(frozen=True)
class Normaliser:
    """The scaling of the concatenated observation fields."""

    middle: NDArray[np.float32]
    """(observation_dim,) in the unit of each component."""
    scale: NDArray[np.float32]
    """(observation_dim,) 1 / unit."""

    @classmethod
    def of(cls, contract: Contract) -> "Normaliser":
        """Take the ranges of a contract's observation fields, concatenated in order."""
        low = np.concatenate([np.asarray(field.low) for field in contract.observation])
        high = np.concatenate([np.asarray(field.high) for field in contract.observation])
        return cls(
            middle=((low + high) / 2).astype(np.float32),
            scale=(2 / (high - low)).astype(np.float32),
        )

    def __call__(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scale raw observations (..., observation_dim)."""
        return (observation - self.middle) * self.scale


def concatenate(
    contract: Contract, observation: dict[str, NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Join fields of shape (batch, *shape) in the contract's order: (batch, observation_dim)."""
    columns = [observation[field.name] for field in contract.observation]
    return np.concatenate([column.reshape(len(column), -1) for column in columns], axis=1)
