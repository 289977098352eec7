"""Demonstrations in a file: transitions in the wire's columns, as a numpy .npz archive.

Beside one array per column (names and dtypes as in docs/architecture.md section 5) the archive
holds `contract`, the canonical JSON of the contract that they were recorded under.
"""

import hashlib
import json
import zipfile
import zlib
from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np

from serl_rt.export.columns import DTYPES, STARTS, Array, Column, rows_of, transition_columns
from serl_rt.export.contract import Contract
from serl_rt.export.wire_header import WireError

CONTRACT = "contract"
"""Name of the array that holds the contract."""
FLAGS = ("terminated", "truncated", "success", "intervention", "evaluation")


class DemonstrationsError(ValueError):
    """Demonstrations that cannot be used; names the file, the array and what is allowed."""


def demonstration_columns(contract: Contract) -> tuple[Column, ...]:
    """Return the columns that demonstrations of a contract have, in wire order."""
    fields = [(field.name, field.shape) for field in contract.observation]
    images = [(image.name, (image.height, image.width, 3)) for image in contract.images]
    return transition_columns(fields, contract.action_dim, images)


def save_demonstrations(
    path: str | PathLike[str], columns: Mapping[str, Array], contract: Contract
) -> None:
    """Write transitions to a .npz file. Raises DemonstrationsError as check_columns() does."""
    check_columns(columns, contract, "demonstrations")
    # Through a file object, because numpy would append .npz to another suffix.
    with open(path, "wb") as file:
        np.savez_compressed(
            file, allow_pickle=False, **{CONTRACT: np.array(contract.canonical_json())}, **columns
        )


def load_demonstrations(path: str | PathLike[str], contract: Contract) -> dict[str, Array]:
    """Read transitions that were recorded under a contract that sees and does the same.

    Raises DemonstrationsError if the file is missing, not an archive, of another contract, or
    breaks check_columns().
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DemonstrationsError(f"{path}: cannot be read as a .npz archive: {error}") from error
    _check_contract(arrays.pop(CONTRACT, None), contract, str(path))
    check_columns(arrays, contract, str(path))
    return {column.name: arrays[column.name] for column in demonstration_columns(contract)}


def demonstrations_digest(columns: Mapping[str, Array]) -> str:
    """Return the SHA-256 of what transitions are, whatever file they are in: 64 hex digits."""
    digest = hashlib.sha256()
    for name in sorted(columns):
        array = np.ascontiguousarray(columns[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()


def stored_contract(path: str | PathLike[str]) -> Contract:
    """Read under which contract a file was recorded. Raises DemonstrationsError."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            if CONTRACT not in archive.files:
                raise DemonstrationsError(f"{path}: holds no contract: not a demonstration file")
            return Contract.from_json(str(archive[CONTRACT]), str(path))
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DemonstrationsError(f"{path}: cannot be read as a .npz archive: {error}") from error


def check_columns(columns: Mapping[str, Array], contract: Contract, origin: str) -> None:
    """Check names, dtypes, shapes and values; `origin` is named in errors.

    Raises DemonstrationsError.
    """
    expected = demonstration_columns(contract)
    names = {column.name for column in expected}
    if missing := sorted(names - set(columns)):
        raise DemonstrationsError(f"{origin}: lacks the arrays {', '.join(missing)}")
    if unknown := sorted(set(columns) - names):
        raise DemonstrationsError(
            f"{origin}: has unknown arrays {', '.join(unknown)}; the contract {contract.name} has "
            f"{', '.join(sorted(names))}"
        )
    count = len(columns["reward"]) if columns["reward"].ndim == 1 else 0
    if count == 0:
        raise DemonstrationsError(f"{origin}: reward must have shape (n,) with n >= 1")
    for column in expected:
        name, dtype, shape = column
        array = columns[name]
        try:
            rows = rows_of(column, count, columns.get(STARTS))
        except WireError as error:
            raise DemonstrationsError(f"{origin}: {error}") from error
        if array.dtype != DTYPES[dtype] or array.shape != (rows, *shape):
            raise DemonstrationsError(
                f"{origin}: {name} is {array.dtype} of shape {array.shape}; expected "
                f"{DTYPES[dtype]} of shape {(rows, *shape)}"
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise DemonstrationsError(f"{origin}: {name} has values that are not finite")
    if STARTS in columns and not columns[STARTS][0]:
        raise DemonstrationsError(f"{origin}: {STARTS}[0] is 0: the first images are missing")
    for name in FLAGS:
        if columns[name].max() > 1:
            raise DemonstrationsError(
                f"{origin}: {name} has {columns[name].max()}; allowed are 0 and 1"
            )
    if np.abs(columns["action"]).max() > 1:
        raise DemonstrationsError(f"{origin}: action has values outside [-1, 1]")
    if (columns["terminated"] & columns["truncated"]).any():
        raise DemonstrationsError(f"{origin}: a transition is both terminated and truncated")


def _check_contract(stored: Array | None, contract: Contract, origin: str) -> None:
    if stored is None or stored.shape != () or stored.dtype.kind != "U":
        raise DemonstrationsError(f"{origin}: lacks the array {CONTRACT}: a contract as JSON text")
    theirs = _meaning(Contract.from_json(str(stored), origin))
    for key, ours in _meaning(contract).items():
        if theirs[key] != ours:
            raise DemonstrationsError(
                f"{origin}: was recorded with {key} = {json.dumps(theirs[key])}; the task "
                f"{contract.name} has {json.dumps(ours)}: record demonstrations of this task"
            )


def _meaning(contract: Contract) -> dict[str, Any]:
    """What recorded numbers depend on: not the name, the workspace or the expected ranges."""
    table: dict[str, Any] = json.loads(contract.canonical_json())
    return {
        "policy_rate_hz": table["policy_rate_hz"],
        "observation": [
            {key: field[key] for key in ("name", "shape", "unit", "frame")}
            for field in table["observation"]
        ],
        "images": table["images"],
        "action": table["action"],
    }
