"""Read pickles of nested containers of arrays (SERL's parameter and demonstration files), no code.

Unpickling runs whatever functions the file names. Here a file may name only those that rebuild
numpy and jax arrays, and even these are replaced by the few lines below: nothing of numpy, jax or
the standard library is ever called with the file's arguments.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_FILE_BYTES = 8 << 30
MAX_ITEMS = 50_000_000

_KINDS = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"}


class UnsafePickleError(ValueError):
    """The file asks for something that is not an array or a builtin container."""


class _DType:
    """Stands for `numpy.dtype` while a file is read."""

    def __init__(self, name: object, align: object = False, copy: object = False) -> None:
        if name not in _KINDS:
            raise UnsafePickleError(f"arrays of dtype {name!r}: allowed are {sorted(_KINDS)}")
        self.order = "<"
        self.name = str(name)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1]
        self.order = ">" if order == ">" else "<"

    def numpy(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.name)


class _Array:
    """Stands for an array while a file is read; becomes one in `_plain`."""

    def __init__(self) -> None:
        self.value: NDArray[Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _DType) or not isinstance(data, bytes | bytearray):
            raise UnsafePickleError("an array that is not made of plain numbers")
        kind = dtype.numpy()
        if int(np.prod(shape, dtype=np.int64)) * kind.itemsize != len(data):
            raise UnsafePickleError(f"an array of shape {shape} with {len(data)} bytes of {kind}")
        flat = np.frombuffer(data, dtype=kind)
        array = flat.reshape(tuple(shape), order="F" if fortran else "C")
        self.value = array.astype(kind.newbyteorder("="))


class _Class:
    """Stands for `numpy.ndarray`, which may be named but not called."""


def _reconstruct(kind: object, shape: object, typecode: object) -> _Array:
    if kind is not _Class:
        raise UnsafePickleError("a subclass of numpy.ndarray")
    return _Array()


def _frombuffer(buffer: object, dtype: object, shape: object, order: object) -> _Array:
    array = _Array()
    array.__setstate__((1, shape, dtype, order == "F", buffer))
    return array


def _scalar(dtype: object, data: object) -> object:
    if not isinstance(dtype, _DType) or not isinstance(data, bytes):
        raise UnsafePickleError("a scalar that is not a plain number")
    if len(data) != dtype.numpy().itemsize:
        raise UnsafePickleError(f"a scalar of {len(data)} bytes of {dtype.numpy()}")
    return np.frombuffer(data, dtype=dtype.numpy())[0]


def _jax_array(function: object, args: Any, state: Any, _aval: object) -> _Array:
    if function is not _reconstruct:
        raise UnsafePickleError("a jax array that is not backed by a numpy array")
    array = _reconstruct(*args)
    array.__setstate__(state)
    return array


def _latin1(text: object, encoding: object) -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise UnsafePickleError(f"text in encoding {encoding!r}")
    return text.encode("latin-1")


def _no_bytes() -> bytes:
    return b""


class _Mapping(dict[Any, Any]):
    """Stands for OrderedDict and Flax's FrozenDict (whose state is {'_dict': ...})."""

    def __init__(self, items: object = ()) -> None:
        if not isinstance(items, dict | list | tuple):
            raise UnsafePickleError("a mapping made of something else than items")
        super().__init__(items)

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.update(state.get("_dict", {}))


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _Class,
    ("numpy", "dtype"): _DType,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
    ("numpy._core.numeric", "_frombuffer"): _frombuffer,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("jax._src.array", "_reconstruct_array"): _jax_array,
    ("jax._src.device_array", "reconstruct_device_array"): _jax_array,
    ("_codecs", "encode"): _latin1,
    ("__builtin__", "bytes"): _no_bytes,  # how protocols 0 to 2 write empty bytes
    ("collections", "OrderedDict"): _Mapping,
    ("flax.core.frozen_dict", "FrozenDict"): _Mapping,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise UnsafePickleError(
                f"the file asks for {module}.{name}; only numpy and jax arrays in dicts, lists and "
                "tuples are read. Do not open this file with pickle unless you trust its author"
            ) from None

    def persistent_load(self, pid: object) -> Any:
        raise UnsafePickleError(f"the file refers to an object outside of it: {pid!r}")


def _plain(value: Any, budget: list[int]) -> Any:
    """Replace the stand-ins by arrays and dicts; refuse anything else."""
    budget[0] -= 1
    if budget[0] < 0:
        raise UnsafePickleError(f"more than {MAX_ITEMS} items")
    if isinstance(value, _Array):
        if value.value is None:
            raise UnsafePickleError("an array without data")
        return value.value
    if isinstance(value, dict):
        return {_plain(k, budget): _plain(v, budget) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(v, budget) for v in value)
    if value is None or isinstance(value, bool | int | float | str | bytes | np.generic):
        return value
    raise UnsafePickleError(f"a value of type {type(value).__name__}")


def load_arrays(path: Path) -> Any:
    """The nested dicts, lists and tuples of numpy arrays and plain values pickled in `path`.

    Raises UnsafePickleError, naming what was refused, for anything else, and ValueError for a file
    that is no pickle.
    """
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise UnsafePickleError(f"{path}: {size} bytes, more than {MAX_FILE_BYTES}")
    with path.open("rb") as file:
        try:
            return _plain(_Unpickler(file).load(), [MAX_ITEMS])
        except UnsafePickleError as error:
            raise UnsafePickleError(f"{path}: {error}") from None
        except (
            pickle.UnpicklingError,
            EOFError,
            TypeError,
            AttributeError,
            ValueError,
            IndexError,
            KeyError,
            RecursionError,
            MemoryError,
        ) as error:
            raise ValueError(f"{path}: not a readable pickle of arrays ({error})") from error
