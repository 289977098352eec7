"""Task files: what a policy sees and does, how an episode ends, and the robot cell's settings.

Python checks the tables `contract`, `episode` and `reward_classifier`. The others belong to the
controller, which checks them in C++; here only their names are.
"""

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from serl_rt.export.contract import Contract, parse_contract
from serl_rt.export.toml_config import ConfigError, Source, parse_table, read_toml, setting

TABLES = (
    "contract",
    "episode",
    "reset",
    "control",
    "impedance",
    "joint_impedance",
    "limits",
    "cameras",
    "pose_reward",
    "reward_classifier",
    "wrench",
    "franka_env",
    "robot",
    "sim",
    "gripper",
)
"""Every table that a task file may have."""

REWARDS = ("dense", "sparse", "classifier")
"""What may decide about the reward: the task, or a classifier of images."""


@dataclass(frozen=True)
class EpisodeConfig:
    """How an episode is judged and when it ends."""

    max_steps: int = setting(100, low=1, high=1_000_000, doc="policy steps until truncation")
    reward: str = setting("sparse", choices=REWARDS)
    terminate_on_success: bool = setting(False)
    grasp_penalty: float = setting(
        0.0, low=-1e3, high=0.0, doc="of a step that changes the gripper's command"
    )


@dataclass(frozen=True)
class RewardClassifierConfig:
    """Who judges success with reward = "classifier"."""

    model: str = setting("", doc="ONNX file, seen from the task file; or --reward-classifier")
    threshold: float | None = setting(
        None, low=0.001, high=0.999, doc="least probability of success; unset: the model's own"
    )


@dataclass(frozen=True)
class TaskFile:
    """A task file that was read and checked."""

    name: str
    path: Path
    contract: Contract
    episode: EpisodeConfig


def load_task(name_or_path: str | os.PathLike[str]) -> TaskFile:
    """Read a task: the name of a bundled one (`pick_cube`) or the path of a .toml file.

    Raises ConfigError naming the file, the key and the allowed values.
    """
    path = find_task(name_or_path)
    document = read_toml(path)
    source = Source(str(path))
    for key, value in document.items():
        if key != "name" and key not in TABLES:
            raise source.unknown(key, ("name", *TABLES))
        if key in TABLES and not isinstance(value, dict):
            raise source.error(key, value, "a table")
    if "contract" not in document:
        raise source.missing("contract", "a table: what the policy sees and does")
    name = document.get("name")
    classifier = document.get("reward_classifier", {})
    parse_table(RewardClassifierConfig, classifier, source / "reward_classifier")
    return TaskFile(
        name=str(name),
        path=path,
        contract=parse_contract(document["contract"], name, source / "contract"),
        episode=parse_table(EpisodeConfig, document.get("episode", {}), source / "episode"),
    )


def find_task(name_or_path: str | os.PathLike[str]) -> Path:
    """Return the file of a task given by name or by path; raises ConfigError when there is none."""
    text = os.fspath(name_or_path)
    if text.endswith(".toml") or os.sep in text:
        path = Path(text)
        if not path.is_file():
            raise ConfigError(f"task file {path} does not exist")
        return path
    tasks = bundled_tasks()
    if text not in tasks:
        known = ", ".join(sorted(tasks)) or "none"
        raise ConfigError(
            f"unknown task '{text}': give the path of a .toml file, or one of the tasks that come "
            f"with the controller: {known}"
        )
    return tasks[text]


def bundled_tasks() -> dict[str, Path]:
    """Return the task files that come with the controller, by name.

    The folder is found without importing the controller: a learner has none of its dependencies.
    """
    spec = importlib.util.find_spec("serl_rt.controller")
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    files = (file for place in places for file in Path(place, "tasks").glob("*.toml"))
    return {file.stem: file for file in files}
