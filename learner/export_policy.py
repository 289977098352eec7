"""`serl-rt export`: a policy file from a run's checkpoint."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from serl_rt.export.publish import PolicyFile, write_policy_file
from serl_rt.export.task import load_task
from serl_rt.export.toml_config import ConfigError
from serl_rt.export.verify import PolicyRefused
from serl_rt.learner.agents.build import build_agent
from serl_rt.learner.checkpoint import CheckpointError, CheckpointFolder, load_checkpoint
from serl_rt.learner.policy_export import make_exporter
from serl_rt.learner.recipe import recipe_from_json
from serl_rt.learner.run_folder import RunFolder


def parser() -> argparse.ArgumentParser:
    """Return the command line's definition."""
    p = argparse.ArgumentParser(
        prog="serl-rt export",
        description="Export the policy of a run's checkpoint to ONNX, verified against torch.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    p.add_argument("run", type=Path, help="run folder of serl-rt learn")
    p.add_argument("file", type=Path, help="the .onnx file to write")
    p.add_argument("--checkpoint", type=int, help="number of updates; default: the newest")
    return p


def export_policy(run: Path, updates: int | None) -> PolicyFile:
    """Rebuild the agent of a run at a checkpoint and export its policy.

    Raises ConfigError, CheckpointError or PolicyRefused that says what is wrong.
    """
    folder = RunFolder(run)
    if not folder.recipe.is_file() or not folder.task.is_file():
        raise ConfigError(f"{run} is not a run folder of serl-rt learn")
    recipe = recipe_from_json(folder.recipe.read_text(), str(folder.recipe))
    contract = load_task(folder.task).contract
    path = choose_checkpoint(CheckpointFolder(folder.checkpoints), updates)
    checkpoint = load_checkpoint(path, {"contract_id": contract.contract_id})
    agent = build_agent(recipe, contract, seed=0)
    prefix = "agent/"
    agent.state.load_arrays(
        {k.removeprefix(prefix): v for k, v in checkpoint.arrays.items() if k.startswith(prefix)}
    )
    progress = checkpoint.header["progress"]
    exporter = make_exporter(agent, contract, recipe.name)
    return exporter.export(int(progress["version"]), int(progress["updates"]))


def choose_checkpoint(folder: CheckpointFolder, updates: int | None) -> Path:
    """Return the checkpoint of so many updates, or the newest; raises CheckpointError."""
    found = {int(path.stem): path for path in folder.files()}
    if not found:
        raise CheckpointError(f"{folder.folder} holds no checkpoint")
    wanted = max(found) if updates is None else updates
    if wanted not in found:
        known = ", ".join(str(number) for number in sorted(found))
        raise CheckpointError(f"--checkpoint {wanted}: there are {known} in {folder.folder}")
    return found[wanted]


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    arguments = parser().parse_args(argv)
    try:
        policy = export_policy(arguments.run, arguments.checkpoint)
        arguments.file.parent.mkdir(parents=True, exist_ok=True)
        write_policy_file(policy, arguments.file)
    except (ConfigError, CheckpointError, PolicyRefused, json.JSONDecodeError, OSError) as error:
        print(f"serl-rt export: {error}", file=sys.stderr)
        return 2
    print(
        f"{arguments.file}: version {policy.version}, {policy.training_step} updates, "
        f"{len(policy.model)} bytes, contract {policy.contract_id[:12]}"
    )
    return 0
