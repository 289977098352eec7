"""Behaviour cloning by recipe: exported as it acts, learning from corrections, refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from serl_rt.export.task import load_task
from serl_rt.export.toml_config import ConfigError
from serl_rt.export.verify import OnnxPolicy, make_probes
from serl_rt.learner.agents.bc import BCAgent
from serl_rt.learner.agents.build import build_agent
from serl_rt.learner.assemble import example_batch
from serl_rt.learner.data.intake import Intake
from serl_rt.learner.data.replay import ReplayBuffer
from serl_rt.learner.data.transitions import STATE, TransitionDecoder, observation_spec
from serl_rt.learner.policy_export import make_exporter
from serl_rt.learner.recipe import load_recipe

PIXELS = """
[agent]
kind = "bc"

[encoder]
crop = 64
"""


def make_agent(name: str, task: str) -> BCAgent:
    agent = build_agent(load_recipe(name), load_task(task).contract, seed=1)
    assert isinstance(agent, BCAgent)
    return agent


def test_what_is_exported_acts_as_the_agent_and_does_not_explore() -> None:
    contract = load_task("pick_cube").contract
    agent = make_agent("bc_state", "pick_cube")
    exporter = make_exporter(agent, contract, "bc_state")
    exporter.export(1, 0)
    for _ in range(20):
        agent.update(example_batch(contract, 64))
    policy = OnnxPolicy(exporter.export(2, 20).model, contract)
    assert exporter.full_exports == 0  # only weights were replaced
    probes = make_probes(contract, 20, seed=3)
    normalise = TransitionDecoder(contract).normaliser
    for row in range(len(probes)):
        observation, _ = probes.row(row)
        fields = [observation[field.name].reshape(-1) for field in contract.observation]
        state = torch.from_numpy(normalise(np.concatenate(fields)))[None]
        expected = agent.sample_actions({STATE: state}, argmax=True).numpy()
        quiet = policy.act(observation, np.zeros((1, contract.action_dim), np.float32))
        np.testing.assert_allclose(quiet, expected, atol=1e-4)
        noisy = policy.act(observation, np.ones((1, contract.action_dim), np.float32))
        assert np.array_equal(noisy, quiet)


def test_images_are_cloned_and_exported_too(tmp_path: Path) -> None:
    path = tmp_path / "bc_pixels.toml"
    path.write_text(PIXELS)
    contract = load_task("pick_cube_vision").contract
    agent = make_agent(str(path), "pick_cube_vision")
    assert agent.encoder is not None
    before = [p.clone() for p in agent.encoder.parameters()]
    _, info = agent.update(example_batch(contract, 4))
    assert np.isfinite(float(info["actor_loss"]))
    assert any(
        not torch.equal(a, b) for a, b in zip(before, agent.encoder.parameters(), strict=True)
    )
    make_exporter(agent, contract, "bc_pixels").export(1, 1)  # verified against what acts


def test_of_what_happens_only_corrections_are_learned_from() -> None:
    contract = load_task("pick_cube").contract
    replay = ReplayBuffer(100, observation_spec(contract), contract.action_dim)
    intake = Intake(TransitionDecoder(contract), replay, corrections_only=True)
    count = 6
    columns = {
        f"{group}/{field.name}": np.zeros((count, *field.shape), np.float32)
        for group in ("observation", "next_observation")
        for field in contract.observation
    }
    columns |= {
        "action": np.arange(count * contract.action_dim, dtype=np.float32).reshape(count, -1) / 100,
        "reward": np.zeros(count, np.float32),
        "terminated": np.zeros(count, np.uint8),
        "truncated": np.zeros(count, np.uint8),
        "intervention": np.array([0, 1, 1, 0, 1, 0], np.uint8),
        "evaluation": np.array([0, 0, 0, 0, 1, 1], np.uint8),
        "episode": np.zeros(count, np.uint32),
    }
    assert intake(columns, "a") == 4  # steps of the environment, which pace the updates
    assert len(replay) == 2
    seen = replay.sample(50, torch.Generator().manual_seed(0)).actions
    expected = torch.from_numpy(columns["action"][1:3])
    assert torch.equal(torch.unique(seen, dim=0), expected)


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ("training", 'precision = "bfloat16"'),
        ("training", 'compile = "on"'),
        ("agent", "num_atoms = 5"),
        ("agent", "discount = 0.9"),
        ("critic", "dropout_rate = 0.1"),
        ("critic_optimizer", "warmup_steps = 5"),
        ("temperature_optimizer", "warmup_steps = 5"),
        ("replay", "fold_truncation_into_terminal = true"),
        ("encoder", "share_encodings = true"),
        ("grasp_critic", "dropout_rate = 0.1"),
        ("vice_optimizer", "warmup_steps = 5"),
    ],
)
def test_what_cloning_cannot_do_is_named(table: str, line: str, tmp_path: Path) -> None:
    tables = {"agent": 'kind = "bc"'}
    tables[table] = f"{tables.get(table, '')}\n{line}"
    path = tmp_path / "r.toml"
    path.write_text("\n".join(f"[{name}]\n{body}" for name, body in tables.items()))
    with pytest.raises(ConfigError, match='kind = "bc"') as refusal:
        load_recipe(path)
    assert f"{path}: [{table}] {line}: must be " in str(refusal.value)


def test_high_utd_is_a_step_on_each_part() -> None:
    contract = load_task("pick_cube").contract
    one, other = make_agent("bc_state", "pick_cube"), make_agent("bc_state", "pick_cube")
    batch = example_batch(contract, 8)
    one.update_high_utd(batch, utd_ratio=2)
    for start in (0, 4):
        rows = slice(start, start + 4)
        other.update(
            batch._replace(
                observations={STATE: batch.observations[STATE][rows]}, actions=batch.actions[rows]
            )
        )
    for a, b in zip(one.actor.parameters(), other.actor.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(ValueError, match="utd_ratio = 3 does not divide the batch of 8"):
        one.update_high_utd(batch, utd_ratio=3)
