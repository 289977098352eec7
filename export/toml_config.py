"""Strict reading of TOML files: every key, type and range is checked against a dataclass.

A field is declared once, with its default, unit, range and choices; the same declaration checks a
file and words the error:

    @dataclass(frozen=True)
    class Episode:
        max_steps: int = setting(100, low=1, doc="steps until an episode is truncated")

    parse_table(Episode, {"max_steps": 0}, Source(path, "episode"))
    # ConfigError: task.toml: [episode] max_steps = 0: must be an integer >= 1
"""

import dataclasses
import difflib
import math
import sys
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")


class ConfigError(ValueError):
    """A configuration value is refused; the message names the file, the key and what is allowed."""


@dataclass(frozen=True)
class Source:
    """Where a value came from, to name it in an error."""

    file: str
    """Path of the file, or another name for the origin (`policy metadata`)."""
    table: str = ""
    """Dotted table inside the file; empty at the top level."""

    def __truediv__(self, table: str) -> "Source":
        return Source(self.file, f"{self.table}.{table}" if self.table else table)

    def error(self, key: str, value: object, allowed: str) -> ConfigError:
        """Return the error for one refused value; `allowed` completes "must be ..."."""
        return ConfigError(f"{self._place(key)} = {show(value)}: must be {allowed}")

    def missing(self, key: str, allowed: str) -> ConfigError:
        """Return the error for a key that has no default and was not given."""
        return ConfigError(f"{self._place(key)} is missing: must be {allowed}")

    def unknown(self, key: str, allowed: Iterable[str]) -> ConfigError:
        """Return the error for a key that does not exist; suggests the nearest one."""
        names = sorted(allowed)
        near = difflib.get_close_matches(key, names, n=1)
        hint = f" (did you mean '{near[0]}'?)" if near else ""
        return ConfigError(f"{self._place(key)}: unknown key{hint}; allowed: {', '.join(names)}")

    def _place(self, key: str) -> str:
        return f"{self.file}: [{self.table}] {key}" if self.table else f"{self.file}: {key}"


def show(value: object) -> str:
    """Print a value shortly, as TOML would write it."""
    text = f'"{value}"' if isinstance(value, str) else str(value)
    if isinstance(value, bool):
        text = text.lower()
    return text if len(text) <= 120 else text[:117] + "..."


def setting(
    default: Any = MISSING,
    *,
    unit: str = "",
    low: float = -math.inf,
    high: float = math.inf,
    choices: tuple[Any, ...] = (),
    length: int | None = None,
    doc: str = "",
) -> Any:
    """Declare a dataclass field with what a file may set it to.

    `low` and `high` are inclusive and apply to every number in a list; `length` is a list's exact
    length. A field without a default must be given.
    """
    metadata = {
        "unit": unit,
        "low": low,
        "high": high,
        "choices": choices,
        "length": length,
        "doc": doc,
    }
    return field(default=default, metadata=metadata)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises ConfigError when the file cannot be read or is not TOML (with the line).
    """
    try:
        with path.open("rb") as stream:
            return tomllib.load(stream)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error


def parse_table(cls: type[T], table: object, source: Source) -> T:
    """Build a dataclass from a TOML table; nested dataclasses are nested tables.

    Raises ConfigError for an unknown or missing key, a wrong type, length, choice or range.
    """
    if not isinstance(table, Mapping):
        raise ConfigError(f"{source.file}: [{source.table}] must be a table")
    declared = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    for key in table:
        if key not in declared:
            raise source.unknown(key, declared)
    values = {}
    for name, f in declared.items():
        if name in table:
            values[name] = _parse_value(hints[name], f.metadata, table[name], name, source)
        elif f.default is MISSING and f.default_factory is MISSING:
            raise source.missing(name, describe(hints[name], f.metadata))
    return cls(**values)


def describe(hint: Any, metadata: Mapping[str, Any]) -> str:
    """Say in words what a field accepts: "a number from 0 to 1 [m]"."""
    if metadata.get("choices"):
        return "one of " + ", ".join(show(choice) for choice in metadata["choices"])
    element = _element_type(hint)
    if element is not None:
        length = metadata.get("length")
        head = f"a list of {length} " if length is not None else "a list of "
        return head + _NOUNS.get(element, ("values", "values"))[1] + _range_words(metadata)
    return _NOUNS.get(_plain_type(hint), ("a table", ""))[0] + _range_words(metadata)


_NOUNS: dict[Any, tuple[str, str]] = {
    bool: ("true or false", "booleans"),
    int: ("an integer", "integers"),
    float: ("a finite number", "finite numbers"),
    str: ("a string", "strings"),
}


_LARGEST = 1e300  # a NaN fails the comparison, too


def _range_words(metadata: Mapping[str, Any]) -> str:
    low, high = metadata.get("low", -math.inf), metadata.get("high", math.inf)
    unit = f" [{metadata['unit']}]" if metadata.get("unit") else ""
    if math.isfinite(low) and math.isfinite(high):
        return f" from {low:.9g} to {high:.9g}{unit}"
    if math.isfinite(low):
        return f" >= {low:.9g}{unit}"
    if math.isfinite(high):
        return f" <= {high:.9g}{unit}"
    return unit


def _plain_type(hint: Any) -> Any:
    """Strip `| None`: a key that is absent keeps its default, one that is given is checked."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return next(option for option in typing.get_args(hint) if option is not type(None))
    return hint


def _element_type(hint: Any) -> Any | None:
    """Return X for `tuple[X, ...]`, else None."""
    plain = _plain_type(hint)
    return typing.get_args(plain)[0] if typing.get_origin(plain) is tuple else None


def _parse_value(
    hint: Any, metadata: Mapping[str, Any], value: object, key: str, source: Source
) -> object:
    plain = _plain_type(hint)
    if dataclasses.is_dataclass(plain):
        return parse_table(typing.cast(type, plain), value, source / key)
    element = _element_type(hint)
    allowed = describe(hint, metadata)
    if element is None:
        return _parse_scalar(plain, metadata, value, key, source, allowed)
    length = metadata.get("length")
    if not isinstance(value, list | tuple) or (length is not None and len(value) != length):
        raise source.error(key, value, allowed)
    return tuple(_parse_scalar(element, metadata, v, key, source, allowed) for v in value)


def _parse_scalar(
    kind: Any, metadata: Mapping[str, Any], value: object, key: str, source: Source, allowed: str
) -> object:
    """Check type, choices and range. An integer is accepted where a float is declared."""
    accepted = (int, float) if kind is float else (kind,)
    if not isinstance(value, accepted) or (kind is not bool and isinstance(value, bool)):
        raise source.error(key, value, allowed)
    if metadata.get("choices") and value not in metadata["choices"]:
        raise source.error(key, value, allowed)
    if kind in (int, float):
        number = typing.cast(float, value)
        in_range = metadata.get("low", -math.inf) <= number <= metadata.get("high", math.inf)
        if not -_LARGEST <= number <= _LARGEST or not in_range:
            raise source.error(key, value, allowed)
        # + 0.0 turns -0.0 into 0.0, so that equal settings print alike.
        return number + 0.0 if kind is float else value
    return value
