"""What a demo leaves behind: a plot of the learning and a clip of the learned policy."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True)
class Episode:
    """One training or evaluation episode."""

    wall_s: float
    """Since learning began [s]."""
    env_steps: int
    """Environment steps taken when it ended."""
    episode_return: float
    success: bool
    evaluation: bool
    """Acted without noise."""


def moving_average(values: Sequence[float], window: int) -> NDArray[np.float64]:
    """Return the mean of the last `window` values (fewer at the beginning)."""
    sums = np.cumsum(np.concatenate([[0.0], np.asarray(values, dtype=np.float64)]))
    ends = np.arange(1, len(values) + 1)
    begins = np.maximum(0, ends - window)
    means: NDArray[np.float64] = (sums[ends] - sums[begins]) / (ends - begins)
    return means


def plot_learning(episodes: Sequence[Episode], title: str, path: Path, window: int = 10) -> None:
    """Draw success rate and return against environment steps, noisy and deterministic episodes."""
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    success_axes, return_axes = figure.subplots(1, 2)
    kinds = ((False, "exploring", "tab:gray"), (True, "deterministic", "tab:blue"))
    for evaluation, label, color in kinds:
        chosen = [episode for episode in episodes if episode.evaluation == evaluation]
        if not chosen:
            continue
        steps = [episode.env_steps for episode in chosen]
        success = moving_average([float(e.success) for e in chosen], window)
        returns = [episode.episode_return for episode in chosen]
        success_axes.plot(steps, success, color=color, label=label)
        return_axes.scatter(steps, returns, s=8, alpha=0.35, color=color, linewidths=0)
        return_axes.plot(steps, moving_average(returns, window), color=color, label=label)
    success_axes.set(ylim=(-0.03, 1.03), ylabel=f"success rate (last {window})")
    return_axes.set(ylabel="return per episode")
    wall_s = max((episode.wall_s for episode in episodes), default=0.0)
    for axes in (success_axes, return_axes):
        axes.set_xlabel("environment steps")
        axes.grid(alpha=0.3)
        axes.legend(loc="best", fontsize=8)
    figure.suptitle(f"{title}: {wall_s:.0f} s of learning")
    figure.savefig(path, dpi=110)


def write_clip(frames: Sequence[NDArray[np.uint8]], path: Path, frames_per_s: float) -> None:
    """Write RGB frames of shape (height, width, 3) as an endless GIF."""
    images = [
        Image.fromarray(frame).convert("P", palette=Image.Palette.ADAPTIVE, colors=128)
        for frame in frames
    ]
    images[0].save(
        path,
        save_all=True,
        append_images=images[1:],
        duration=round(1000.0 / frames_per_s),
        loop=0,
        optimize=True,
    )
