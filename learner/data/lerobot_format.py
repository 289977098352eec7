"""LeRobotDataset v3.0: names and paths of its files, and which features ours have.

A data set is a folder: `meta/info.json` (features, frame rate), `meta/tasks.parquet`,
`meta/episodes/*/*.parquet` (one row an episode), `meta/stats.json`, `data/*/*.parquet` (one row a
step), and `videos/` where images are not in the rows.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from serl_rt.export.contract import Contract

VERSION = "v3.0"
INFO = "meta/info.json"
STATS = "meta/stats.json"
TASKS = "meta/tasks.parquet"
EPISODES = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
CONTRACT = "meta/serl_rt_contract.json"
"""Ours: the contract that the data was recorded under."""

STATE, NEXT_STATE, ACTION = "observation.state", "next.observation.state", "action"
REWARD, DONE, SUCCESS = "next.reward", "next.done", "next.success"
TERMINATED, TRUNCATED = "next.terminated", "next.truncated"
INTERVENTION = "complementary_info.is_intervention"
PENALTY = "complementary_info.discrete_penalty"
IMAGE = "observation.images."
INDICES = ("frame_index", "episode_index", "index", "task_index")

Feature = dict[str, Any]


def state_names(contract: Contract) -> list[str]:
    """Return the names of the numbers in the state: `field` or `field.i`."""
    names = []
    for field in contract.observation:
        size = field.size
        names += [field.name] if size == 1 else [f"{field.name}.{i}" for i in range(size)]
    return names


def action_names(contract: Contract) -> list[str]:
    """Return the names of the numbers in the action."""
    names = []
    for part in contract.action:
        size = part.size
        names += [part.name] if size == 1 else [f"{part.name}.{i}" for i in range(size)]
    return names


def features(contract: Contract) -> dict[str, Feature]:
    """Return the features of a data set of a contract, in the order of the columns."""

    def vector(names: list[str]) -> Feature:
        return {"dtype": "float32", "shape": [len(names)], "names": names}

    def scalar(dtype: str) -> Feature:
        return {"dtype": dtype, "shape": [1], "names": None}

    images = {
        f"{IMAGE}{image.name}": {
            "dtype": "image",
            "shape": [image.height, image.width, 3],
            "names": ["height", "width", "channels"],
        }
        for image in contract.images
    }
    return {
        STATE: vector(state_names(contract)),
        **images,
        ACTION: vector(action_names(contract)),
        REWARD: scalar("float32"),
        DONE: scalar("bool"),
        TERMINATED: scalar("bool"),
        TRUNCATED: scalar("bool"),
        SUCCESS: scalar("bool"),
        NEXT_STATE: vector(state_names(contract)),
        INTERVENTION: scalar("bool"),
        PENALTY: scalar("float32"),
        "timestamp": scalar("float32"),
        **{name: scalar("int64") for name in INDICES},
    }


def parquet() -> tuple[ModuleType, ModuleType]:
    """Import pyarrow and its parquet module; ModuleNotFoundError names the extra."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "LeRobotDataset files need the package 'pyarrow': pip install 'serl-rt[lerobot]'",
            name="pyarrow",
        ) from error
    return pyarrow, pyarrow.parquet
