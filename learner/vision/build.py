"""Build the encoder of an agent from a few settings and example observations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from serl_rt.learner.vision.encoder import Encoder
from serl_rt.learner.vision.encoders import (
    SCRATCH_ENCODERS,
    ImageShape,
    frozen_head,
    pretrained_resnet10_trunk,
)
from serl_rt.learner.vision.encoding import EncodingWrapper, Proprioception
from serl_rt.learner.vision.mobilenet import LAST_BLOCK, pretrained_mobilenet_trunk
from serl_rt.learner.vision.resnet import ResNetTrunk
from serl_rt.learner.vision.trunk import FrozenTrunk

FROZEN_ENCODERS = ("resnet-pretrained", "mobilenet-pretrained", "resnet-random")
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class EncoderConfig:
    """How an agent sees."""

    encoder_type: str = "resnet-pretrained"
    """From scratch: small, convfast, resnet. Frozen trunk and learned head: resnet-pretrained
    (needs `weights`), mobilenet-pretrained (needs the extra `vision`), resnet-random."""
    image_keys: tuple[str, ...] = ("image",)
    proprio_keys: tuple[str, ...] = ("state",)
    """States next to the images, projected together; empty for none."""
    proprio_dim: int = 64
    """Length of their projection."""
    stack: int | None = 1
    """Frames of an observation (its second axis); None where there is no such axis."""
    join_cameras: bool = False
    """One encoder for all cameras, their images stacked in its channels; not on frozen trunks."""
    crop: int | None = None
    """Side [pixels] of the square window that encoders see of each image; None is all of it."""
    weights: Path | None = None
    """Parameters of the pretrained ResNet-10: SERL's resnet10_params.pkl, an .npz or a .pt."""
    last_block: int | None = None
    """Block after which EfficientNet-Lite0 ends; None is the 11th."""
    trunk_precision: str = "float32"
    """Of frozen trunks: float32 or bfloat16."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of the encoder, see `vision.encoders`."""

    def __post_init__(self) -> None:
        known = (*SCRATCH_ENCODERS, *FROZEN_ENCODERS)
        if self.encoder_type not in known:
            raise ValueError(f"encoder_type {self.encoder_type!r}: choose {', '.join(known)}")
        if self.trunk_precision not in PRECISIONS:
            raise ValueError(
                f"trunk_precision {self.trunk_precision!r}: choose {', '.join(PRECISIONS)}"
            )
        if not self.image_keys:
            raise ValueError("image_keys is empty: use a state agent")
        if self.join_cameras and self.encoder_type in FROZEN_ENCODERS:
            raise ValueError(f"join_cameras: not with the frozen trunk of {self.encoder_type!r}")


def make_encoding_wrapper(
    config: EncoderConfig, observations: Mapping[str, Tensor], trunk: FrozenTrunk | None = None
) -> EncodingWrapper:
    """Return the encoder for observations shaped like these examples (batch, ...).

    A frozen trunk (`trunk`, if there is one already) is shared by all cameras; everything else
    each has its own. Raises ValueError
    that names a missing observation or an image of the wrong shape.
    """
    for key in (*config.image_keys, *config.proprio_keys):
        if key not in observations:
            given = ", ".join(sorted(observations))
            raise ValueError(f"no {key!r} among the observations: {given}")
    trunk = trunk or _frozen_trunk(config)
    shapes = {key: image_shape(observations[key], config.stack, key) for key in config.image_keys}
    crop = None
    if config.crop is not None:
        crop = (config.crop, config.crop)
        for key, shape in shapes.items():
            if min(shape[:2]) < config.crop:
                raise ValueError(f"crop = {config.crop}: {key} is {shape[0]} x {shape[1]} pixels")
        shapes = {key: (*crop, shape[2]) for key, shape in shapes.items()}
    if config.join_cameras:
        shapes = {config.image_keys[0]: joined_shape(shapes)}
    encoders: dict[str, Encoder] = {}
    for key, shape in shapes.items():
        if trunk is None:
            encoders[key] = SCRATCH_ENCODERS[config.encoder_type](shape, **config.options)
        else:
            encoders[key] = frozen_head(trunk, shape, **config.options)
    proprio = None
    if config.proprio_keys:
        dim = sum(observations[key][0].numel() for key in config.proprio_keys)
        proprio = Proprioception(config.proprio_keys, dim, config.proprio_dim)
    joined = config.image_keys if config.join_cameras else ()
    return EncodingWrapper(encoders, proprio=proprio, stack=config.stack, joined=joined, crop=crop)


def image_shape(images: Tensor, stack: int | None, key: str) -> ImageShape:
    """(height, width, stack * channel) of images (batch, [stack,] height, width, channel)."""
    axes = 4 if stack is None else 5
    if images.dtype != torch.uint8 or images.ndim != axes or (stack and images.shape[1] != stack):
        frames = "" if stack is None else f"{stack}, "
        raise ValueError(
            f"{key} is {images.dtype} of shape {tuple(images.shape)}, expected torch.uint8 of "
            f"shape (batch, {frames}height, width, channel)"
        )
    height, width, channels = images.shape[-3:]
    return height, width, channels * (stack or 1)


def joined_shape(shapes: Mapping[str, ImageShape]) -> ImageShape:
    """The shape of all cameras' images stacked in their channels; they must be of one size."""
    sizes = {shape[:2] for shape in shapes.values()}
    if len(sizes) > 1:
        raise ValueError(f"join_cameras: the images are of different sizes, {shapes}")
    height, width = sizes.pop()
    return height, width, sum(shape[2] for shape in shapes.values())


def _frozen_trunk(config: EncoderConfig) -> FrozenTrunk | None:
    precision = PRECISIONS[config.trunk_precision]
    match config.encoder_type:
        case "resnet-pretrained":
            if config.weights is None:
                raise ValueError(
                    "encoder_type 'resnet-pretrained' needs weights: the path of SERL's "
                    "resnet10_params.pkl (release 'resnet10' of rail-berkeley/serl), or of an .npz "
                    "or .pt; 'mobilenet-pretrained' brings its own"
                )
            return pretrained_resnet10_trunk(config.weights, precision=precision)
        case "mobilenet-pretrained":
            return pretrained_mobilenet_trunk(
                last_block=config.last_block or LAST_BLOCK, precision=precision
            )
        case "resnet-random":
            return FrozenTrunk(ResNetTrunk(), precision)
    return None
