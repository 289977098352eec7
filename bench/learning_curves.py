"""`make curves`: how many environment steps the recipes need on PickCube, over several seeds.

Every run is the demo's: a learner and a lockstep controller as two processes, dense reward, every
second episode an evaluation without noise that nothing is learned from. A run ends when its recipe
is satisfied or at the limit. Runs that are already in the folder are kept, so that an interrupted
series goes on where it was.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from serl_rt.sim.demo import Demo, Scenario
from serl_rt.sim.metrics import MetricsFollower
from serl_rt.sim.report import Episode, moving_average

TASK, REWARD = "pick_cube", "dense"
WINDOW = 20
"""Evaluation episodes that a success rate is taken over."""
WANTED = 0.9
TIME_LIMIT_S = 3600.0
DEMONSTRATION_NOISE = 0.2

Series = dict[str, list[list[Episode]]]
"""Label -> evaluation episodes of each seed."""


def scenarios(limit: int) -> dict[str, Scenario]:
    """Return what is compared, by label."""
    return {
        "SAC": Scenario("sac_state", 0, 2, limit),
        "RLPD, 20 demonstrations": Scenario("rlpd_state", 20, 2, limit),
        "REDQ + RLPD, 20 demonstrations, UTD 4": Scenario("redq_state", 20, 2, limit),
    }


def run(scenario: Scenario, seed: int, folder: Path) -> list[Episode]:
    """Learn once, unless that was done before; return the evaluation episodes in order."""
    done = folder / "done.json"
    if not done.exists():
        arguments = argparse.Namespace(
            task=TASK, reward=REWARD, seed=seed, episodes=0, noise=DEMONSTRATION_NOISE,
            time_limit=TIME_LIMIT_S, run=folder,
        )  # fmt: skip
        demo = Demo(arguments, scenario)
        demo.clear_folder()
        metrics = MetricsFollower(demo.learner_folder / "metrics.jsonl")
        done.write_text(json.dumps(demo.learn(demo.record(), metrics)["learner"], indent=2))
    metrics = MetricsFollower(folder / "learner" / "metrics.jsonl")
    metrics.poll()
    return [episode for episode in metrics.episodes if episode.evaluation]


def steps_to(episodes: Sequence[Episode], wanted: float = WANTED) -> int | None:
    """Return the environment steps after which a full window is good enough; None if never."""
    rates = moving_average([float(e.success) for e in episodes], WINDOW)
    for i in range(WINDOW - 1, len(episodes)):
        if rates[i] >= wanted:
            return episodes[i].env_steps
    return None


def table(series: Series) -> str:
    """Return the steps to success of each seed and their median."""
    width = max(len(label) for label in series)
    lines = []
    for label, runs in series.items():
        steps = [steps_to(episodes) for episodes in runs]
        middle = float(np.median([math.inf if s is None else s for s in steps]))
        median = f"{middle:.0f}" if math.isfinite(middle) else "-"
        each = ", ".join("not reached" if s is None else str(s) for s in steps)
        lines.append(f"{label:<{width}}  median {median:>6}  ({each})")
    return "\n".join(lines)


def plot(series: Series, path: Path) -> None:
    """Draw the success rate over environment steps; a dot where it first was good enough."""
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axes = figure.subplots()
    colors = ("tab:gray", "tab:blue", "tab:red")
    for color, (label, runs) in zip(colors, series.items(), strict=True):
        for i, episodes in enumerate(runs):
            steps = [episode.env_steps for episode in episodes]
            rates = moving_average([float(e.success) for e in episodes], WINDOW)
            axes.plot(steps, rates, color=color, lw=1.2, label=label if i == 0 else None)
            if (reached := steps_to(episodes)) is not None:
                axes.plot(reached, WANTED, "o", color=color, ms=5)
    axes.axhline(WANTED, color="black", lw=0.6, ls=":")
    axes.set(xlabel="environment steps (10 a second)", ylim=(-0.03, 1.03))
    axes.set(ylabel=f"success, last {WINDOW} evaluations", title=f"PickCube, {REWARD} reward")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower right")
    figure.savefig(path, dpi=100)


def main(argv: Sequence[str]) -> int:
    """Run the series and leave table and plot."""
    p = argparse.ArgumentParser(prog="make curves CURVES_ARGS=...", description=__doc__)
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--max-env-steps", type=int, default=15_000, help="of a run")
    p.add_argument("--run", type=Path, default=Path("runs/curves"), help="folder of the runs")
    p.add_argument("--output", type=Path, default=Path("docs/learning_curves.png"))
    arguments = p.parse_args(argv)
    series: Series = {}
    for label, scenario in scenarios(arguments.max_env_steps).items():
        folders = [arguments.run / f"{scenario.recipe}-{seed}" for seed in range(arguments.seeds)]
        series[label] = [run(scenario, seed, folder) for seed, folder in enumerate(folders)]
    print(table(series))
    plot(series, arguments.output)
    print(f"drawn in {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
