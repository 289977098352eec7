"""Write demonstrations as a LeRobotDataset v3.0, images as PNG within the rows (lossless)."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serl_rt.export.contract import Contract
from serl_rt.export.demonstrations import DemonstrationsError
from serl_rt.learner.data import lerobot_format as names
from serl_rt.learner.data.recording import Arrays, Recording

CHUNK_FILES, DATA_MB, VIDEO_MB = 1000, 100, 200
"""LeRobot's own limits; one file is written, however large."""


def write_lerobot(folder: Path, recording: Recording, contract: Contract, task: str) -> None:
    """Write a new data set; `task` is its sentence for language-conditioned policies.

    Raises DemonstrationsError when the folder exists.
    """
    pyarrow, parquet = names.parquet()
    if folder.exists():
        raise DemonstrationsError(f"{folder} exists: choose another folder")
    features = names.features(contract)
    columns = _columns(recording, contract)
    rows = {name: _arrow(pyarrow, columns[name], feature) for name, feature in features.items()}
    _write(parquet, pyarrow.table(rows), folder / names.DATA.format(chunk_index=0, file_index=0))
    episodes = _episodes(columns["episode_index"], task)
    path = folder / names.EPISODES.format(chunk_index=0, file_index=0)
    _write(parquet, pyarrow.table(episodes), path)
    _write(parquet, _task_table(pyarrow, task), folder / names.TASKS)
    info = _info(features, recording.size, len(episodes["length"]), contract)
    (folder / names.INFO).write_text(json.dumps(info, indent=4))
    (folder / names.STATS).write_text(json.dumps(_stats(columns, features), indent=4))
    (folder / names.CONTRACT).write_text(contract.canonical_json())


def _columns(recording: Recording, contract: Contract) -> Arrays:
    """Return every feature's values, (n, ...)."""
    size = recording.size
    ended = recording.terminated | recording.truncated
    episode = np.concatenate([[0], np.cumsum(ended)[:-1]]).astype(np.int64)
    begins = np.flatnonzero(np.diff(episode, prepend=-1))
    frame = np.arange(size) - begins[episode]

    def state(observed: Arrays) -> NDArray[np.float32]:
        parts = [observed[f.name].reshape(size, -1) for f in contract.observation]
        return np.concatenate(parts, axis=1)

    return {
        names.STATE: state(recording.observations),
        names.NEXT_STATE: state(recording.next_observations),
        **{f"{names.IMAGE}{i.name}": recording.observations[i.name] for i in contract.images},
        names.ACTION: recording.actions,
        names.REWARD: recording.rewards,
        names.DONE: ended,
        names.TERMINATED: recording.terminated,
        names.TRUNCATED: recording.truncated,
        names.SUCCESS: recording.success,
        names.INTERVENTION: recording.intervention,
        names.PENALTY: recording.grasp_penalty,
        "timestamp": (frame / contract.policy_rate_hz).astype(np.float32),
        "frame_index": frame,
        "episode_index": episode,
        "index": np.arange(size),
        "task_index": np.zeros(size, np.int64),
    }


def _arrow(pyarrow: Any, values: NDArray[Any], feature: names.Feature) -> Any:
    if feature["dtype"] == "image":
        kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
        return pyarrow.array([{"bytes": _png(frame), "path": None} for frame in values], kind)
    kind = pyarrow.from_numpy_dtype(np.dtype(feature["dtype"]))
    (size,) = feature["shape"]
    if size == 1:
        return pyarrow.array(values.reshape(-1), kind)
    flat = pyarrow.array(np.ascontiguousarray(values, feature["dtype"]).reshape(-1), kind)
    return pyarrow.FixedSizeListArray.from_arrays(flat, size)


def _png(frame: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(frame).save(stream, "PNG")
    return stream.getvalue()


def _episodes(episode: NDArray[np.int64], task: str) -> dict[str, list[Any]]:
    begins = np.flatnonzero(np.diff(episode, prepend=-1))
    ends = np.append(begins[1:], len(episode))
    count = len(begins)
    zeros = [0] * count
    return {
        "episode_index": list(range(count)),
        "tasks": [[task]] * count,
        "length": (ends - begins).tolist(),
        "data/chunk_index": zeros,
        "data/file_index": zeros,
        "dataset_from_index": begins.tolist(),
        "dataset_to_index": ends.tolist(),
        "meta/episodes/chunk_index": zeros,
        "meta/episodes/file_index": zeros,
    }


def _task_table(pyarrow: Any, task: str) -> Any:
    """Return the table that pandas would write of a frame with the sentences as its index."""
    index = "__index_level_0__"

    def column(name: str | None, field: str, kind: str, numpy_kind: str) -> dict[str, Any]:
        return {"name": name, "field_name": field, "pandas_type": kind, "numpy_type": numpy_kind,
                "metadata": None}  # fmt: skip

    pandas = {
        "index_columns": [index],
        "column_indexes": [],
        "columns": [
            column("task_index", "task_index", "int64", "int64"),
            column(None, index, "unicode", "object"),
        ],
        "creator": {"library": "pyarrow", "version": pyarrow.__version__},
        "pandas_version": "2.0.0",
    }
    table = pyarrow.table({"task_index": pyarrow.array([0], pyarrow.int64()), index: [task]})
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def _info(
    features: dict[str, names.Feature], frames: int, episodes: int, contract: Contract
) -> dict[str, Any]:
    rate = contract.policy_rate_hz
    return {
        "codebase_version": names.VERSION,
        "robot_type": "franka",
        "total_episodes": episodes,
        "total_frames": frames,
        "total_tasks": 1,
        "chunks_size": CHUNK_FILES,
        "data_files_size_in_mb": DATA_MB,
        "video_files_size_in_mb": VIDEO_MB,
        "fps": int(rate) if float(rate).is_integer() else rate,
        "splits": {"train": f"0:{episodes}"},
        "data_path": names.DATA,
        "video_path": names.VIDEO,
        "features": features,
    }


def _stats(columns: Arrays, features: dict[str, names.Feature]) -> dict[str, Any]:
    """Return each number's minimum, maximum, mean and deviation; images: channels in [0, 1]."""
    stats = {}
    for name, feature in features.items():
        values = columns[name].astype(np.float64)
        axes: tuple[int, ...] = (0,)
        if feature["dtype"] == "image":
            values, axes = values.transpose(0, 3, 1, 2) / 255.0, (0, 2, 3)
        keep = feature["dtype"] == "image"
        values = values if keep or values.ndim == 2 else values.reshape(-1, 1)
        stats[name] = {
            "min": values.min(axes, keepdims=keep),
            "max": values.max(axes, keepdims=keep),
            "mean": values.mean(axes, keepdims=keep),
            "std": values.std(axes, keepdims=keep),
        }
        for key, value in stats[name].items():  # images: (3, 1, 1)
            stats[name][key] = (value[0] if keep else value).tolist()
        stats[name]["count"] = [len(values)]
    return stats


def _write(parquet: Any, table: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path)
