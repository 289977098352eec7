"""What a policy sees and does, as both languages understand it (docs/architecture.md section 4).

The same values come from a task file's `[contract]` table and from the canonical JSON inside a
policy file. Two contracts are the same exactly when their ids are.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from serl_rt.export.contract_fields import (
    ACTION_TYPES,
    COMPUTED_FIELDS,
    MAX_SIZE,
    ActionField,
    GripperAction,
    ImageField,
    JointDelta,
    ObservationField,
    TcpDelta,
)
from serl_rt.export.toml_config import ConfigError, Source, parse_table, setting

__all__ = [
    "ACTION_TYPES",
    "COMPUTED_FIELDS",
    "ActionField",
    "Contract",
    "GripperAction",
    "ImageField",
    "JointDelta",
    "ObservationField",
    "TcpDelta",
    "canonical_json",
    "parse_contract",
]

SMALLEST_RANGE = 1e-9
"""Between low and high: what is divided by it must stay finite in float32."""


@dataclass(frozen=True)
class Contract:
    """Everything that a policy and the controller must agree on."""

    name: str
    policy_rate_hz: float
    workspace_low: tuple[float, ...]
    """(3,) [m], base frame: the tool centre point is never sent below this."""
    workspace_high: tuple[float, ...]
    observation: tuple[ObservationField, ...]
    action: tuple[ActionField, ...]
    images: tuple[ImageField, ...] = ()

    @property
    def observation_dim(self) -> int:
        """Components of all observation fields, concatenated in order."""
        return sum(field.size for field in self.observation)

    @property
    def action_dim(self) -> int:
        """Components of all action fields, concatenated in order."""
        return sum(field.size for field in self.action)

    def canonical_json(self) -> str:
        """Return the one text of this contract: keys sorted, no spaces, numbers as `%.9g`."""
        return self._canonical_json

    @cached_property
    def _canonical_json(self) -> str:  # takes a millisecond, and every export asks for it
        return canonical_json(
            {
                "name": self.name,
                "policy_rate_hz": self.policy_rate_hz,
                "workspace": {"low": self.workspace_low, "high": self.workspace_high},
                "observation": [_to_dict(field) for field in self.observation],
                "images": [_to_dict(image) for image in self.images],
                "action": [{"name": field.name} | _to_dict(field) for field in self.action],
            }
        )

    @cached_property
    def contract_id(self) -> str:
        """SHA-256 of the canonical JSON, 64 hex digits."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()

    @classmethod
    def from_json(cls, text: str, origin: str = "contract") -> "Contract":
        """Read a contract from JSON; `origin` is named in errors.

        Raises ConfigError when it is not JSON or a value is not allowed.
        """
        try:
            table = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ConfigError(f"{origin}: not valid JSON: {error}") from error
        if not isinstance(table, dict):
            raise ConfigError(f"{origin}: must be a JSON object")
        name = table.pop("name", None)
        return parse_contract(table, name, Source(origin))


def canonical_json(value: object) -> str:
    """Print a value so that C++ and Python agree to the byte.

    Strings are printable ASCII without quotes and backslashes (checked where contracts are read),
    so nothing needs escaping.
    """
    if isinstance(value, Mapping):
        return "{" + ",".join(f'"{k}":{canonical_json(value[k])}' for k in sorted(value)) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(canonical_json(item) for item in value) + "]"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:.9g}"
    raise TypeError(f"no canonical form for {value!r}")


def _to_dict(value: Any) -> dict[str, Any]:
    items = ((f.name, getattr(value, f.name)) for f in fields(value))
    return {name: item for name, item in items if item is not None}


@dataclass(frozen=True)
class _Workspace:
    low: tuple[float, ...] = setting(length=3, low=-10.0, high=10.0, unit="m")
    high: tuple[float, ...] = setting(length=3, low=-10.0, high=10.0, unit="m")


@dataclass(frozen=True)
class _Scalars:
    """The contract's keys that are not lists of tables."""

    policy_rate_hz: float = setting(low=1.0, high=1000.0, unit="Hz")
    workspace: _Workspace = setting()


_LISTS = ("observation", "images", "action")


