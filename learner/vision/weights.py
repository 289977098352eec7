"""Trunk parameters from files: SERL's published pickle, an .npz, or a torch state dict."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from serl_rt.learner.safe_pickle import load_arrays

Arrays = Mapping[str, NDArray[Any]]

_FLAX_NAMES = (
    (r"(?:Bottleneck)?ResNetBlock_(\d+)", r"blocks.\1"),
    (r"FilmConditioning_(\d+)/Dense_0", r"conditioning.\1.scale"),
    (r"FilmConditioning_(\d+)/Dense_1", r"conditioning.\1.shift"),
    (r"Conv_(\d+)", r"convs.\1"),
    (r"MyGroupNorm_(\d+)", r"norms.\1"),
    (r"conv_proj", "project"),
    (r"norm_proj", "project_norm"),
    (r"(?:kernel|scale)$", "weight"),
    (r"/", "."),
)

_FLAX_HEAD = {
    "Dense_0/kernel": "linear.weight",
    "Dense_0/bias": "linear.bias",
    "LayerNorm_0/scale": "norm.weight",
    "LayerNorm_0/bias": "norm.bias",
    "SpatialLearnedEmbeddings_0/kernel": "pooling.kernel",
    "SpatialSoftmax_0/softmax_temperature": "pooling.temperature",
}


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, NDArray[Any]]:
    """{"a": {"b": x}} -> {"a/b": x}."""
    flat: dict[str, NDArray[Any]] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{name}/"))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def trunk_state_from_flax(arrays: Arrays) -> dict[str, Tensor]:
    """Flax parameters of a ResNet or convolutional trunk, by path, as this package's state dict.

    Convolution kernels are (height, width, in, out) there and (out, in, height, width) here; Dense
    kernels are (in, out) there and (out, in) here.
    """
    state = {}
    for path, value in arrays.items():
        name = path
        for pattern, replacement in _FLAX_NAMES:
            name = re.sub(pattern, replacement, name)
        tensor = torch.from_numpy(np.array(value, dtype=np.float32))
        if tensor.ndim == 4:
            tensor = tensor.permute(3, 2, 0, 1)
        elif tensor.ndim == 2:
            tensor = tensor.T
        state[name] = tensor.contiguous()
    return state


def flax_encoder_state(arrays: Arrays) -> dict[str, Tensor]:
    """Flax parameters of a whole encoder (trunk, pooling, bottleneck) as that of an `Encoder`."""
    trunk = {f"trunk.{n}": v for n, v in trunk_state_from_flax(_trunk_only(arrays)).items()}
    head = {
        f"head.{ours}": torch.from_numpy(np.array(arrays[theirs], dtype=np.float32))
        for theirs, ours in _FLAX_HEAD.items()
        if theirs in arrays
    }
    if "head.linear.weight" in head:
        head["head.linear.weight"] = head["head.linear.weight"].T.contiguous()
    return trunk | head


def load_state(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """`load_state_dict` that names every missing, unexpected and misshapen parameter at once."""
    own = module.state_dict()
    problems = [f"{name} is missing" for name in own if name not in state]
    problems += [f"{name} is not a parameter of this network" for name in state if name not in own]
    for name, value in state.items():
        if name in own and own[name].shape != value.shape:
            expected = tuple(own[name].shape)
            problems.append(f"{name} has shape {tuple(value.shape)}, expected {expected}")
    if problems:
        more = f" and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise ValueError(f"{source}: {'; '.join(problems[:8])}{more}")
    module.load_state_dict(dict(state))


def load_trunk(trunk: nn.Module, path: Path) -> None:
    """Fill `trunk` from a file, by its suffix.

    .pkl    SERL's published parameters: a pickle of nested dicts of arrays, read without running it
    .npz    arrays named as in Flax ("ResNetBlock_0/Conv_0/kernel") or as this module's state dict
    .pt .pth  a torch state dict, read with weights_only

    Raises ValueError that names what does not fit.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    if path.suffix == ".pkl":
        tree = load_arrays(path)
        if not isinstance(tree, dict):
            raise ValueError(f"{path}: a {type(tree).__name__}, expected nested dicts of arrays")
        state = trunk_state_from_flax(_trunk_only(flatten(tree)))
    elif path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        if any("/" in name for name in arrays):
            state = trunk_state_from_flax(_trunk_only(arrays))
        else:
            state = {name: torch.from_numpy(value) for name, value in arrays.items()}
    elif path.suffix in (".pt", ".pth"):
        state = torch.load(path, map_location="cpu", weights_only=True)
    else:
        raise ValueError(f"{path}: unknown kind of file; expected .pkl, .npz, .pt or .pth")
    load_state(trunk, state, str(path))


def _trunk_only(arrays: Arrays) -> Arrays:
    """Drop what a published encoder has after its trunk: a classifier or a pooling head."""
    heads = ("Dense_", "LayerNorm_", "SpatialLearnedEmbeddings_", "SpatialSoftmax_", "output_head")
    return {path: value for path, value in arrays.items() if not path.startswith(heads)}
