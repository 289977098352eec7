"""`serl-rt record`: demonstrations of the scripted expert, as a file for the learner."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from serl_rt.export.demonstrations import save_demonstrations
from serl_rt.export.task import REWARDS
from serl_rt.export.toml_config import ConfigError
from serl_rt.sim.envs import SimArmEnv
from serl_rt.sim.record import record_demonstrations


def parser() -> argparse.ArgumentParser:
    """Return the command line's definition."""
    p = argparse.ArgumentParser(
        prog="serl-rt record",
        description="Record episodes of the scripted expert in the simulated arm: successful ones, "
        "or all.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    p.add_argument("file", type=Path, help="the .npz file to write")
    p.add_argument("--task", default="pick_cube", help="bundled task's name, or a .toml file")
    p.add_argument("--reward", choices=REWARDS, help="in place of the task file's")
    p.add_argument(
        "--reward-classifier", type=Path, metavar="FILE", help="the .onnx file that decides success"
    )
    p.add_argument("--episodes", type=int, default=20, help="to record")
    p.add_argument("--noise", type=float, default=0.2, help="added to the actions, std in [0, 1]")
    p.add_argument("--failures", action="store_true", help="keep unsuccessful episodes, too")
    p.add_argument("--seed", type=int, default=0, help="of the episodes and the noise")
    return p


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    arguments = parser().parse_args(argv)
    if arguments.episodes < 1 or not 0.0 <= arguments.noise <= 1.0:
        print("serl-rt record: --episodes must be at least 1, --noise in [0, 1]", file=sys.stderr)
        return 2
    try:
        env = SimArmEnv(
            arguments.task, arguments.reward, reward_classifier=arguments.reward_classifier
        )
        columns = record_demonstrations(
            env, arguments.episodes, arguments.noise, arguments.seed, failures=arguments.failures
        )
        arguments.file.parent.mkdir(parents=True, exist_ok=True)
        save_demonstrations(arguments.file, columns, env.contract)
    except (ConfigError, RuntimeError, ValueError, OSError) as error:
        print(f"serl-rt record: {error}", file=sys.stderr)
        return 2
    print(
        f"{arguments.file}: {arguments.episodes} episodes, {len(columns['reward'])} transitions, "
        f"mean reward {columns['reward'].mean():.3f}"
    )
    return 0
