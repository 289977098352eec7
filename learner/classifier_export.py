"""From a trained reward classifier to the ONNX file that the controller asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from serl_rt.export.contract import ImageField
from serl_rt.export.onnx_graph import set_metadata, trace
from serl_rt.export.reward_classifier import KIND, OUTPUT, image_text
from serl_rt.learner.networks.classifier import BinaryClassifier


class SuccessModule(nn.Module):
    """What is exported: images in order -> probability of success. Normalisation is inside."""

    def __init__(self, classifier: BinaryClassifier, names: Sequence[str]) -> None:
        super().__init__()
        self.classifier = classifier
        self.names = tuple(names)

    def forward(self, *images: Tensor) -> Tensor:
        """Uint8 (batch, height, width, 3), one for each name -> (batch,)."""
        return torch.sigmoid(self.classifier(dict(zip(self.names, images, strict=True))))


def export_classifier(
    classifier: BinaryClassifier,
    images: Sequence[ImageField],
    threshold: float,
    facts: Mapping[str, str],
) -> bytes:
    """Return the ONNX file of a classifier that sees these images, not yet verified.

    `facts`: metadata beside its kind, images and threshold.
    """
    names = [image.name for image in images]
    generator = torch.Generator().manual_seed(0)
    probes = {
        image.name: torch.randint(
            256, (1, image.height, image.width, 3), generator=generator, dtype=torch.uint8
        )
        for image in images
    }
    graph = trace(SuccessModule(classifier, names).cpu().eval(), probes, OUTPUT)
    about = {"kind": KIND, "images": image_text(images), "threshold": f"{threshold:.9g}"}
    set_metadata(graph, {**facts, **about})
    model: bytes = graph.SerializeToString()
    return model


def predicted(classifier: BinaryClassifier, images: Mapping[str, Tensor]) -> Tensor:
    """Return torch's probabilities (n,), image by image as the file computes them."""
    module = SuccessModule(classifier, list(images)).cpu().eval()
    count = len(next(iter(images.values())))
    with torch.inference_mode():
        rows = [module(*(value[i : i + 1] for value in images.values())) for i in range(count)]
    return torch.cat(rows)
