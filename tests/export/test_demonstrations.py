"""Demonstration files: what is written is read, anything else is refused with the reason."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from serl_rt.export.columns import DTYPES
from serl_rt.export.contract import (
    Contract,
    GripperAction,
    ObservationField,
    TcpDelta,
)
from serl_rt.export.demonstrations import (
    DemonstrationsError,
    demonstration_columns,
    load_demonstrations,
    save_demonstrations,
)

Columns = dict[str, NDArray[Any]]

CONTRACT = Contract(
    name="toy",
    policy_rate_hz=10.0,
    workspace_low=(0.0, 0.0, 0.0),
    workspace_high=(1.0, 1.0, 1.0),
    observation=(
        ObservationField("tcp_position", (3,), "m", "base", (-1.0,) * 3, (1.0,) * 3),
        ObservationField("gripper", (1,), "1", "", (0.0,), (1.0,)),
    ),
    action=(
        TcpDelta((3,), (0.05,) * 3),
        GripperAction("binary", threshold=0.1),
    ),
)


@pytest.fixture
def columns() -> Columns:
    rng = np.random.default_rng(0)
    made: Columns = {}
    for name, dtype, shape in demonstration_columns(CONTRACT):
        values = rng.uniform(-1, 1, (5, *shape)) if dtype == "f4" else np.zeros((5, *shape))
        made[name] = values.astype(DTYPES[dtype])
    made["success"][-1] = made["truncated"][-1] = 1
    return made


@pytest.fixture
def file(tmp_path: Path, columns: Columns) -> Path:
    path = tmp_path / "demos.npz"
    save_demonstrations(path, columns, CONTRACT)
    return path


def test_round_trip(file: Path, columns: Columns) -> None:
    loaded = load_demonstrations(file, CONTRACT)
    assert list(loaded) == [column.name for column in demonstration_columns(CONTRACT)]
    for name, array in columns.items():
        assert loaded[name].dtype == array.dtype
        assert (loaded[name] == array).all()


def test_what_does_not_change_recorded_numbers_may_differ(file: Path) -> None:
    narrower = replace(CONTRACT.observation[0], low=(-0.5,) * 3)
    changed = replace(
        CONTRACT,
        name="other",
        workspace_low=(-1.0,) * 3,
        observation=(narrower, *CONTRACT.observation[1:]),
    )
    load_demonstrations(file, changed)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"policy_rate_hz": 20.0}, "policy_rate_hz"),
        ({"observation": CONTRACT.observation[:1]}, "observation"),
        ({"observation": CONTRACT.observation[::-1]}, "observation"),
        ({"action": (TcpDelta((3,), (0.1,) * 3), CONTRACT.action[1])}, "action"),
        ({"action": (TcpDelta((3,), (0.05,) * 3, anchor="target"), CONTRACT.action[1])}, "action"),
    ],
)
def test_another_contract_is_refused(file: Path, change: dict[str, Any], named: str) -> None:
    with pytest.raises(DemonstrationsError, match=f"recorded with {named}"):
        load_demonstrations(file, replace(CONTRACT, **change))


def drop(columns: Columns) -> None:
    del columns["observation/gripper"]


def add(columns: Columns) -> None:
    columns["observation/q"] = np.zeros((5, 7), np.float32)


def shorten(columns: Columns) -> None:
    columns["action"] = columns["action"][:-1]


def widen(columns: Columns) -> None:
    columns["action"] = columns["action"].astype(np.float64)


def empty(columns: Columns) -> None:
    for name in columns:
        columns[name] = columns[name][:0]


def poison(columns: Columns) -> None:
    columns["reward"][2] = np.nan


def overdrive(columns: Columns) -> None:
    columns["action"][0, 0] = 1.5


def misflag(columns: Columns) -> None:
    columns["success"][0] = 2


def end_twice(columns: Columns) -> None:
    columns["terminated"][-1] = 1


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop, "lacks the arrays observation/gripper"),
        (add, "unknown arrays observation/q"),
        (shorten, r"action is float32 of shape \(4, 4\); expected float32 of shape \(5, 4\)"),
        (widen, "action is float64"),
        (empty, "reward must have shape"),
        (poison, "reward has values that are not finite"),
        (overdrive, r"action has values outside \[-1, 1\]"),
        (misflag, "success has 2"),
        (end_twice, "both terminated and truncated"),
    ],
)
def test_damage_is_refused_when_written_and_when_read(
    tmp_path: Path, columns: Columns, damage: Any, message: str
) -> None:
    damage(columns)
    path = tmp_path / "damaged.npz"
    with pytest.raises(DemonstrationsError, match=message):
        save_demonstrations(path, columns, CONTRACT)
    assert not path.exists()
    np.savez(path, contract=np.array(CONTRACT.canonical_json()), **columns)  # type: ignore[arg-type]
    with pytest.raises(DemonstrationsError, match=message):
        load_demonstrations(path, CONTRACT)


def test_what_is_not_an_archive_is_refused(tmp_path: Path, columns: Columns) -> None:
    path = tmp_path / "demos.npz"
    with pytest.raises(DemonstrationsError, match="cannot be read"):
        load_demonstrations(path, CONTRACT)
    path.write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(DemonstrationsError, match="cannot be read"):
        load_demonstrations(path, CONTRACT)
    np.savez(path, **columns)  # type: ignore[arg-type]
    with pytest.raises(DemonstrationsError, match="lacks the array contract"):
        load_demonstrations(path, CONTRACT)


def test_pickled_objects_are_never_loaded(tmp_path: Path, columns: Columns) -> None:
    path = tmp_path / "demos.npz"
    columns["reward"] = np.array([object()] * 5)
    np.savez(path, contract=np.array(CONTRACT.canonical_json()), **columns)  # type: ignore[arg-type]
    with pytest.raises(DemonstrationsError, match="allow_pickle"):
        load_demonstrations(path, CONTRACT)
