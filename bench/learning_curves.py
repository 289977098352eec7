"""`make curves`, `make curves-vision`: what the recipes need on PickCube, over several seeds.

Every run is the demo's: a learner and a lockstep controller as two processes, dense reward, every
second episode an evaluation without noise that nothing is learned from. A run ends when its recipe
is satisfied or at a limit. Runs that are already in the folder are kept, so that an interrupted
series goes on where it was. What encoders are compared by is wall time: `taskset -c 0 make
curves-vision` gives every run the same one core.
"""

import argparse
import dataclasses
import itertools
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from serl_rt.sim.demo import Demo, Scenario
from serl_rt.sim.metrics import MetricsFollower
from serl_rt.sim.report import Episode, moving_average

REWARD = "dense"
WINDOW = 20
"""Evaluation episodes that a success rate is taken over."""
WANTED = 0.9
DEMONSTRATION_NOISE = 0.2
RECIPES = Path(__file__).parent / "recipes"
"""Of variants that are only here to be compared with."""

Series = dict[str, list[list[Episode]]]
"""Label -> evaluation episodes of each seed."""


@dataclass(frozen=True)
class Axis:
    """What a success rate is drawn over."""

    field: str
    """Of Episode."""
    label: str

    def of(self, episode: Episode) -> float:
        return float(getattr(episode, self.field))


STEPS = Axis("env_steps", "environment steps (10 a second)")
SECONDS = Axis("wall_s", "seconds of learning")


@dataclass(frozen=True)
class Comparison:
    """Runs that are drawn together, and their limits."""

    task: str
    scenarios: Mapping[str, Scenario]
    """By label."""
    axes: tuple[Axis, ...]
    seeds: int
    max_env_steps: int
    time_limit_s: float


COMPARISONS = {
    "states": Comparison(
        "pick_cube",
        {
            "SAC": Scenario("sac_state", 0, 2),
            "RLPD, 20 demonstrations": Scenario("rlpd_state", 20, 2),
            "REDQ + RLPD, 20 demonstrations, UTD 4": Scenario("redq_state", 20, 2),
        },
        (STEPS,), seeds=3, max_env_steps=15_000, time_limit_s=3600.0,
    ),
    "vision": Comparison(
        "pick_cube_vision",
        {
            "small encoder from scratch": Scenario("drq_rlpd", 20, 3, 2),
            "frozen trunk, 4 cached crops": Scenario("drq_rlpd_cached", 20, 3, 2),
            "frozen trunk, 1 cached crop": Scenario(f"{RECIPES}/drq_rlpd_cached_1.toml", 20, 3, 2),
            "frozen trunk, fresh crops": Scenario(f"{RECIPES}/drq_rlpd_fresh.toml", 20, 3, 2),
        },
        (STEPS, SECONDS), seeds=2, max_env_steps=8_000, time_limit_s=480.0,
    ),
    "random": Comparison(
        "pick_cube_vision_random",
        {"standardized images, UTD 1/3": Scenario("drq_rlpd_random", 20, 4)},
        (STEPS, SECONDS), seeds=3, max_env_steps=36_000, time_limit_s=2700.0,
    ),
}  # fmt: skip


def run(comparison: Comparison, scenario: Scenario, seed: int, folder: Path) -> list[Episode]:
    """Learn once, unless that was done before; return the evaluation episodes in order."""
    done = folder / "done.json"
    if not done.exists():
        arguments = argparse.Namespace(
            task=comparison.task, reward=REWARD, seed=seed, episodes=0, noise=DEMONSTRATION_NOISE,
            time_limit=comparison.time_limit_s, run=folder,
        )  # fmt: skip
        limited = dataclasses.replace(scenario, max_env_steps=comparison.max_env_steps)
        demo = Demo(arguments, limited)
        demo.clear_folder()
        metrics = MetricsFollower(demo.learner_folder / "metrics.jsonl")
        done.write_text(json.dumps(demo.learn(demo.record(), metrics)["learner"], indent=2))
    metrics = MetricsFollower(folder / "learner" / "metrics.jsonl")
    metrics.poll()
    return [episode for episode in metrics.episodes if episode.evaluation]


