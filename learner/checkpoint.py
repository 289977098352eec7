"""Checkpoints: one .npz of named arrays with a JSON header. No pickle; written atomically."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from serl_rt.export.piecewise import open_piecewise

FORMAT = 1
_HEADER = "header"


class Checkpoint(NamedTuple):
    """A checkpoint's content."""

    header: dict[str, Any]
    """JSON values: what it belongs to and the counters of the run."""
    arrays: dict[str, NDArray[Any]]


class CheckpointError(ValueError):
    """A checkpoint cannot be read or belongs to something else."""


def save_checkpoint(
    path: Path, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Write a checkpoint; a crash in between leaves the file of before, or none."""
    text = json.dumps({"format": FORMAT, **header}, sort_keys=True)
    temporary = path.with_suffix(".tmp")
    with open_piecewise(temporary) as stream:
        contents: dict[str, Any] = {_HEADER: np.frombuffer(text.encode(), np.uint8), **arrays}
        np.savez(stream, **contents)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)


def load_checkpoint(path: Path, expected: Mapping[str, Any]) -> Checkpoint:
    """Read a checkpoint whose header has the expected values.

    Raises CheckpointError that names the file and what is wrong.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = dict(stored)
        header = json.loads(arrays.pop(_HEADER).tobytes().decode())
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path}: not a readable checkpoint: {error}") from error
    for key, value in {"format": FORMAT, **expected}.items():
        if header.get(key) != value:
            raise CheckpointError(
                f"{path}: {key} is {header.get(key)!r}, this run's is {value!r}: "
                "it belongs to another run; choose another run folder"
            )
    return Checkpoint(header, arrays)


class CheckpointFolder:
    """The newest checkpoints of a run, named by their number of updates."""

    def __init__(self, folder: Path, keep: int = 3) -> None:
        self.folder = folder
        self.keep = keep
        folder.mkdir(parents=True, exist_ok=True)

    def save(
        self, updates: int, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
    ) -> Path:
        """Write one and delete the oldest beyond `keep`."""
        path = self.folder / f"{updates:010d}.npz"
        save_checkpoint(path, header, arrays)
        for old in self.files()[: -self.keep]:
            old.unlink()
        return path

    def files(self) -> list[Path]:
        """Return the checkpoints, oldest first."""
        return sorted(self.folder.glob("*.npz"))

    def latest(self) -> Path | None:
        """Return the newest one, if there is any."""
        files = self.files()
        return files[-1] if files else None
