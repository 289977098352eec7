"""Recipe keys of precision, accumulation and distributional critics: what is refused, and built."""

from pathlib import Path

import pytest

from serl_rt.export.task import load_task
from serl_rt.export.toml_config import ConfigError
from serl_rt.learner.agents.build import build_agent
from serl_rt.learner.agents.sac import SACAgent
from serl_rt.learner.assemble import check_precision
from serl_rt.learner.networks.critic import DistributionalCritic
from serl_rt.learner.recipe import Recipe, load_recipe


def recipe(folder: Path, text: str) -> Recipe:
    path = folder / "mine.toml"
    path.write_text(text)
    return load_recipe(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '[training]\nprecision = "int8"',
            'precision = "int8": must be one of "float32", "bfloat16"',
        ),
        ("[training]\ngradient_accumulation = 3", "gradient_accumulation.*3.*batch_size = 256"),
        (
            "[agent]\nbc_weight = 0.1\n[training]\ngradient_accumulation = 2",
            "gradient_accumulation.*1 with bc_weight",
        ),
        (
            '[training]\nprecision = "float16"\ncompile = "on"',
            'precision.*float32 or bfloat16 with compile = "on"',
        ),
        ('[training]\nmatmul_precision = "low"', "matmul_precision.*low"),
        ("[agent]\nnum_atoms = 1", "num_atoms.*1"),
        (
            "[agent]\nnum_atoms = 51\nvalue_low = 3.0\nvalue_high = 3.0",
            "value_low.*below value_high = 3.0",
        ),
        (
            '[agent]\nkind = "drq"\nnum_atoms = 51\n[encoder]\ntype = "small"',
            r"num_atoms.*absent with an \[encoder\]",
        ),
    ],
)
def test_contradictions_are_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe(tmp_path, text)


def test_keys_reach_the_agent(tmp_path: Path) -> None:
    text = """
        [agent]
        num_atoms = 21
        value_low = -3.0
        value_high = 5.0
        [training]
        precision = "bfloat16"
        gradient_accumulation = 2
        cuda_graphs = false
    """
    agent = build_agent(recipe(tmp_path, text), load_task("reach").contract)
    assert isinstance(agent, SACAgent)
    assert isinstance(agent.critic, DistributionalCritic)
    assert agent.critic.atoms[0] == -3.0
    assert agent.critic.atoms[-1] == 5.0
    assert len(agent.critic.atoms) == 21
    assert agent.numerics.precision == "bfloat16"
    assert agent.numerics.accumulation == 2
    assert not agent.numerics.cuda_graphs


def test_float16_is_for_gpus() -> None:
    with pytest.raises(ConfigError, match='precision = "float16": not on --device cpu'):
        check_precision("float16", "cpu")
    check_precision("float16", "cuda:0")
    check_precision("bfloat16", "cpu")
