"""Trunk parameters from files: SERL's published pickle, an .npz, or a torch state dict."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from serl_rt.learner import import_flax_pixels  # noqa: F401 - the encoders' names
from serl_rt.learner.import_flax import load_flax
from serl_rt.learner.safe_pickle import load_arrays
from serl_rt.learner.vision.trunk import Trunk

Arrays = Mapping[str, NDArray[Any]]


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, NDArray[Any]]:
    """{"a": {"b": x}} -> {"a/b": x}."""
    flat: dict[str, NDArray[Any]] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{name}/"))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


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


def load_trunk(trunk: Trunk, path: Path) -> None:
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
        return _load_flax(trunk, flatten(tree), path)
    elif path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        if any("/" in name for name in arrays):
            return _load_flax(trunk, arrays, path)
        state = {name: torch.from_numpy(value) for name, value in arrays.items()}
    elif path.suffix in (".pt", ".pth"):
        state = torch.load(path, map_location="cpu", weights_only=True)
    else:
        raise ValueError(f"{path}: unknown kind of file; expected .pkl, .npz, .pt or .pth")
    load_state(trunk, state, str(path))


def _load_flax(trunk: Trunk, arrays: Arrays, path: Path) -> None:
    """Load the trunk of a published encoder: what comes after it, a pooling head, is left out."""
    heads = ("Dense_", "LayerNorm_", "SpatialLearnedEmbeddings_", "SpatialSoftmax_", "output_head")
    try:
        load_flax(trunk, {n: value for n, value in arrays.items() if not n.startswith(heads)})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
