"""Contracts: strict reading, one canonical text, one id."""

import copy
import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serl_rt.export.contract import (
    COMPUTED_FIELDS,
    Contract,
    GripperAction,
    JointDelta,
    TcpDelta,
    canonical_json,
)
from serl_rt.export.toml_config import ConfigError

TABLE: dict[str, Any] = {
    "name": "reach",
    "policy_rate_hz": 10,
    "workspace": {"low": [0.3, -0.25, 0.0], "high": [0.7, 0.25, 0.5]},
    "observation": [
        {
            "name": "tcp_position",
            "shape": [3],
            "unit": "m",
            "frame": "base",
            "low": [0.3, -0.25, 0.0],
            "high": [0.7, 0.25, 0.5],
        },
        {
            "name": "goal",
            "shape": [2, 2],
            "unit": "1",
            "frame": "",
            "low": [0, 0, 0, 0],
            "high": [1, 1, 1, 1],
        },
    ],
    "action": [
        {"name": "tcp_delta", "shape": [3], "scale": [0.05, 0.05, 0.05]},
        {"name": "gripper", "kind": "binary", "threshold": 0.1},
    ],
}


def read(table: dict[str, Any]) -> Contract:
    return Contract.from_json(json.dumps(table), "task.toml")


def changed(path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """Return TABLE with one value replaced or added."""
    table = copy.deepcopy(TABLE)
    place: Any = table
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return table


def test_reads_what_the_table_says() -> None:
    contract = read(TABLE)
    assert contract.observation_dim == 7
    assert contract.action_dim == 4
    assert contract.observation[1].shape == (2, 2)
    assert contract.workspace_high == (0.7, 0.25, 0.5)
    motion, gripper = contract.action
    assert isinstance(motion, TcpDelta)
    assert (motion.frame, motion.anchor) == ("base", "measured")
    assert gripper == GripperAction(kind="binary", threshold=0.1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        contract.name = "other"  # type: ignore[misc]


def test_joint_actions_have_their_shape_by_default() -> None:
    table = changed(("action", 0), {"name": "joint_delta", "scale": [0.1] * 7})
    motion = read(table).action[0]
    assert motion == JointDelta(scale=(0.1,) * 7)
    assert read(table).action_dim == 8


def test_canonical_text_is_sorted_and_short() -> None:
    value = {"b": [1, 0.1, 1e-5, 1 / 3, 123456789.5, 1e20], "a": {"d": "x", "c": []}}
    assert canonical_json(value) == (
        '{"a":{"c":[],"d":"x"},"b":[1,0.1,1e-05,0.333333333,123456790,1e+20]}'
    )
    with pytest.raises(TypeError):
        canonical_json({"a": None})
    with pytest.raises(TypeError):
        canonical_json(True)


def test_a_contract_equals_the_one_read_from_its_text() -> None:
    contract = read(changed(("observation", 1, "high"), [1 / 3, 1.0000000001, 1e-5, 1]))
    again = Contract.from_json(contract.canonical_json())
    assert again == contract
    assert again.contract_id == contract.contract_id
    assert len(contract.contract_id) == 64


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("name",), "lift"),
        (("policy_rate_hz",), 20),
        (("workspace", "low"), [0.3, -0.25, 0.001]),
        (("observation", 0, "high"), [0.7, 0.25, 0.4]),
        (("action", 0, "anchor"), "target"),
        (("action", 1, "threshold"), 0.2),
        (("images",), [{"name": "wrist", "height": 64, "width": 64}]),
    ],
)
def test_every_change_gives_another_id(path: tuple[str | int, ...], value: Any) -> None:
    assert read(changed(path, value)).contract_id != read(TABLE).contract_id


