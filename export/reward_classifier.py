"""Reward classifiers as ONNX files: how they are checked and described.

Inputs: images of a contract by name, uint8 (1, height, width, 3) RGB. Output:
`success_probability`, float32 (1,). Needs numpy and ONNX Runtime only.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serl_rt.export.contract import ImageField
from serl_rt.export.verify import PolicyRefused, open_session

KIND = "reward_classifier"
"""The metadata `kind` of such a file."""
OUTPUT = "success_probability"
TOLERANCE = 1e-4
"""How far a probability may be from the reference: rounding, no more."""
FACTS = ("task", "images", "threshold", "accuracy", "confusion", "held_out", "trained_on")
"""Metadata that says what a file is for and how it was made."""


def image_text(images: Sequence[ImageField]) -> str:
    """Return the metadata `images`: "front 72 x 72, wrist 72 x 72" (height x width)."""
    return ", ".join(f"{image.name} {image.height} x {image.width}" for image in images)


class OnnxClassifier:
    """A classifier's model, ready to judge. Raises PolicyRefused when it is none."""

    def __init__(self, model: bytes) -> None:
        self._session = open_session(model)
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        if self.metadata.get("kind") != KIND:
            raise PolicyRefused(f"its metadata has no kind = {KIND}: not a reward classifier")
        self.inputs = {tensor.name: tuple(tensor.shape) for tensor in self._session.get_inputs()}

    def probabilities(self, images: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Judge images one by one: {name: (n, height, width, 3) uint8} -> (n,)."""
        count = len(next(iter(images.values())))
        rows = ({name: images[name][i : i + 1] for name in self.inputs} for i in range(count))
        found = [self._session.run([OUTPUT], row)[0] for row in rows]
        return np.concatenate(found).astype(np.float32)


def verify_classifier(
    model: bytes, images: Mapping[str, NDArray[Any]], expected: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the probabilities (n,) of images, compared with `expected` (n,).

    Raises PolicyRefused: one is not in [0, 1], or another than expected.
    """
    found = OnnxClassifier(model).probabilities(images)
    if found.shape != expected.shape or not ((found >= 0.0) & (found <= 1.0)).all():
        raise PolicyRefused("a success probability is not a number from 0 to 1")
    difference = float(np.abs(found - expected).max())
    if difference > TOLERANCE:
        raise PolicyRefused(
            f"the exported classifier differs from the trained one by {difference:.3g} "
            f"(at most {TOLERANCE:.3g} is allowed)"
        )
    return found


def is_classifier(path: Path) -> bool:
    """Whether an ONNX file says that it is a reward classifier. Raises PolicyRefused."""
    try:
        model = path.read_bytes()
    except OSError as error:
        raise PolicyRefused(f"{path}: cannot be read: {error.strerror}") from error
    return dict(open_session(model).get_modelmeta().custom_metadata_map).get("kind") == KIND


def describe_classifier(path: Path) -> str:
    """Say what a classifier's file holds, one fact a line. Raises PolicyRefused."""
    metadata = OnnxClassifier(path.read_bytes()).metadata
    lines = [f"classifier     {path}", f"size           {path.stat().st_size} bytes"]
    return "\n".join([*lines, *(f"{name:<14} {metadata.get(name, '-')}" for name in FACTS)])
