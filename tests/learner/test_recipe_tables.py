"""Recipes that set what their kind of agent never reads are refused, and only those."""

from pathlib import Path

import pytest

from serl_rt.export.toml_config import ConfigError
from serl_rt.learner.recipe import FOLDER, load_recipe

KINDS = {"sac", "drq", "hybrid", "bc", "vice"}
READERS = {"grasp_critic": "hybrid", "vice": "vice"}
LINES = {
    "grasp_critic": "hidden_dims = [8, 8]",
    "grasp_critic_optimizer": "learning_rate = 0.001",
    "vice": "hidden_dim = 8",
    "vice_optimizer": "learning_rate = 0.001",
}


@pytest.mark.parametrize("table", LINES)
def test_a_table_of_another_kind_is_named(table: str, tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    reader = READERS[table.removesuffix("_optimizer")]
    for kind in KINDS:
        encoder = "" if kind == "sac" else "[encoder]\ncrop = 64\n"
        path.write_text(f'[agent]\nkind = "{kind}"\n{encoder}[{table}]\n{LINES[table]}\n')
        if kind == reader:
            assert load_recipe(path).agent.kind == kind
            continue
        with pytest.raises(ConfigError) as refusal:
            load_recipe(path)
        key = LINES[table].split(" = ")[0]
        assert str(refusal.value).startswith(f"{path}: [{table}] {key} = ")
        assert str(refusal.value).endswith(f': must be absent for kind = "{kind}"')


def test_bundled_recipes_set_nothing_in_vain() -> None:
    kinds = {load_recipe(file.stem).agent.kind for file in FOLDER.glob("*.toml")}
    assert kinds == KINDS
