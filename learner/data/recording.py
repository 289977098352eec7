"""Recorded steps whatever file they came from, to and from the columns of demonstrations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from serl_rt.export.columns import DTYPES, STARTS
from serl_rt.export.contract import Contract
from serl_rt.export.demonstrations import DemonstrationsError, demonstration_columns

Arrays = dict[str, NDArray[Any]]


class Recording(NamedTuple):
    """Steps of one or more episodes, in order; every array has one row per step."""

    observations: Arrays
    """Fields and images of a contract by name, SI units."""
    next_observations: Arrays
    actions: NDArray[np.float32]
    rewards: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    """The task ended: success or failure."""
    truncated: NDArray[np.bool_]
    """The episode ended otherwise; a last step that is neither is taken as truncated."""
    success: NDArray[np.bool_]
    intervention: NDArray[np.bool_]
    grasp_penalty: NDArray[np.float32]

    @property
    def size(self) -> int:
        """Number of steps."""
        return len(self.rewards)

    def select(self, rows: NDArray[Any]) -> Recording:
        """Return the chosen rows (indices or a boolean mask)."""

        def pick(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: item[rows] for key, item in value.items()}
            return value[rows]

        return Recording(*(pick(value) for value in self))


def to_columns(recording: Recording, contract: Contract, origin: str) -> Arrays:
    """Return a recording as columns of demonstrations.

    Raises DemonstrationsError where a field or an image of the contract is missing or has another
    shape; `origin` is named.
    """
    size = recording.size
    if size == 0:
        raise DemonstrationsError(f"{origin}: holds no step")
    ended = recording.terminated | recording.truncated
    ended[-1] = True
    episode = np.concatenate([[0], np.cumsum(ended)[:-1]])
    begins = np.flatnonzero(np.diff(episode, prepend=-1))
    columns: Arrays = {
        "action": recording.actions,
        "reward": recording.rewards,
        "terminated": recording.terminated,
        "truncated": ended & ~recording.terminated,
        "success": recording.success,
        "intervention": recording.intervention,
        "grasp_penalty": recording.grasp_penalty,
        "evaluation": np.zeros(size),
        "episode": episode,
        "step": np.arange(size) - begins[episode],
        "policy_version": np.zeros(size),
        "time_ns": (np.arange(size) * 1e9 / contract.policy_rate_hz).round(),
    }
    if contract.images:
        names = [image.name for image in contract.images]
        columns[STARTS] = _starts(recording, episode, names)
    result: Arrays = {}
    for column in demonstration_columns(contract):
        name, rows = column.name, size
        if name in columns:
            value = columns[name]
        else:
            group, field = name.split("/", 1)
            known = (
                recording.observations if group == "observation" else recording.next_observations
            )
            if field not in known:
                raise DemonstrationsError(
                    f"{origin}: has no '{field}', which the task {contract.name} observes; it has "
                    f"{', '.join(sorted(known))}"
                )
            value = known[field]
            if column.sparse:
                value = value[columns[STARTS].astype(bool)]
                rows = len(value)
        if value.shape != (rows, *column.shape):
            raise DemonstrationsError(
                f"{origin}: {name} has shape {value.shape}, the task {contract.name} has "
                f"{(rows, *column.shape)}"
            )
        result[name] = np.ascontiguousarray(value, dtype=DTYPES[column.dtype])
    return result


def from_columns(columns: Mapping[str, NDArray[Any]], contract: Contract) -> Recording:
    """Return checked columns of demonstrations as a recording, with every image in its place."""

    def observed(group: str) -> Arrays:
        return {f.name: columns[f"{group}/{f.name}"] for f in contract.observation}

    observations, following = observed("observation"), observed("next_observation")
    for image in contract.images:
        following[image.name] = columns[f"next_observation/{image.name}"]
        observations[image.name] = _all_frames(columns, image.name)
    return Recording(
        observations,
        following,
        actions=columns["action"],
        rewards=columns["reward"],
        terminated=columns["terminated"].astype(bool),
        truncated=columns["truncated"].astype(bool),
        success=columns["success"].astype(bool),
        intervention=columns["intervention"].astype(bool),
        grasp_penalty=columns["grasp_penalty"],
    )


def _starts(recording: Recording, episode: NDArray[Any], names: list[str]) -> NDArray[np.bool_]:
    """Whether a step's images are not those that the step before ended with."""
    starts: NDArray[np.bool_] = np.diff(episode, prepend=-1) != 0
    for i in np.flatnonzero(~starts):
        starts[i] = any(
            not np.array_equal(
                recording.observations[name][i], recording.next_observations[name][i - 1]
            )
            for name in names
            if name in recording.observations
        )
    return starts


def _all_frames(columns: Mapping[str, NDArray[Any]], name: str) -> NDArray[np.uint8]:
    starts = columns[STARTS].astype(bool)
    following = columns[f"next_observation/{name}"]
    frames = np.empty_like(following)
    frames[1:] = following[:-1]
    frames[starts] = columns[f"observation/{name}"]
    return frames
