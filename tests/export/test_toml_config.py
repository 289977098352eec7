"""The strict reader of TOML tables."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from serl_rt.export.toml_config import (
    ConfigError,
    Source,
    describe,
    parse_table,
    read_toml,
    setting,
)


@dataclass(frozen=True)
class Optimizer:
    kind: str = setting("adam", choices=("adam", "adamw"))
    rate: float = setting(3e-4, low=1e-8, high=1.0, unit="1/step")


@dataclass(frozen=True)
class Recipe:
    widths: tuple[int, ...] = setting(low=1)
    steps: int = setting(100, low=1)
    clip: float | None = setting(None, low=0.0)
    compile: bool = setting(False)
    optimizer: Optimizer = setting(Optimizer())


SOURCE = Source("recipe.toml", "agent")


def test_values_defaults_and_nested_tables() -> None:
    table = {"widths": [256, 256], "clip": 1, "optimizer": {"rate": 1e-3}}
    recipe = parse_table(Recipe, table, SOURCE)
    assert recipe == Recipe(widths=(256, 256), clip=1.0, optimizer=Optimizer(rate=1e-3))
    assert isinstance(recipe.clip, float)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "recipe.toml: [agent] widths is missing: must be a list of integers >= 1"),
        ({"width": [1]}, "recipe.toml: [agent] width: unknown key (did you mean 'widths'?)"),
        ({"widths": 256}, "[agent] widths = 256: must be a list of integers >= 1"),
        ({"widths": [256, 0]}, "[agent] widths = 0: must be a list of integers >= 1"),
        ({"widths": [256.0]}, "widths = 256.0: must be a list of integers"),
        ({"widths": [True]}, "widths = true: must be"),
        ({"widths": [1], "steps": 1.0}, "[agent] steps = 1.0: must be an integer >= 1"),
        ({"widths": [1], "compile": 1}, "compile = 1: must be true or false"),
        ({"widths": [1], "clip": -0.5}, "clip = -0.5: must be a finite number >= 0"),
        ({"widths": [1], "clip": float("inf")}, "clip = inf: must be a finite number"),
        ({"widths": [1], "optimizer": 3}, "[agent.optimizer] must be a table"),
        (
            {"widths": [1], "optimizer": {"kind": "sgd"}},
            '[agent.optimizer] kind = "sgd": must be one of "adam", "adamw"',
        ),
        (
            {"widths": [1], "optimizer": {"rate": 2}},
            "[agent.optimizer] rate = 2: must be a finite number from 1e-08 to 1 [1/step]",
        ),
    ],
)
def test_messages_say_what_and_where(table: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_table(Recipe, table, SOURCE)
    assert message in str(caught.value)


def test_words_for_what_is_allowed() -> None:
    assert describe(tuple[float, ...], {"length": 3, "unit": "m"}) == (
        "a list of 3 finite numbers [m]"
    )
    assert describe(float, {"high": 1.0}) == "a finite number <= 1"
    assert describe(bool, {}) == "true or false"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_toml(tmp_path / "none.toml")
    bad = tmp_path / "bad.toml"
    bad.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"bad\.toml: not valid TOML"):
        read_toml(bad)
