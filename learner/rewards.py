"""Learned rewards: train a classifier of success frames, and turn it into a reward."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from serl_rt.learner.networks.classifier import (
    BinaryClassifier,
    NWayClassifier,
    classifier_network,
)
from serl_rt.learner.optim import make_optimizer
from serl_rt.learner.vision.augment import random_shift
from serl_rt.learner.vision.cache import cache_crops, draw_crop
from serl_rt.learner.vision.encoding import EncodingWrapper

Classifier = BinaryClassifier | NWayClassifier
Named = Mapping[str, Tensor]


@dataclass(frozen=True)
class ClassifierTraining:
    """How a classifier is trained."""

    steps: int = 300
    batch_size: int = 256
    """Half of it (or one n-th) from each class."""
    learning_rate: float = 1e-4
    validation_fraction: float = 0.2
    """Share of the groups held out; the parameters of the best evaluation on them are kept."""
    evaluate_every: int = 25
    """Steps between evaluations."""
    shift_padding: int = 4
    """Largest random shift [pixels]."""
    cached_crops: int = 4
    """Shifts computed ahead for each frame of a frozen trunk."""
    seed: int = 0


@dataclass(frozen=True)
class ClassifierReport:
    """What a training reached."""

    steps: int
    best_step: int
    train_loss: float
    """Mean over the last evaluation interval."""
    validation_loss: float
    validation_accuracy: float
    """Share of right answers, the classes weighted equally."""
    confusion: tuple[tuple[int, ...], ...]
    """[true class][predicted class] counts over the held-out frames."""
    held_out: Tensor = field(compare=False, repr=False)
    """Their indices."""


def make_reward_classifier(
    encoder: EncodingWrapper, *, num_classes: int = 2, hidden_dim: int = 256
) -> Classifier:
    """SERL's reward classifier: encoder -> Linear -> dropout -> layer norm -> ReLU -> logits."""
    network = classifier_network(encoder.output_dim, hidden_dim=hidden_dim)
    if num_classes == 2:
        return BinaryClassifier(encoder, network)
    return NWayClassifier(encoder, network, num_classes)


def class_probabilities(classifier: Classifier, observations: Named) -> Tensor:
    """(batch, classes) probabilities, without dropout."""
    with torch.no_grad():
        logits = classifier(observations)
    if isinstance(classifier, NWayClassifier):
        return torch.softmax(logits, dim=-1)
    success = torch.sigmoid(logits)
    return torch.stack((1.0 - success, success), dim=-1)


def classification_loss(
    classifier: Classifier, observations: Named, labels: Tensor, *, train: bool = True
) -> Tensor:
    """Mean cross-entropy of labels (batch,), integers."""
    logits = classifier(observations, train=train)
    if isinstance(classifier, NWayClassifier):
        return F.cross_entropy(logits, labels)
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))


def train_reward_classifier(
    classifier: Classifier,
    observations: Named,
    labels: Tensor,
    *,
    groups: Tensor | None = None,
    settings: ClassifierTraining = ClassifierTraining(),
) -> ClassifierReport:
    """Train `classifier` in place and report how it does on frames that it has not seen.

    observations: {name: (n, ...)} with images on the classifier's device; labels: (n,) integers,
    1 for success. groups: (n,) integers, the episode of each frame: an episode is held out as a
    whole, because neighbouring frames are nearly equal. Without it frames are held out one by one.
    Raises ValueError where a class has too few frames or groups.
    """
    generator = Generator().manual_seed(settings.seed)
    classes = classifier.num_classes if isinstance(classifier, NWayClassifier) else 2
    _check_labels(observations, labels, classes)
    train, held_out = hold_out(labels, groups, classes, settings.validation_fraction, generator)
    encoder = classifier.encoder
    if not isinstance(encoder, EncodingWrapper):
        raise TypeError(f"a classifier of images, not of {type(encoder).__name__}")

    crops = cache_crops(
        encoder,
        _take(observations, torch.cat(train)),
        generator,
        crops=settings.cached_crops,
        padding=settings.shift_padding,
    )
    counts = [len(indices) for indices in train]
    plain = encoder.trunk_features(_take(observations, held_out))
    truth = labels[held_out]
    optimizer = make_optimizer(classifier, settings.learning_rate)

    best: tuple[float, int, dict[str, Tensor]] = (float("inf"), 0, {})
    total, since = 0.0, 0
    for step in range(1, settings.steps + 1):
        rows, target = _balanced(counts, settings.batch_size, generator)
        batch = _augment(_take(crops, rows), encoder, generator, settings.shift_padding)
        loss = classification_loss(classifier, batch, target.to(labels.device))
        optimizer.step(torch.autograd.grad(loss, optimizer.parameters))
        total, since = total + loss.item(), since + 1
        if step % settings.evaluate_every == 0 or step == settings.steps:
            validation = _validation_loss(classifier, plain, truth, classes)
            if validation < best[0]:
                best = (validation, step, copy.deepcopy(classifier.state_dict()))
            train_loss, total, since = total / since, 0.0, 0
    classifier.load_state_dict(best[2])
    confusion = _confusion(class_probabilities(classifier, plain).argmax(-1), truth, classes)
    recall = [row[i] / sum(row) for i, row in enumerate(confusion)]
    return ClassifierReport(
        settings.steps, best[1], train_loss, best[0], sum(recall) / classes, confusion, held_out
    )