def test_how_a_number_is_written_gives_no_other_id() -> None:
    table = changed(("policy_rate_hz",), 10.0)
    table["workspace"]["low"] = [0.3000, -0.25, -0.0]
    table["images"] = []
    assert read(table).contract_id == read(TABLE).contract_id


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("name",), "Reach!", ["name", "Reach!", "a-z"]),
        (("policy_rate",), 10, ["policy_rate", "did you mean 'policy_rate_hz'"]),
        (("policy_rate_hz",), 0, ["policy_rate_hz = 0", "from 1 to 1000"]),
        (("policy_rate_hz",), "10", ["policy_rate_hz", "number"]),
        (("policy_rate_hz",), True, ["policy_rate_hz = true", "number"]),
        (("policy_rate_hz",), float("nan"), ["policy_rate_hz", "number"]),
        (("policy_rate_hz",), 10**400, ["policy_rate_hz", "number"]),
        (("workspace",), [1, 2], ["workspace", "table"]),
        (("workspace", "low"), [0.3, -0.25], ["[workspace] low", "list of 3"]),
        (("workspace", "high"), [0.2, 0.25, 0.5], ["high[0]", "greater than low[0] = 0.3"]),
        (("observation",), [], ["observation", "at least one"]),
        (("observation",), {}, ["observation", "array of tables"]),
        (("observation", 0, "low"), [0.3, -0.25], ["observation[0]", "low", "3 numbers"]),
        (("observation", 0, "unit"), "mm", ["observation[0]", "unit", "m/s"]),
        (("observation", 0, "unit"), "rad", ["unit", '"m" for tcp_position']),
        (("observation", 0, "frame"), "tool", ["frame", '"base" for tcp_position']),
        (("observation", 0, "shape"), [4], ["shape", "[3] for tcp_position"]),
        (("observation", 1, "shape"), [0], ["shape", "from 1 to"]),
        (("observation", 1, "shape"), [4096, 4096], ["shape", "product"]),
        (("observation", 1, "shape"), [2.0, 2], ["shape", "integers"]),
        (("observation", 1, "dtype"), "float64", ["dtype", "float32"]),
        (("observation", 1, "name"), "noise", ["noise", "unique"]),
        (("observation", 1, "name"), "tcp_position", ["tcp_position"]),
        (("observation", 1, "high"), [1, 1, 1, 0], ["high[3] = 0"]),
        (("action", 0, "name"), "move", ["move", "tcp_delta"]),
        (("action", 0, "shape"), [4], ["shape", "3, 6"]),
        (("action", 0, "scale"), [0.05], ["scale", "3 numbers"]),
        (("action", 0, "scale"), [0.05, 0.05, -0.05], ["scale", "from 0"]),
        (("action", 0, "kind"), "binary", ["kind", "unknown key"]),
        (("action", 1, "kind"), "ternary", ["threshold", "binary"]),
        (("action", 1, "scale"), 0.5, ["scale", "continuous_delta"]),
        (("action", 1, "threshold"), 1.5, ["threshold = 1.5", "from 0 to 0.99"]),
        (("action",), [], ["action", "one of tcp_delta and joint_delta"]),
        (("images",), [{"name": "wrist", "height": 0, "width": 8}], ["height = 0"]),
    ],
)
def test_what_is_wrong_is_named(path: tuple[str | int, ...], value: Any, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        read(changed(path, value))
    for word in ["task.toml", *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"name": "reach"}', "[" * 100_000])
def test_text_that_is_no_contract_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        Contract.from_json(text)


names = st.from_regex(r"[a-z][a-z0-9_]{0,10}", fullmatch=True)
numbers = st.floats(-1e6, 1e6, allow_nan=False, width=64)


@st.composite
def contracts(draw: st.DrawFn) -> dict[str, Any]:
    """Draw the table of a valid contract."""
    reserved = {"noise", "action", *COMPUTED_FIELDS}
    fields = []
    for name in draw(st.sets(names.filter(lambda n: n not in reserved), min_size=1, max_size=4)):
        shape = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
        size = 1
        for dimension in shape:
            size *= dimension
        low = [draw(numbers) for _ in range(size)]
        width = draw(st.floats(1.0, 1e6))
        high = [value + width for value in low]
        fields.append({"name": name, "shape": shape, "unit": "1", "frame": ""})
        fields[-1] |= {"low": low, "high": high}
    scale = draw(st.lists(st.floats(0, 10), min_size=6, max_size=6))
    return {
        "name": draw(names),
        "policy_rate_hz": draw(st.floats(1, 1000)),
        "workspace": TABLE["workspace"],
        "observation": fields,
        "action": [{"name": "tcp_delta", "shape": [6], "scale": scale}],
    }


@given(contracts())
@settings(max_examples=60, deadline=None)
def test_text_and_id_survive_reading_back(table: dict[str, Any]) -> None:
    contract = read(table)
    again = Contract.from_json(contract.canonical_json())
    assert again == contract
    assert again.canonical_json() == contract.canonical_json()