def needed(episodes: Sequence[Episode], wanted: float = WANTED) -> Episode | None:
    """Return the episode at whose end a full window is good enough; None if there is none."""
    rates = moving_average([float(e.success) for e in episodes], WINDOW)
    for i in range(WINDOW - 1, len(episodes)):
        if rates[i] >= wanted:
            return episodes[i]
    return None


def table(series: Series, axis: Axis) -> str:
    """Return what each seed needed on this axis, and the median."""
    width = max(len(label) for label in series)
    lines = [f"{axis.label} until {WANTED:.0%} of the last {WINDOW} evaluations succeeded"]
    for label, runs in series.items():
        ends = [needed(episodes) for episodes in runs]
        values = [math.inf if end is None else axis.of(end) for end in ends]
        each = ", ".join(show(value) for value in values)
        lines.append(f"{label:<{width}}  median {show(float(np.median(values))):>11}  ({each})")
    return "\n".join(lines)


def show(value: float) -> str:
    return f"{value:.0f}" if math.isfinite(value) else "not reached"


def plot(series: Series, comparison: Comparison, path: Path) -> None:
    """Draw the success rate over each axis; a dot where it first was good enough."""
    wide = len(comparison.axes)
    figure = Figure(figsize=(7.2 if wide == 1 else 5.0 * wide, 3.6), layout="constrained")
    panels = figure.subplots(1, wide, squeeze=False)[0]
    for axes, axis in zip(panels, comparison.axes, strict=True):
        draw(axes, axis, series)
    panels[0].set(ylabel=f"success, last {WINDOW} evaluations")
    panels[0].legend(fontsize=8, loc="lower right" if wide == 1 else "upper left")
    figure.suptitle(f"{comparison.task}, {REWARD} reward", fontsize=11)
    figure.savefig(path, dpi=100)


def draw(axes: Axes, axis: Axis, series: Series) -> None:
    """Draw all runs in one panel."""
    colors = ("tab:gray", "tab:blue", "tab:red", "tab:green", "tab:purple")
    for color, (label, runs) in zip(itertools.cycle(colors), series.items(), strict=False):
        for i, episodes in enumerate(runs):
            rates = moving_average([float(e.success) for e in episodes], WINDOW)
            places = [axis.of(episode) for episode in episodes]
            axes.plot(places, rates, color=color, lw=1.2, label=label if i == 0 else None)
            if (end := needed(episodes)) is not None:
                axes.plot(axis.of(end), WANTED, "o", color=color, ms=5)
    axes.axhline(WANTED, color="black", lw=0.6, ls=":")
    axes.set(xlabel=axis.label, ylim=(-0.03, 1.03))
    axes.grid(alpha=0.3)


def main(argv: Sequence[str]) -> int:
    """Run the series and leave table and plot."""
    p = argparse.ArgumentParser(prog="make curves CURVES_ARGS=...", description=__doc__)
    p.add_argument("--compare", choices=sorted(COMPARISONS), default="states")
    p.add_argument("--seeds", type=int)
    p.add_argument("--max-env-steps", type=int, help="of a run")
    p.add_argument("--time-limit", dest="time_limit_s", type=float, help="of a run [s]")
    p.add_argument("--run", type=Path, default=Path("runs/curves"), help="folder of the runs")
    p.add_argument("--output", type=Path, default=Path("runs/curves/curves.png"), help="the plot")
    arguments = p.parse_args(argv)
    limits = {k: getattr(arguments, k) for k in ("seeds", "max_env_steps", "time_limit_s")}
    comparison = dataclasses.replace(
        COMPARISONS[arguments.compare], **{k: v for k, v in limits.items() if v is not None}
    )
    series: Series = {}
    for label, scenario in comparison.scenarios.items():
        name = Path(scenario.recipe).stem
        series[label] = [
            run(comparison, scenario, seed, arguments.run / f"{name}-{seed}")
            for seed in range(comparison.seeds)
        ]
    for axis in comparison.axes:
        print(table(series, axis))
    plot(series, comparison, arguments.output)
    print(f"drawn in {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
