"""`serl-rt convert`: demonstrations between our files, SERL's pickles and LeRobotDatasets."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from serl_rt.export.contract import Contract
from serl_rt.export.demonstrations import (
    DemonstrationsError,
    check_columns,
    load_demonstrations,
    save_demonstrations,
)
from serl_rt.export.task import load_task
from serl_rt.export.toml_config import ConfigError
from serl_rt.learner.data.lerobot_read import read_lerobot
from serl_rt.learner.data.lerobot_write import write_lerobot
from serl_rt.learner.data.recording import Recording, from_columns, to_columns
from serl_rt.learner.data.serl_demos import Layout, parse_layout, read_serl_demos


def parser() -> argparse.ArgumentParser:
    """Return the command line's definition."""
    p = argparse.ArgumentParser(
        prog="serl-rt convert",
        description="Convert demonstrations of a task. A .npz file is ours; a .pkl file is SERL's "
        "or HIL-SERL's (only as input; no code in it is run); a folder is a LeRobotDataset v3.0.",
    )
    p.add_argument("input", type=Path, nargs="+", help="files or folders, joined in this order")
    p.add_argument("output", type=Path, help="a .npz file, or a new folder for a LeRobotDataset")
    p.add_argument("--task", required=True, help="bundled task's name, or a .toml file")
    p.add_argument(
        "--layout",
        help="parts of the input's state vector as name:size,name:size,...; or 'robot' or 'sim' "
        "for SERL's environments (default: by the length of the vector)",
    )
    p.add_argument("--sentence", help="what is done, in words, for a LeRobotDataset")
    return p


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    arguments = parser().parse_args(argv)
    try:
        contract = load_task(arguments.task).contract
        layout = None if arguments.layout is None else parse_layout(arguments.layout)
        recording = join([read(path, contract, layout) for path in arguments.input])
        write(arguments.output, recording, contract, arguments.sentence or arguments.task)
    except (ConfigError, DemonstrationsError, ModuleNotFoundError, ValueError, OSError) as error:
        print(f"serl-rt convert: {error}", file=sys.stderr)
        return 2
    ends = recording.terminated | recording.truncated
    print(
        f"{arguments.output}: {int(ends.sum())} episodes, {recording.size} steps, "
        f"{int(recording.success.sum())} of them successful, "
        f"mean reward {recording.rewards.mean():.3f}"
    )
    return 0


def read(path: Path, contract: Contract, layout: Layout | None) -> Recording:
    """Read one input by what it is. Raises DemonstrationsError."""
    if path.is_dir():
        recording = read_lerobot(path, contract, layout)
    elif path.suffix == ".pkl":
        recording = read_serl_demos(path, contract, layout)
    elif path.suffix == ".npz":
        recording = from_columns(load_demonstrations(path, contract), contract)
    else:
        raise DemonstrationsError(
            f"{path}: expected a .npz or .pkl file, or the folder of a LeRobotDataset"
        )
    # Whatever a file says, its last step ends an episode.
    if not (recording.terminated[-1] or recording.truncated[-1]):
        recording.truncated[-1] = True
    columns = to_columns(recording, contract, str(path))
    check_columns(columns, contract, str(path))
    return from_columns(columns, contract)


def join(recordings: Sequence[Recording]) -> Recording:
    """Put recordings of one task one after the other."""

    def joined(values: Sequence[object]) -> object:
        if isinstance(values[0], dict):
            return {k: np.concatenate([v[k] for v in values]) for k in values[0]}  # type: ignore[index]
        return np.concatenate(values)  # type: ignore[arg-type]

    return Recording(*(joined(values) for values in zip(*recordings, strict=True)))  # type: ignore[arg-type]


def write(path: Path, recording: Recording, contract: Contract, sentence: str) -> None:
    """Write the output by what its name says. Raises DemonstrationsError."""
    if path.suffix == ".npz":
        save_demonstrations(path, to_columns(recording, contract, str(path)), contract)
    elif path.suffix:
        raise DemonstrationsError(
            f"{path}: expected the name of a .npz file, or of a new folder for a LeRobotDataset"
        )
    else:
        write_lerobot(path, recording, contract, sentence)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
