"""Read a LeRobotDataset v3.0, ours or another's, as a recording."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serl_rt.export.contract import Contract
from serl_rt.export.demonstrations import DemonstrationsError
from serl_rt.learner.data import lerobot_format as names
from serl_rt.learner.data.recording import Arrays, Recording
from serl_rt.learner.data.serl_demos import Layout


def read_lerobot(folder: Path, contract: Contract, layout: Layout | None = None) -> Recording:
    """Read the steps of a data set as those of a task.

    The numbers of `observation.state` are known by their names (`tcp_position.0`), or by `layout`.
    Where there is no reward, the last step of an episode succeeds with reward 1. Where the state
    that follows a step is not stored, it is that of the next step; of an episode that did not
    terminate the last step is then left out, because nothing is known of what followed.
    Raises DemonstrationsError that names the folder, the feature and what is expected.
    """
    try:
        return _read(folder, contract, layout)
    except DemonstrationsError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, OSError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DemonstrationsError(f"{folder}: is damaged or incomplete ({reason})") from error


def _read(folder: Path, contract: Contract, layout: Layout | None) -> Recording:
    info = _info(folder)
    columns = _read_columns(folder, info)
    size = len(columns["episode_index"])
    last = np.append(columns["episode_index"][1:] != columns["episode_index"][:-1], True)
    rewards = columns.get(names.REWARD, last.astype(np.float32))
    terminated = columns.get(names.TERMINATED)
    if terminated is None:  # nobody says why an episode ended: a reward at its end is a success
        terminated = last & (rewards > 0)
    observations = {
        f.name: columns[f"{names.IMAGE}{f.name}"]
        for f in contract.images
        if f"{names.IMAGE}{f.name}" in columns
    }
    observations |= _fields(columns, names.STATE, info, contract, layout, folder)
    following = _following(observations, last)
    following |= _fields(columns, names.NEXT_STATE, info, contract, layout, folder)
    recording = Recording(
        observations,
        following,
        columns[names.ACTION].reshape(size, -1).astype(np.float32),
        rewards.astype(np.float32),
        terminated.astype(bool),
        last & ~terminated.astype(bool),
        columns.get(names.SUCCESS, terminated & (rewards > 0)).astype(bool),
        columns.get(names.INTERVENTION, np.zeros(size)).astype(bool),
        columns.get(names.PENALTY, np.zeros(size)).astype(np.float32),
    )
    if names.NEXT_STATE in columns and not contract.images:
        return recording
    return _without_unknown_ends(recording, last)


def _info(folder: Path) -> dict[str, Any]:
    try:
        info: dict[str, Any] = json.loads((folder / names.INFO).read_text())
        version, features = info["codebase_version"], info["features"]
    except (OSError, ValueError, KeyError) as error:
        raise DemonstrationsError(
            f"{folder}: not a LeRobotDataset: {names.INFO}: {error}"
        ) from error
    if version != names.VERSION:
        raise DemonstrationsError(
            f"{folder}: is of version {version}, expected {names.VERSION}: convert it with LeRobot"
        )
    if names.ACTION not in features:
        raise DemonstrationsError(f"{folder}: has no feature '{names.ACTION}'")
    return info


def _read_columns(folder: Path, info: Mapping[str, Any]) -> Arrays:
    """Return all features by name, steps in order."""
    pyarrow, parquet = names.parquet()
    files = sorted((folder / "data").glob("*/*.parquet"))
    if not files:
        raise DemonstrationsError(f"{folder}: has no files data/*/*.parquet")
    try:
        table = pyarrow.concat_tables([parquet.read_table(file) for file in files])
    except (pyarrow.ArrowException, OSError) as error:
        raise DemonstrationsError(f"{folder}: {error}") from error
    if not table.num_rows:
        raise DemonstrationsError(f"{folder}: holds no steps")
    columns: Arrays = {}
    for name, feature in info["features"].items():
        if feature["dtype"] == "video":
            columns[name] = _videos(folder, name, info)
        elif name not in table.column_names:
            raise DemonstrationsError(f"{folder}: the rows lack the feature '{name}'")
        elif feature["dtype"] == "image":
            columns[name] = np.stack([_picture(cell) for cell in table[name].to_pylist()])
        elif feature["dtype"] != "string":
            columns[name] = np.asarray(table[name].to_pylist(), np.dtype(feature["dtype"]))
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) != 1:
        raise DemonstrationsError(f"{folder}: the features have different lengths: {lengths}")
    order = np.argsort(columns["index"], kind="stable")
    return {name: values[order] for name, values in columns.items()}


def _picture(cell: Mapping[str, Any]) -> NDArray[np.uint8]:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(cell["bytes"])).convert("RGB"))


def _videos(folder: Path, name: str, info: Mapping[str, Any]) -> NDArray[np.uint8]:
    """Return the frames of one camera, of all episodes in order."""
    _, parquet = names.parquet()
    files = sorted((folder / "meta/episodes").glob("*/*.parquet"))
    rows = [row for file in files for row in parquet.read_table(file).to_pylist()]
    decoded: dict[tuple[int, int], NDArray[np.uint8]] = {}
    parts = []
    for row in sorted(rows, key=lambda row: row["episode_index"]):
        chunk, file = row[f"videos/{name}/chunk_index"], row[f"videos/{name}/file_index"]
        if (chunk, file) not in decoded:
            path = folder / names.VIDEO.format(video_key=name, chunk_index=chunk, file_index=file)
            decoded[chunk, file] = _decode(path)
        first = round(row[f"videos/{name}/from_timestamp"] * info["fps"])
        frames = decoded[chunk, file][first : first + row["length"]]
        if len(frames) != row["length"]:
            raise DemonstrationsError(
                f"{folder}: the video of {name} ends within episode {row['episode_index']}"
            )
        parts.append(frames)
    return np.concatenate(parts)


def _decode(path: Path) -> NDArray[np.uint8]:
    try:
        import av
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "data sets with videos need the package 'av': pip install 'serl-rt[lerobot]'", name="av"
        ) from error
    try:
        with av.open(str(path)) as container:
            return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DemonstrationsError(f"{path}: cannot be decoded: {error}") from error


def _fields(
    columns: Arrays,
    feature: str,
    info: Mapping[str, Any],
    contract: Contract,
    layout: Layout | None,
    folder: Path,
) -> Arrays:
    """Return the contract's fields from the numbers of a state feature."""
    if feature not in columns:
        return {}
    values = columns[feature].reshape(len(columns[feature]), -1)
    known = _numbers_by_name(info["features"][feature].get("names"))
    if layout is not None:
        known = [name if n == 1 else f"{name}.{i}" for name, n in layout for i in range(n)]
    if len(known) != values.shape[1]:
        raise DemonstrationsError(
            f"{folder}: {feature} has {values.shape[1]} numbers and {len(known)} names; say with "
            "--layout name:size,... what they are"
        )
    place = {name: i for i, name in enumerate(known)}
    result: Arrays = {}
    for field in contract.observation:
        size = field.size
        wanted = [field.name] if size == 1 else [f"{field.name}.{i}" for i in range(size)]
        if all(name in place for name in wanted):
            chosen = values[:, [place[name] for name in wanted]].astype(np.float32)
            result[field.name] = chosen.reshape(len(values), *field.shape)
    if contract.observation and not result:
        raise DemonstrationsError(
            f"{folder}: {feature} holds {', '.join(known)}; the task {contract.name} observes "
            f"{', '.join(f.name for f in contract.observation)}: say with --layout name:size,... "
            "what the numbers are"
        )
    return result


def _numbers_by_name(stored: Any) -> list[str]:
    """Return the names of a feature, which some data sets keep under a heading."""
    if isinstance(stored, Mapping):
        stored = [name for group in stored.values() for name in group]
    return [str(name) for name in stored or ()]


def _following(observations: Arrays, last: NDArray[np.bool_]) -> Arrays:
    """Return what each step is followed by: the next step's; at an end the step's own."""
    rows = np.minimum(np.arange(len(last)) + 1, len(last) - 1)
    rows[last] = np.flatnonzero(last)
    return {name: values[rows] for name, values in observations.items()}


def _without_unknown_ends(recording: Recording, last: NDArray[np.bool_]) -> Recording:
    """Leave out last steps that did not terminate; the steps before them end their episodes."""
    drop = last & ~recording.terminated
    truncated = recording.truncated.copy()
    truncated[:-1] |= drop[1:] & ~last[:-1]
    return recording._replace(truncated=truncated).select(~drop)