@dataclass(frozen=True)
class SuccessPredicate:
    """Decides success from observations: the reward of a task without a programmed one."""

    classifier: Classifier
    threshold: float = 0.5
    """Least probability of success; 0.75 to 0.9 is usual on a robot, where a false alarm is worse
    than a late one."""
    success_class: int = 1
    condition: Callable[[Named], Tensor] | None = None
    """Something else that must hold, e.g. a lifted gripper: observations -> (batch,) bool."""

    def __post_init__(self) -> None:
        if not 0.0 < self.threshold < 1.0:
            raise ValueError(f"threshold = {self.threshold}: must be between 0 and 1")

    def __call__(self, observations: Named) -> Tensor:
        """Observations of a batch -> (batch,) bool."""
        probability = class_probabilities(self.classifier, observations)[:, self.success_class]
        success = probability >= self.threshold
        return success if self.condition is None else success & self.condition(observations)


def _take(observations: Named, indices: Tensor) -> dict[str, Tensor]:
    return {key: value[indices.to(value.device)] for key, value in observations.items()}


def _check_labels(observations: Named, labels: Tensor, classes: int) -> None:
    for key, value in observations.items():
        if len(value) != len(labels):
            raise ValueError(f"{len(value)} frames of {key!r} and {len(labels)} labels")
    if labels.is_floating_point() or labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels must be integers from 0 to {classes - 1}")


def hold_out(
    labels: Tensor, groups: Tensor | None, classes: int, fraction: float, generator: Generator
) -> tuple[list[Tensor], Tensor]:
    """Training indices of each class, and the held-out indices: `fraction` of the groups.

    Raises ValueError where a class would have no group on either side.
    """
    labels = labels.cpu()
    groups = torch.arange(len(labels)) if groups is None else groups.cpu()
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(classes):
        own = torch.unique(groups[labels == label])
        count = max(1, round(fraction * len(own)))
        if len(own) - count < 1:
            raise ValueError(f"class {label} has {len(own)} groups: too few to hold one out")
        chosen = own[torch.randperm(len(own), generator=generator)[:count]]
        held |= torch.isin(groups, chosen)
    train = [((labels == label) & ~held).nonzero().flatten() for label in range(classes)]
    for label, indices in enumerate(train):
        if not len(indices):
            raise ValueError(f"class {label} has no frame left to train on: give more episodes")
    return train, held.nonzero().flatten()


def _balanced(counts: list[int], batch_size: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Rows, into the classes laid end to end, and labels of a batch with every class alike."""
    each = max(1, batch_size // len(counts))
    rows, start = [], 0
    for count in counts:
        rows.append(start + torch.randint(count, (each,), generator=generator))
        start += count
    return torch.cat(rows), torch.arange(len(counts)).repeat_interleave(each)


def _augment(
    batch: dict[str, Tensor], encoder: EncodingWrapper, generator: Generator, padding: int
) -> dict[str, Tensor]:
    """Draw a cached crop of frozen cameras, shift the images of the others."""
    for key in encoder.image_keys:
        if key in encoder.frozen_keys:
            batch[key] = draw_crop(batch[key], generator)
        else:
            batch[key] = random_shift(batch[key], generator, padding=padding)
    return batch


def _validation_loss(
    classifier: Classifier, observations: Named, labels: Tensor, classes: int
) -> float:
    """Mean cross-entropy, the classes weighted equally."""
    probabilities = class_probabilities(classifier, observations)
    losses = -probabilities[torch.arange(len(labels)), labels].clamp(min=1e-7).log()
    means = [losses[labels == label].mean() for label in range(classes)]
    return float(torch.stack(means).mean())


def _confusion(predicted: Tensor, labels: Tensor, classes: int) -> tuple[tuple[int, ...], ...]:
    counts = torch.bincount(labels.cpu() * classes + predicted.cpu(), minlength=classes**2)
    return tuple(tuple(row) for row in counts.reshape(classes, classes).tolist())
