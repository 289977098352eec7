"""Hybrid agents by recipe: built from a contract, exported as one policy, refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from serl_rt.export.contract import Contract
from serl_rt.export.task import load_task
from serl_rt.export.toml_config import ConfigError
from serl_rt.export.verify import OnnxPolicy, make_probes
from serl_rt.learner.agents.build import build_agent
from serl_rt.learner.agents.hybrid import HybridAgent
from serl_rt.learner.assemble import example_batch
from serl_rt.learner.data.transitions import STATE, TransitionDecoder
from serl_rt.learner.policy_export import make_exporter
from serl_rt.learner.recipe import load_recipe

RECIPES = {"hybrid_state": "pick_cube", "hybrid_pixels": "pick_cube_vision"}


def make_agent(name: str, contract: Contract) -> HybridAgent:
    agent = build_agent(load_recipe(name), contract, seed=1)
    assert isinstance(agent, HybridAgent)
    return agent


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_exported_acts_as_the_agent(name: str) -> None:
    contract = load_task(RECIPES[name]).contract
    agent = make_agent(name, contract)
    exporter = make_exporter(agent, contract, name)
    exporter.export(1, 0)
    for _ in range(2):
        _, info = agent.update(example_batch(contract, 8))
    assert all(np.isfinite(float(value)) for value in info.values())
    with torch.no_grad():  # so that all commands occur
        agent.grasp_critic.head.bias.zero_()
    policy = OnnxPolicy(exporter.export(2, 2).model, contract)
    probes = make_probes(contract, 40, seed=3)
    normalise = TransitionDecoder(contract).normaliser
    commands = set()
    for row in range(len(probes)):
        observation, _ = probes.row(row)
        fields = [observation[field.name].reshape(-1) for field in contract.observation]
        seen: dict[str, Any] = {
            image.name: torch.from_numpy(observation[image.name]) for image in contract.images
        }
        seen[STATE] = torch.from_numpy(normalise(np.concatenate(fields)))[None]
        expected = agent.sample_actions(seen, argmax=True).numpy()
        action = policy.act(observation, np.zeros((1, contract.action_dim), np.float32))
        np.testing.assert_allclose(action, expected, atol=1e-4)
        noisy = policy.act(observation, np.ones((1, contract.action_dim), np.float32))
        assert noisy[0, -1] == action[0, -1]  # a command is not disturbed
        assert (noisy[0, :-1] != action[0, :-1]).all()
        commands.add(float(action[0, -1]))
    assert commands <= {-1.0, 0.0, 1.0}
    assert len(commands) > 1


def test_commands_are_read_with_the_controllers_threshold() -> None:
    contract = load_task("pick_cube").contract
    arms = make_agent("hybrid_state", contract).arms
    actions = torch.zeros(4, contract.action_dim)
    actions[:, -1] = torch.tensor([-0.11, -0.09, 0.09, 0.11])
    assert arms.command_index(actions).tolist() == [0, 1, 1, 2]


def test_a_task_without_gripper_commands_is_refused() -> None:
    table = json.loads(load_task("pick_cube").contract.canonical_json())
    table["action"] = table["action"][:1]
    with pytest.raises(ValueError, match="last action of the task pick_cube is tcp_delta"):
        build_agent(load_recipe("hybrid_state"), Contract.from_json(json.dumps(table)))
    with pytest.raises(ValueError, match=r"has no \[encoder\]|learns from states"):
        build_agent(load_recipe("hybrid_state"), load_task("pick_cube_vision").contract)


@pytest.mark.parametrize(
    ("table", "line", "named"),
    [
        ("training", 'precision = "bfloat16"', 'precision = "bfloat16"'),
        ("training", "gradient_accumulation = 2", "gradient_accumulation = 2"),
        ("training", 'compile = "on"', 'compile = "on"'),
        ("agent", "num_atoms = 51", "num_atoms = 51"),
    ],
)
def test_what_hybrid_agents_cannot_do_is_named(
    table: str, line: str, named: str, tmp_path: Path
) -> None:
    path = tmp_path / "r.toml"
    tables = {"agent": 'kind = "hybrid"', "training": ""}
    tables[table] += f"\n{line}"
    path.write_text("\n".join(f"[{name}]\n{body}" for name, body in tables.items()))
    with pytest.raises(ConfigError) as refusal:
        load_recipe(path)
    assert named in str(refusal.value)
    assert "hybrid" in str(refusal.value)


def test_a_checkpoint_brings_everything_back() -> None:
    contract = load_task("pick_cube").contract
    recipe = load_recipe("hybrid_state")
    agent, other = (build_agent(recipe, contract, seed=seed) for seed in (1, 2))
    batch = example_batch(contract, 8)
    agent.update(batch)
    other.state.load_arrays(agent.state.arrays())
    _, ours = agent.update(batch)
    _, theirs = other.update(batch)
    assert {k: float(v) for k, v in ours.items()} == {k: float(v) for k, v in theirs.items()}
