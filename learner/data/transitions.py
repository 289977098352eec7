"""From columns as they come off the wire to what networks see: joined, scaled, with masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from serl_rt.export.contract import Contract
from serl_rt.export.normalise import Normaliser
from serl_rt.learner.data.image_rows import FrameLinker

Columns = Mapping[str, NDArray[Any]]
Arrays = dict[str, Any]
"""Arrays by name, or (images) what reads as one, see `image_rows`."""

STATE = "state"
"""Name under which all state fields of the contract are joined."""


class Transitions(NamedTuple):
    """A column batch of transitions, ready for a replay buffer."""

    observations: Arrays
    """{"state": (n, observation_dim) scaled, image name: ImageRows of n images}."""
    actions: NDArray[np.float32]
    next_observations: Arrays
    rewards: NDArray[np.float32]
    masks: NDArray[np.float32]
    grasp_penalty: NDArray[np.float32]

    @property
    def size(self) -> int:
        """Number of transitions."""
        return len(self.rewards)

    def select(self, rows: NDArray[Any]) -> Transitions:
        """Return the chosen rows (indices or a boolean mask)."""

        def pick(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: item[rows] for key, item in value.items()}
            return value[rows]

        return Transitions(*(pick(value) for value in self))


def bootstrap_masks(
    terminated: NDArray[Any], truncated: NDArray[Any], fold_truncation: bool = False
) -> NDArray[np.float32]:
    """Return 0 where nothing follows, 1 where the value of the next observation counts.

    This is the only place where masks are made. A time limit does not end a task, so truncation
    bootstraps; `fold_truncation` treats it as an end, as SERL does on real robots.
    """
    ended = np.asarray(terminated, dtype=bool)
    if fold_truncation:
        ended = ended | np.asarray(truncated, dtype=bool)
    return 1.0 - ended.astype(np.float32)


class TransitionDecoder:
    """Turns wire columns of one contract into `Transitions`.

    Of contracts with images it must be shown all transitions of a run, in their order: on the wire
    most of them leave out what the one before ended with.
    """

    def __init__(self, contract: Contract, *, fold_truncation: bool = False) -> None:
        self.contract = contract
        self.normaliser = Normaliser.of(contract)
        self.fold_truncation = fold_truncation
        shapes = {image.name: (image.height, image.width, 3) for image in contract.images}
        self._images = FrameLinker(shapes) if shapes else None

    def __call__(self, columns: Columns, run_id: str = "") -> Transitions:
        """Decode columns of one run (it matters for images) named as on the wire.

        Raises ValueError that names a missing column, a wrong shape or a value that is not finite.
        """
        size = len(self._column(columns, "reward", ()))
        action = self._column(columns, "action", (self.contract.action_dim,), size)
        penalty = columns.get("grasp_penalty")
        observations = self._states(columns, "observation", size)
        next_observations = self._states(columns, "next_observation", size)
        if self._images is not None:
            before, after = self._images(columns, run_id)
            observations |= before
            next_observations |= after
        return Transitions(
            observations=observations,
            actions=action,
            next_observations=next_observations,
            rewards=self._column(columns, "reward", (), size),
            masks=bootstrap_masks(
                _required(columns, "terminated"),
                _required(columns, "truncated"),
                self.fold_truncation,
            ),
            grasp_penalty=np.zeros(size, np.float32)
            if penalty is None
            else np.asarray(penalty, np.float32),
        )

    def _states(self, columns: Columns, prefix: str, size: int) -> Arrays:
        parts = [
            self._column(columns, f"{prefix}/{field.name}", field.shape, size).reshape(size, -1)
            for field in self.contract.observation
        ]
        return {STATE: self.normaliser(np.concatenate(parts, axis=1))}

    def _column(
        self, columns: Columns, name: str, shape: tuple[int, ...], size: int | None = None
    ) -> NDArray[np.float32]:
        value = np.asarray(_required(columns, name), np.float32)
        rows = value.shape[0] if value.ndim and size is None else size
        if value.shape != (rows, *shape):
            raise ValueError(f"column {name}: shape {value.shape}, expected {(rows, *shape)}")
        if not np.isfinite(value).all():
            row = int(np.argwhere(~np.isfinite(value))[0][0])
            raise ValueError(f"column {name}: not finite in row {row}")
        return value


def _required(columns: Columns, name: str) -> NDArray[Any]:
    try:
        return columns[name]
    except KeyError:
        raise ValueError(f"column {name} is missing; there are {', '.join(columns)}") from None


def observation_spec(contract: Contract) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Return shape and type of what `TransitionDecoder` makes of one observation."""
    spec: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
        STATE: ((contract.observation_dim,), torch.float32)
    }
    for image in contract.images:
        spec[image.name] = ((image.height, image.width, 3), torch.uint8)
    return spec


class Episode(NamedTuple):
    """What is reported of a finished episode."""

    episode: int
    length: int
    """Policy steps."""
    total_reward: float
    success: bool
    """Whether the task succeeded at any step."""
    evaluation: bool
    """Acted without exploration noise."""
    intervention: float
    """Share of steps in which a person acted."""
    policy_version: int
    """Policy of the last step."""


def episode_parts(columns: Columns) -> Iterator[tuple[slice, bool]]:
    """Cut consecutive transitions of a run by episode; yield each part and whether it ended one."""
    ends = np.asarray(columns["terminated"]).astype(bool) | np.asarray(columns["truncated"]).astype(
        bool
    )
    changes = np.flatnonzero(np.diff(np.asarray(columns["episode"]).astype(np.int64))) + 1
    start = 0
    for stop in sorted({*changes.tolist(), *(np.flatnonzero(ends) + 1).tolist(), len(ends)}):
        if stop > start:
            yield slice(start, stop), bool(ends[stop - 1])
        start = stop


class EpisodeCounter:
    """Adds up transitions, in the order in which they happened, to finished episodes."""

    def __init__(self) -> None:
        self._number: int | None = None
        self._length = 0
        self._total_reward = 0.0
        self._success = False
        self._interventions = 0

    def add(self, columns: Columns) -> Iterator[Episode]:
        """Take column batches one after the other; yield each episode that ends in one."""
        columns = {name: np.asarray(columns[name]) for name in _EPISODE_COLUMNS}
        for part, ended in episode_parts(columns):
            self._accumulate({name: values[part] for name, values in columns.items()})
            if ended:
                yield self._finish(columns, part.stop - 1)

    def _accumulate(self, part: Columns) -> None:
        number = int(part["episode"][0])
        if number != self._number:  # the end of the one before never came: it is not reported
            self.__init__()  # type: ignore[misc]
            self._number = number
        self._length += len(part["reward"])
        self._total_reward += float(part["reward"].sum())
        self._success |= bool(part["success"].any())
        self._interventions += int(part["intervention"].astype(bool).sum())

    def _finish(self, columns: Columns, end: int) -> Episode:
        episode = Episode(
            episode=int(columns["episode"][end]),
            length=self._length,
            total_reward=self._total_reward,
            success=self._success,
            evaluation=bool(columns["evaluation"][end]),
            intervention=self._interventions / self._length,
            policy_version=int(columns["policy_version"][end]),
        )
        self.__init__()  # type: ignore[misc]
        return episode


_EPISODE_COLUMNS = (
    "reward",
    "terminated",
    "truncated",
    "success",
    "intervention",
    "evaluation",
    "episode",
    "policy_version",
)
