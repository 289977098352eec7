"""Losses that keep a classifier from being certain too early: mixup and a gradient penalty."""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from serl_rt.learner.networks.classifier import BinaryClassifier


def mixup_loss(
    classifier: BinaryClassifier, encoded: Tensor, labels: Tensor, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of mixed encodings (Zhang et al. 2018), and the mixed encodings (batch, dim).

    One weight, uniform as Beta(1, 1) is, for the batch: x = w x_i + (1 - w) x_j, with the loss
    weighted alike between both labels.
    """
    device = generator.device
    weight = torch.rand((), generator=generator, device=device).to(encoded.device)
    order = torch.randperm(len(encoded), generator=generator, device=device).to(encoded.device)
    mixed = weight * encoded + (1.0 - weight) * encoded[order]
    logits = classifier.logits(mixed, train=True)
    own = F.binary_cross_entropy_with_logits(logits, labels)
    other = F.binary_cross_entropy_with_logits(logits, labels[order])
    return weight * own + (1.0 - weight) * other, mixed


def gradient_penalty(classifier: BinaryClassifier, encoded: Tensor, generator: Generator) -> Tensor:
    """Mean of (|d logit / d x| - 1)^2 at points between the two halves of the encodings.

    Gulrajani et al. 2017. It bounds how steep the classifier is where it has seen nothing.
    """
    half = len(encoded) // 2
    first, second = encoded[:half].detach(), encoded[half : 2 * half].detach()
    weight = torch.rand(half, 1, generator=generator, device=generator.device).to(encoded.device)
    points = (weight * first + (1.0 - weight) * second).requires_grad_()
    logits = classifier.logits(points)
    (slopes,) = torch.autograd.grad(logits.sum(), points, create_graph=True)
    norms = (slopes.square().sum(-1) + 1e-6).sqrt()
    return (norms - 1.0).square().mean()
