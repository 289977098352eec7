"""Observations to one vector: every camera through its encoder, plus the robot's own state.

Observations are dicts. With `stack` frames, images are (batch, stack, height, width, channel) and
states (batch, stack, dim); with `stack=None` there is no such axis. One observation without its
batch axis is encoded too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from serl_rt.learner.networks.states import Observations
from serl_rt.learner.vision.augment import center_crop
from serl_rt.learner.vision.encoder import Encoder
from serl_rt.learner.vision.pooling import LAYER_NORM_EPS

Named = Mapping[str, Tensor]


class Proprioception(nn.Module):
    """The states named by `keys`, stacked frames joined -> Linear -> LayerNorm -> tanh."""

    def __init__(self, keys: Sequence[str], input_dim: int, output_dim: int = 64) -> None:
        super().__init__()
        self.keys = tuple(keys)
        self.output_dim = output_dim
        self.linear = nn.Linear(input_dim, output_dim)
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.norm = nn.LayerNorm(output_dim, eps=LAYER_NORM_EPS)

    def forward(self, observations: Named) -> Tensor:
        """{key: (batch, ...)} -> (batch, output_dim)."""
        states = [observations[key].flatten(1) for key in self.keys]
        projected: Tensor = torch.tanh(self.norm(self.linear(torch.cat(states, dim=-1))))
        return projected


class EncodingWrapper(nn.Module):
    """The encoder that actor and critics share.

    Each camera's vector, in the order of `encoders`, then the projected state (`proprio`). With
    `joined` the one encoder, named as the first of these cameras, sees all their images at once,
    stacked in its channels: half the work for two cameras of one size.

    With `crop` (height, width) encoders see windows of that size: the middle of larger images (how
    a policy acts); images that training has cropped at random are that small already.
    """

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        *,
        proprio: Proprioception | None = None,
        stack: int | None = 1,
        joined: Sequence[str] = (),
        crop: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        if joined and (tuple(encoders) != tuple(joined[:1]) or encoders[joined[0]].frozen):
            raise ValueError("joined cameras share one encoder, named as the first, not frozen")
        self.encoders = nn.ModuleDict(encoders)
        self.proprio = proprio
        self.stack = stack
        self.joined = tuple(joined)
        self.crop = crop
        self.image_keys = tuple(joined or encoders)
        self.output_dim = sum(encoder.output_dim for encoder in encoders.values())
        self.output_dim += 0 if proprio is None else proprio.output_dim

    @property
    def frozen_keys(self) -> tuple[str, ...]:
        """The cameras whose features may be computed once: their trunks never learn."""
        return tuple(key for key in self.encoders if self._encoder(key).frozen)

    def _encoder(self, key: str) -> Encoder:
        encoder = self.encoders[key]
        assert isinstance(encoder, Encoder)
        return encoder

    def trunk_features(self, observations: Named) -> dict[str, Tensor]:
        """The observations with the images of frozen trunks replaced by their feature maps.

        (batch, [stack,] h, w, 3) uint8 -> (batch, [stack,] h', w', channel) float.
        All else passes through, features too; further axes before the height are kept.
        """
        encoded = dict(observations)
        for key in self.frozen_keys:
            encoder, images = self._encoder(key), _required(observations, key)
            if not images.is_floating_point():
                images = self._cropped(images)
                features = encoder.features(images.flatten(0, -4))
                encoded[key] = features.reshape(*images.shape[:-3], *features.shape[1:])
        return encoded

    def image_vectors(self, observations: Named, *, train: bool = False) -> dict[str, Tensor]:
        """The observations with every image, or feature map, replaced by its encoder's vector.

        Vectors (batch, dim) pass through: a caller may encode once for several losses.
        """
        encoded = self.trunk_features(observations)
        for key in self.encoders:
            if _required(encoded, key).ndim > 2:
                sources = self.joined or (key,)
                images = [
                    self._join_frames(self._cropped(_required(encoded, k)), k) for k in sources
                ]
                encoded[key] = self._encoder(key)(*images, train=train)
        return encoded

    def forward(
        self, observations: Observations, *, train: bool = False, stop_gradient: bool = False
    ) -> Tensor:
        """-> (batch, output_dim), or (output_dim,) for one observation without its batch axis.

        `train` turns the encoders' dropout on. `stop_gradient` cuts the gradient into the images'
        encoders; the state's projection keeps it.
        """
        named = _named(observations)
        axes = 4 if self.stack is None else 5
        if _required(named, self.image_keys[0]).ndim == axes - 1:
            one = {key: value[None] for key, value in named.items()}
            vector: Tensor = self(one, train=train, stop_gradient=stop_gradient)
            return vector.squeeze(0)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not stop_gradient):
            named = self.image_vectors(named, train=train)
        vectors = [named[key] for key in self.encoders]
        if stop_gradient:
            vectors = [vector.detach() for vector in vectors]
        if self.proprio is not None:
            vectors.append(self.proprio(named))
        return torch.cat(vectors, dim=-1)

    def _cropped(self, images: Tensor) -> Tensor:
        if self.crop is None or images.is_floating_point():
            return images
        return center_crop(images, self.crop)

    def _join_frames(self, images: Tensor, key: str) -> Tensor:
        """(batch, stack, height, width, channel) -> (batch, height, width, stack * channel)."""
        if self.stack is None:
            return images
        if images.ndim != 5 or images.shape[1] != self.stack:
            raise ValueError(
                f"{key} has shape {tuple(images.shape)}, expected (batch, {self.stack}, height, "
                "width, channel)"
            )
        return images.squeeze(1) if self.stack == 1 else images.permute(0, 2, 3, 1, 4).flatten(3)


class GCEncodingWrapper(nn.Module):
    """Observation and goal images: early fusion (channels joined) or a second encoder for the goal.

    The frames of a stack are encoded one by one, each with the goal, and their vectors joined.
    """

    def __init__(
        self,
        encoder: Encoder,
        goal_encoder: Encoder | None = None,
        *,
        image_key: str = "image",
        proprio: Proprioception | None = None,
        stack: int | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.goal_encoder = goal_encoder
        self.image_key = image_key
        self.proprio = proprio
        self.stack = stack
        goal = 0 if goal_encoder is None else goal_encoder.output_dim
        self.output_dim = (encoder.output_dim + goal) * (stack or 1)
        self.output_dim += 0 if proprio is None else proprio.output_dim

    def forward(
        self,
        inputs: tuple[Observations, Observations],
        *,
        train: bool = False,
        stop_gradient: bool = False,
    ) -> Tensor:
        """(observations, goals); the goal's image is (batch, height, width, channel)."""
        observations, goals = (_named(part) for part in inputs)
        images = _frames(_required(observations, self.image_key), self.stack)
        goal = _required(goals, self.image_key).repeat_interleave(self.stack or 1, dim=0)
        if self.goal_encoder is None:
            vector = self.encoder(torch.cat((images, goal), dim=-1), train=train)
        else:
            vectors = (self.encoder(images, train=train), self.goal_encoder(goal, train=train))
            vector = torch.cat(vectors, dim=-1)
        return _finish(vector, observations, self.stack, self.proprio, stop_gradient)


