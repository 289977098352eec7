"""`serl-rt inspect`: say what a file of this project holds."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from serl_rt.export.demonstrations import (
    DemonstrationsError,
    load_demonstrations,
    stored_contract,
)
from serl_rt.export.publish import describe_policy
from serl_rt.export.recording_summary import describe_recording, plot_recording
from serl_rt.export.reward_classifier import describe_classifier, is_classifier
from serl_rt.export.task import load_task
from serl_rt.export.toml_config import ConfigError
from serl_rt.export.verify import PolicyRefused


def describe_task(path: Path) -> str:
    """Say what a task's policy sees and does."""
    task = load_task(path)
    contract = task.contract
    lines = [
        f"task           {task.name}",
        f"rate           {contract.policy_rate_hz:.9g} Hz",
        f"episode        {task.episode.max_steps} steps, {task.episode.reward} reward",
        f"contract id    {contract.contract_id}",
    ]
    for field in contract.observation:
        frame = f", {field.frame} frame" if field.frame else ""
        lines.append(f"sees           {field.name} {field.shape} [{field.unit}]{frame}")
    lines += [f"does           {field.name} ({field.size})" for field in contract.action]
    return "\n".join(lines)


def describe_demonstrations(path: Path) -> str:
    """Say how many demonstrations a file holds and how they ended."""
    contract = stored_contract(path)
    columns = load_demonstrations(path, contract)
    episodes = np.unique(columns["episode"])
    succeeded = np.unique(columns["episode"][columns["success"].astype(bool)])
    return "\n".join(
        [
            f"demonstrations {path}",
            f"task           {contract.name}",
            f"episodes       {len(episodes)}, {len(succeeded)} with success",
            f"transitions    {len(columns['reward'])}",
            f"mean reward    {columns['reward'].mean():.3f}",
            f"contract id    {contract.contract_id}",
        ]
    )


def describe_model(path: Path) -> str:
    """Say what an ONNX file of ours holds."""
    return describe_classifier(path) if is_classifier(path) else describe_policy(path)


def describe_run(path: Path) -> str:
    """Say how a run of learning, of a controller or a demo ended."""
    summary = path / "summary.json" if path.is_dir() else path
    if not summary.is_file():
        raise ConfigError(f"{path} holds no summary.json: not a finished run")
    values = json.loads(summary.read_text())
    plain = {k: v for k, v in values.items() if not isinstance(v, list | dict)}
    width = max(len(key) for key in plain)
    return "\n".join(f"{key:<{width}}  {value}" for key, value in plain.items())


DESCRIPTIONS = {
    ".mcap": describe_recording,
    ".onnx": describe_model,
    ".toml": describe_task,
    ".npz": describe_demonstrations,
    ".json": describe_run,
    "": describe_run,
}


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    p = argparse.ArgumentParser(prog="serl-rt inspect", description=__doc__)
    p.add_argument(
        "path",
        type=Path,
        help="policy or reward classifier .onnx, task .toml, demonstrations .npz, "
        "recording .mcap, run folder",
    )
    p.add_argument(
        "--plot", type=Path, metavar="FILE", help="also draw a recording into this .png file"
    )
    arguments = p.parse_args(argv)
    path = arguments.path
    describe = DESCRIPTIONS.get("" if path.is_dir() else path.suffix)
    try:
        if not path.exists():
            raise ConfigError(f"{path} does not exist")
        if describe is None:
            raise ConfigError(
                f"{path}: give a file that ends in {', '.join(filter(None, DESCRIPTIONS))}"
            )
        if arguments.plot is not None and path.suffix != ".mcap":
            raise ConfigError(f"--plot draws recordings (.mcap), not {path}")
        print(describe(path))
        if arguments.plot is not None:
            plot_recording(path, arguments.plot)
    except (
        ConfigError,
        DemonstrationsError,
        PolicyRefused,
        json.JSONDecodeError,
        OSError,
    ) as error:
        print(f"serl-rt inspect: {error}", file=sys.stderr)
        return 2
    return 0