def parse_contract(table: Mapping[str, Any], name: object, source: Source) -> Contract:
    """Check a `[contract]` table (without its name) and build the contract.

    Raises ConfigError that names the file, the key and the allowed values.
    """
    table = _round(table)
    _check_name("name", name, source)
    known = [f.name for f in fields(_Scalars)] + list(_LISTS)
    for key in table:
        if key not in known:
            raise source.unknown(key, known)
    scalars = parse_table(_Scalars, {k: v for k, v in table.items() if k not in _LISTS}, source)
    box = scalars.workspace
    _check_order(box.low, box.high, source / "workspace")
    contract = Contract(
        name=str(name),
        policy_rate_hz=scalars.policy_rate_hz,
        workspace_low=box.low,
        workspace_high=box.high,
        observation=tuple(_parse_observation(t, s) for t, s in _rows(table, "observation", source)),
        images=tuple(_parse_image(t, s) for t, s in _rows(table, "images", source)),
        action=tuple(_parse_action(t, s) for t, s in _rows(table, "action", source)),
    )
    _check_names(contract, source)
    return contract


def _round(value: Any) -> Any:
    """Round numbers as the canonical JSON does, so that reading that gives an equal contract."""
    if isinstance(value, Mapping):
        return {key: _round(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_round(item) for item in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


def _rows(
    table: Mapping[str, Any], key: str, source: Source
) -> list[tuple[Mapping[str, Any], Source]]:
    rows = table.get(key, [])
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise source.error(key, rows, "an array of tables")
    return [(row, source / f"{key}[{i}]") for i, row in enumerate(rows)]


def _parse_observation(table: Mapping[str, Any], source: Source) -> ObservationField:
    field = parse_table(ObservationField, table, source)
    _check_name("name", field.name, source)
    if not field.shape or len(field.shape) > 4 or field.size > MAX_SIZE:
        raise source.error(
            "shape", list(field.shape), f"1 to 4 integers with a product of at most {MAX_SIZE}"
        )
    _check_computed(field, source)
    for key, bound in (("low", field.low), ("high", field.high)):
        if len(bound) != field.size:
            raise source.error(key, list(bound), f"{field.size} numbers, the size of the shape")
    _check_order(field.low, field.high, source)
    return field


def _check_computed(field: ObservationField, source: Source) -> None:
    """Refuse a shape, unit or frame that is not what the controller computes under this name."""
    computed = COMPUTED_FIELDS.get(field.name)
    if computed is None:
        return
    if field.shape != (computed.size,):
        raise source.error("shape", list(field.shape), f"[{computed.size}] for {field.name}")
    if field.unit != computed.unit:
        raise source.error("unit", field.unit, f'"{computed.unit}" for {field.name}')
    if field.frame not in computed.frames:
        allowed = " or ".join(f'"{frame}"' for frame in computed.frames)
        raise source.error("frame", field.frame, f"{allowed} for {field.name}")


def _parse_image(table: Mapping[str, Any], source: Source) -> ImageField:
    image = parse_table(ImageField, table, source)
    _check_name("name", image.name, source)
    return image


def _parse_action(table: Mapping[str, Any], source: Source) -> ActionField:
    name = table.get("name")
    if not isinstance(name, str) or name not in ACTION_TYPES:
        raise source.error("name", name, "one of " + ", ".join(ACTION_TYPES))
    rest = {key: value for key, value in table.items() if key != "name"}
    action = parse_table(ACTION_TYPES[name], rest, source)
    if isinstance(action, TcpDelta) and len(action.scale) != action.size:
        raise source.error("scale", list(action.scale), f"{action.size} numbers, as the shape says")
    if isinstance(action, GripperAction):
        for key, kind in (("threshold", "binary"), ("scale", "continuous_delta")):
            value = getattr(action, key)
            if (value is not None) != (action.kind == kind):
                raise source.error(key, value, f'given for kind = "{kind}" and for no other')
    return action


_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


def _check_name(key: str, name: object, source: Source) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise source.error(key, name, "1 to 63 of a-z, 0-9 and _, beginning with a letter")


def _check_order(low: tuple[float, ...], high: tuple[float, ...], source: Source) -> None:
    for i, (lower, upper) in enumerate(zip(low, high, strict=True)):
        if not upper - lower >= SMALLEST_RANGE:
            allowed = f"greater than low[{i}] = {lower:.9g} by {SMALLEST_RANGE:.9g} or more"
            raise source.error(f"high[{i}]", upper, allowed)


def _check_names(contract: Contract, source: Source) -> None:
    """Refuse what no single field can see: duplicates, reserved names, missing fields."""
    if not contract.observation:
        raise source.error("observation", [], "at least one field")
    seen = {"noise", "action"}
    inputs = [field.name for field in contract.observation]
    for name in inputs + [image.name for image in contract.images]:
        if name in seen:
            raise source.error("name", name, "unique, and neither noise nor action")
        seen.add(name)
    motions = [field.name for field in contract.action if field.name != "gripper"]
    if len(motions) != 1 or len(contract.action) - len(motions) > 1:
        names = [field.name for field in contract.action]
        raise source.error("action", names, "one of tcp_delta and joint_delta, at most one gripper")