class LCEncodingWrapper(nn.Module):
    """Images under a language embedding, which conditions a FiLM (or multiplicative) ResNet."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        image_key: str = "image",
        language_key: str = "language",
        proprio: Proprioception | None = None,
        stack: int | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.image_key, self.language_key = image_key, language_key
        self.proprio = proprio
        self.stack = stack
        self.output_dim = encoder.output_dim * (stack or 1)
        self.output_dim += 0 if proprio is None else proprio.output_dim

    def forward(
        self,
        inputs: tuple[Observations, Observations],
        *,
        train: bool = False,
        stop_gradient: bool = False,
    ) -> Tensor:
        """(observations, goals); the goal's embedding is (batch, dim)."""
        observations, goals = (_named(part) for part in inputs)
        images = _frames(_required(observations, self.image_key), self.stack)
        language = _required(goals, self.language_key).repeat_interleave(self.stack or 1, dim=0)
        vector = self.encoder(images, condition=language, train=train)
        return _finish(vector, observations, self.stack, self.proprio, stop_gradient)


def _named(observations: Observations) -> Named:
    if isinstance(observations, Tensor):
        shape = tuple(observations.shape)
        raise TypeError(f"observations are one array of shape {shape}; expected images by name")
    return observations


def _required(observations: Named, key: str) -> Tensor:
    try:
        return observations[key]
    except KeyError:
        names = ", ".join(sorted(observations))
        raise KeyError(f"no {key!r} among the observations: {names}") from None


def _frames(images: Tensor, stack: int | None) -> Tensor:
    """(batch, [stack,] height, width, channel) -> (batch * stack, height, width, channel)."""
    if images.ndim != (4 if stack is None else 5) or (stack and images.shape[1] != stack):
        axes = "" if stack is None else f"{stack}, "
        raise ValueError(
            f"images of shape {tuple(images.shape)}, expected (batch, {axes}height, width, channel)"
        )
    return images.flatten(0, -4)


def _finish(
    vector: Tensor,
    observations: Named,
    stack: int | None,
    proprio: Proprioception | None,
    stop_gradient: bool,
) -> Tensor:
    """Join the frames' vectors and the state's."""
    vector = vector.reshape(-1, (stack or 1) * vector.shape[-1])
    vector = vector.detach() if stop_gradient else vector
    return vector if proprio is None else torch.cat((vector, proprio(observations)), dim=-1)
