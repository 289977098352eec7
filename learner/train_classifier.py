"""`serl-rt classifier`: a reward classifier of images, from recorded demonstrations."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from serl_rt.export.contract import Contract, ImageField
from serl_rt.export.demonstrations import (
    DemonstrationsError,
    load_demonstrations,
    stored_contract,
)
from serl_rt.export.publish import write_whole
from serl_rt.export.reward_classifier import image_text, verify_classifier
from serl_rt.export.task import load_task
from serl_rt.export.toml_config import ConfigError
from serl_rt.export.verify import PolicyRefused
from serl_rt.learner.classifier_export import export_classifier, predicted
from serl_rt.learner.networks.classifier import BinaryClassifier
from serl_rt.learner.rewards import (
    ClassifierTraining,
    make_reward_classifier,
    train_reward_classifier,
)
from serl_rt.learner.vision.build import EncoderConfig, make_encoding_wrapper
from serl_rt.learner.vision.encoders import SCRATCH_ENCODERS

FEWEST_EPISODES = 2
"""With success, and with failure: one to learn from, one to be asked about."""
HIDDEN_DIM = 64
"""Of the layer behind the image vectors."""


def parser() -> argparse.ArgumentParser:
    """Return the command line's definition."""
    p = argparse.ArgumentParser(
        prog="serl-rt classifier",
        description="Train a classifier of success from recorded images, for [episode] reward = "
        '"classifier" of the task. Whole episodes are held out; it is asked about them as the file '
        "that is written.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    p.add_argument("files", type=Path, nargs="+", help="demonstrations (.npz) with images")
    p.add_argument("--task", required=True, help="bundled task's name, or a .toml file")
    p.add_argument("--output", type=Path, required=True, help="the .onnx file to write")
    p.add_argument("--camera", nargs="+", metavar="NAME", help="images to see; default: all")
    p.add_argument("--encoder", choices=sorted(SCRATCH_ENCODERS), default="convfast")
    p.add_argument("--steps", type=int, default=600, help="of the optimizer")
    p.add_argument(
        "--threshold", type=float, default=0.75, help="least probability of success, in the file"
    )
    p.add_argument("--seed", type=int, default=0, help="of the weights and the held-out episodes")
    return p


class Frames(NamedTuple):
    """What steps ended with."""

    images: dict[str, Tensor]
    """Name -> (n, height, width, 3) uint8."""
    success: Tensor
    """(n,) int64, 0 or 1."""
    episode: Tensor
    """(n,) int64, different for every episode of every file."""


@dataclass(frozen=True)
class Result:
    """A classifier's file, and how it answers about episodes that it was not trained on."""

    model: bytes
    confusion: tuple[tuple[int, int], tuple[int, int]]
    """[true][answered] counts of held-out frames, at the file's threshold; 1 is success."""
    episodes: int
    """Held out."""

    @property
    def accuracy(self) -> float:
        """Share of right answers, the classes weighted equally."""
        return _accuracy(self.confusion)


def choose_images(contract: Contract, cameras: Sequence[str] | None) -> list[ImageField]:
    """Return the contract's images that a classifier shall see. Raises ConfigError."""
    known = {image.name: image for image in contract.images}
    if not known:
        raise ConfigError(f"--task {contract.name}: its contract has no images to classify")
    for name in cameras or ():
        if name not in known:
            raise ConfigError(f"--camera {name}: the task {contract.name} has {', '.join(known)}")
    return [image for name, image in known.items() if not cameras or name in cameras]


def load_frames(paths: Sequence[Path], contract: Contract, images: Sequence[ImageField]) -> Frames:
    """Read what every step of these files ended with, and whether that was success.

    Raises DemonstrationsError: a file without images or of another task, too few episodes that show
    success or failure.
    """
    pictures: dict[str, list[NDArray[np.uint8]]] = {image.name: [] for image in images}
    success, episode = [], []
    for number, path in enumerate(paths):
        if not stored_contract(path).images:
            raise DemonstrationsError(f"{path}: holds no images; record the task {contract.name}")
        columns = load_demonstrations(path, contract)
        for name, parts in pictures.items():
            parts.append(columns[f"next_observation/{name}"])
        success.append(columns["success"].astype(np.int64))
        episode.append((number << 32) + columns["episode"].astype(np.int64))
    frames = Frames(
        {name: torch.from_numpy(np.concatenate(parts)) for name, parts in pictures.items()},
        torch.from_numpy(np.concatenate(success)),
        torch.from_numpy(np.concatenate(episode)),
    )
    for label, what in ((1, "success"), (0, "failure")):
        found = len(torch.unique(frames.episode[frames.success == label]))
        if found < FEWEST_EPISODES:
            raise DemonstrationsError(
                f"{', '.join(map(str, paths))}: {found} episodes have frames of {what}; at least "
                f"{FEWEST_EPISODES} are needed, and some dozens are better"
            )
    return frames


def make_classifier(images: Sequence[ImageField], frames: Frames, encoder: str) -> BinaryClassifier:
    """Return an untrained classifier of these images; those of one size share an encoder."""
    names = tuple(image.name for image in images)
    same = len({(image.height, image.width) for image in images}) == 1
    config = EncoderConfig(
        encoder, names, proprio_keys=(), stack=None, join_cameras=same and len(names) > 1
    )
    wrapper = make_encoding_wrapper(config, {n: frames.images[n][:1] for n in names})
    classifier = make_reward_classifier(wrapper, hidden_dim=HIDDEN_DIM)
    assert isinstance(classifier, BinaryClassifier)
    return classifier


def train(
    frames: Frames,
    images: Sequence[ImageField],
    task: str,
    *,
    encoder: str,
    steps: int,
    threshold: float,
    seed: int,
) -> Result:
    """Train, export, and compare the file with torch on every held-out frame.

    Raises PolicyRefused where they differ, ValueError where nothing would be left to train on.
    """
    torch.manual_seed(seed)
    classifier = make_classifier(images, frames, encoder)
    settings = ClassifierTraining(
        steps=steps, batch_size=64, learning_rate=1e-3, evaluate_every=50, seed=seed
    )
    report = train_reward_classifier(
        classifier, frames.images, frames.success, groups=frames.episode, settings=settings
    )
    held = {name: value[report.held_out] for name, value in frames.images.items()}
    truth = frames.success[report.held_out].numpy()
    expected = predicted(classifier, held).numpy()
    confusion = confusion_at(threshold, expected, truth)
    episodes = len(torch.unique(frames.episode[report.held_out]))
    facts = {
        "task": task,
        "accuracy": f"{_accuracy(confusion):.6f}",
        "confusion": str([list(row) for row in confusion]),
        "held_out": f"{len(truth)} frames of {episodes} episodes",
        "trained_on": f"{len(frames.success)} frames less those; {encoder}, "
        f"the best of {steps} steps, seed {seed}",
    }
    model = export_classifier(classifier, images, threshold, facts)
    verify_classifier(model, {name: value.numpy() for name, value in held.items()}, expected)
    return Result(model, confusion, episodes)


def confusion_at(
    threshold: float, probability: NDArray[np.float32], truth: NDArray[np.int64]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """[true][answered] counts of frames (n,), answered as the controller does."""
    answered = probability.astype(np.float64) >= threshold

    def row(label: int) -> tuple[int, int]:
        yes = int((answered & (truth == label)).sum())
        return int((truth == label).sum()) - yes, yes

    return row(0), row(1)


def _accuracy(confusion: tuple[tuple[int, int], tuple[int, int]]) -> float:
    return sum(row[i] / max(1, sum(row)) for i, row in enumerate(confusion)) / len(confusion)


def check_numbers(arguments: argparse.Namespace) -> None:
    """Raise ConfigError for a number that is not allowed."""
    if not 1 <= arguments.steps <= 1_000_000:
        raise ConfigError(f"--steps {arguments.steps}: must be from 1 to 1000000")
    if not 0.001 <= arguments.threshold <= 0.999:
        raise ConfigError(f"--threshold {arguments.threshold}: must be from 0.001 to 0.999")
    if arguments.seed < 0:
        raise ConfigError(f"--seed {arguments.seed}: must be 0 or more")


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    arguments = parser().parse_args(argv)
    try:
        check_numbers(arguments)
        contract = load_task(arguments.task).contract
        images = choose_images(contract, arguments.camera)
        frames = load_frames(arguments.files, contract, images)
        result = train(
            frames, images, contract.name, encoder=arguments.encoder, steps=arguments.steps,
            threshold=arguments.threshold, seed=arguments.seed,
        )  # fmt: skip
        write_whole(result.model, arguments.output)
    except (ConfigError, DemonstrationsError, PolicyRefused, ValueError, OSError) as error:
        print(f"serl-rt classifier: {error}", file=sys.stderr)
        return 2
    failures, successes = result.confusion
    print(
        f"{arguments.output}: sees {image_text(images)}; held out {result.episodes} episodes, "
        f"{sum(failures) + sum(successes)} frames: accuracy {result.accuracy:.4f}, failures and "
        f"successes weighted equally\n"
        f"  failures   {failures[0]} seen, {failures[1]} taken for success\n"
        f"  successes  {successes[1]} seen, {successes[0]} missed"
    )
    return 0
