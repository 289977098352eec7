"""The part of a policy around the actor network: raw observations in, an action in [-1, 1] out."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from serl_rt.export.contract import Contract
from serl_rt.export.normalise import Normaliser


class Normalise(nn.Module):
    """The scaling of `Normaliser` as a layer."""

    middle: Tensor
    scale: Tensor

    def __init__(self, contract: Contract) -> None:
        super().__init__()
        normaliser = Normaliser.of(contract)
        # Fixed by the contract, so no part of what is trained and saved.
        self.register_buffer("middle", torch.from_numpy(normaliser.middle), persistent=False)
        self.register_buffer("scale", torch.from_numpy(normaliser.scale), persistent=False)

    def forward(self, observation: Tensor) -> Tensor:
        """Scale raw observations (..., observation_dim)."""
        return (observation - self.middle) * self.scale


class PolicyModule(nn.Module):
    """What is exported: action = tanh(mean + std * noise).

    `actor(features)` returns mean and standard deviation of the Gaussian before tanh, each
    (batch, action_dim). `features` (batch, observation_dim) are the normalised observation fields
    in the contract's order. With images in the contract it is `actor(features, images)`, where
    `images[name]` is uint8 (batch, height, width, 3).
    """

    def __init__(self, contract: Contract, actor: nn.Module) -> None:
        super().__init__()
        self.fields = tuple(field.name for field in contract.observation)
        self.images = tuple(image.name for image in contract.images)
        self.normalise = Normalise(contract)
        self.actor = actor

    def forward(self, observation: Mapping[str, Tensor], noise: Tensor) -> Tensor:
        """Return the action (batch, action_dim); zero noise gives the deterministic one."""
        flat = torch.cat([observation[name].flatten(1) for name in self.fields], dim=1)
        features = self.normalise(flat)
        if self.images:
            mean, std = self.actor(features, {name: observation[name] for name in self.images})
        else:
            mean, std = self.actor(features)
        action: Tensor = torch.tanh(mean + std * noise)
        return action
