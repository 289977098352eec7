"""Pickles of arrays are read; anything that could run code is refused by name."""

from __future__ import annotations

import builtins
import collections
import os
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serl_rt.learner.safe_pickle import UnsafePickleError, load_arrays


def saved(tmp_path: Path, value: object, protocol: int = 4) -> Path:
    path = tmp_path / "file.pkl"
    path.write_bytes(pickle.dumps(value, protocol))
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_containers_of_arrays_come_back(tmp_path: Path, protocol: int) -> None:
    value = {
        "f": np.arange(6, dtype=np.float32).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big": np.arange(3, dtype=">i4"),
        "image": np.full((4, 4, 3), 200, np.uint8),
        "mask": np.array([True, False]),
        "zero_d": np.array(1.5),
        "empty": np.zeros((0, 3), np.float32),
        "nested": [{"a": (1, 2.5, "x", None, True)}, collections.OrderedDict(b=np.float32(2.0))],
    }
    loaded = load_arrays(saved(tmp_path, value, protocol))
    for name in ("f", "fortran", "big", "image", "mask", "zero_d", "empty"):
        np.testing.assert_array_equal(loaded[name], value[name])
    assert loaded["nested"][0] == {"a": (1, 2.5, "x", None, True)}
    assert loaded["nested"][1] == {"b": 2.0}
    assert type(loaded["nested"][1]) is dict


def named(module: str, name: str, arguments: bytes = b")") -> bytes:
    """A protocol 2 pickle that calls module.name(arguments)."""
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + arguments + b"R."


def test_jax_arrays_are_read_without_jax(tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    function, arguments, state = array.__reduce__()

    class JaxArray:
        def __reduce__(self) -> Any:
            return stand_in, (function, arguments, state, {"weak_type": False})

    def stand_in(*_: object) -> None:
        raise AssertionError

    stand_in.__module__, stand_in.__qualname__ = "jax._src.array", "_reconstruct_array"
    modules = {name: types.ModuleType(name) for name in ("jax", "jax._src", "jax._src.array")}
    modules["jax._src.array"]._reconstruct_array = stand_in  # type: ignore[attr-defined]
    added = {name: m for name, m in modules.items() if name not in sys.modules}
    sys.modules.update(added)
    try:
        path = saved(tmp_path, {"conv_init": {"kernel": JaxArray()}})
    finally:
        for name in added:
            del sys.modules[name]
    np.testing.assert_array_equal(load_arrays(path)["conv_init"]["kernel"], array)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("subprocess", "Popen"),
        ("numpy", "load"),
        ("numpy", "fromfile"),
        ("numpy.core.multiarray", "fromfile"),
        ("numpy.core.multiarray", "__loader__"),
        ("jax._src.array", "np.load"),
        ("serl_rt.learner.safe_pickle", "load_arrays"),
    ],
)
def test_any_other_function_is_refused_by_name(tmp_path: Path, module: str, name: str) -> None:
    path = tmp_path / "evil.pkl"
    path.write_bytes(named(module, name))
    with pytest.raises(UnsafePickleError, match=f"asks for {module}.{name}"):
        load_arrays(path)


def test_nothing_runs_before_the_refusal(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "ran"),)

    path = saved(tmp_path, {"weights": np.zeros(3), "x": Evil()})
    with pytest.raises(UnsafePickleError, match="asks for posix.mkdir"):
        load_arrays(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "value",
    [
        np.array([{"a": 1}, None], dtype=object),
        np.zeros(2, dtype=[("a", "f4")]),
        np.array(["text"]),
        {1, 2},
        1j,
        builtins.print,
        np.ma.masked_array([1.0], mask=[True]),
    ],
)
def test_values_that_are_not_plain_are_refused(tmp_path: Path, value: object) -> None:
    with pytest.raises(UnsafePickleError):
        load_arrays(saved(tmp_path, value))


def test_array_type_may_be_named_but_gives_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file.pkl"
    path.write_bytes(named("numpy", "ndarray"))
    with pytest.raises(UnsafePickleError, match="a value of type _Class"):
        load_arrays(path)


def test_references_out_of_the_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.pkl"
    path.write_bytes(b"Pelsewhere\n.")
    with pytest.raises(UnsafePickleError, match="outside of it"):
        load_arrays(path)


@pytest.mark.parametrize("data", [b"", b"hello", b"\x80\x04", b"\x80\x04]\x94h\x00a."])
def test_broken_files_give_a_value_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file.pkl"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=str(path)):
        load_arrays(path)


def test_truncated_arrays_are_refused(tmp_path: Path) -> None:
    data = pickle.dumps(np.arange(4, dtype=np.float32), 4)
    path = tmp_path / "file.pkl"
    path.write_bytes(data.replace(b"K\x04\x85", b"K\x05\x85"))
    with pytest.raises(UnsafePickleError, match="shape .5,. with 16 bytes"):
        load_arrays(path)
