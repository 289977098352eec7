"""Checkpoints and train states: everything comes back to the bit, nothing wrong gets in."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from serl_rt.learner.agents.sac import SACAgent
from serl_rt.learner.checkpoint import (
    CheckpointError,
    CheckpointFolder,
    load_checkpoint,
    save_checkpoint,
)
from serl_rt.learner.data.batch import Batch


def make_agent(hidden: int = 8, seed: int = 0) -> SACAgent:
    network = {"hidden_dims": (hidden, hidden), "dropout_rate": 0.1}
    return SACAgent.create_states(
        torch.zeros(1, 3),
        torch.zeros(1, 2),
        critic_network_kwargs=network,
        policy_network_kwargs=network,
        seed=seed,
    )


def batch(seed: int) -> Batch:
    g = torch.Generator().manual_seed(seed)
    vectors = [torch.randn(16, 3, generator=g), torch.tanh(torch.randn(16, 2, generator=g))]
    return Batch(
        vectors[0], vectors[1], torch.randn(16, 3, generator=g), torch.randn(16), torch.ones(16)
    )


def test_a_restored_agent_learns_on_to_the_bit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    agent = make_agent()
    for seed in range(5):
        agent.update(batch(seed))
    path = tmp_path / "agent.npz"
    save_checkpoint(path, {"recipe": "r"}, agent.state.arrays())
    dropout = torch.get_rng_state()
    for seed in range(5, 10):
        agent.update(batch(seed))

    other = make_agent(seed=9)
    other.state.load_arrays(load_checkpoint(path, {"recipe": "r"}).arrays)
    torch.set_rng_state(dropout)
    for seed in range(5, 10):
        other.update(batch(seed))
    expected = agent.state.arrays()
    for name, array in other.state.arrays().items():
        assert np.array_equal(array, expected[name]), name


def test_targets_and_moments_are_part_of_a_checkpoint() -> None:
    names = make_agent().state.arrays()
    for part in ("params/critic", "target/critic", "optimizer/actor/first", "generator", "step"):
        assert any(name.startswith(part) for name in names), part


def test_an_average_follows_its_network_and_comes_back() -> None:
    agent = make_agent()
    state = agent.state
    assert state.acting("actor") is agent.actor
    state.keep_averages(["actor"], 0.25)
    expected = [p.detach().clone() for p in agent.actor.parameters()]
    for seed in range(3):
        agent.update(batch(seed))
        state.move_averages()
        expected = [
            torch.lerp(old, p.detach(), 0.25)
            for old, p in zip(expected, agent.actor.parameters(), strict=True)
        ]
    average = state.acting("actor")
    assert average is not agent.actor
    for found, wanted in zip(average.parameters(), expected, strict=True):
        torch.testing.assert_close(found, wanted)

    other = make_agent(seed=9)
    other.state.keep_averages(["actor"], 0.25)
    with pytest.raises(ValueError, match="average/actor"):
        other.state.load_arrays(make_agent().state.arrays())
    other.state.load_arrays(state.arrays())
    again = other.state.acting("actor")
    for found, one in zip(again.parameters(), average.parameters(), strict=True):
        assert torch.equal(found, one)


def test_a_checkpoint_of_another_network_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"'params/actor.*' has shape \(8, 3\), expected \(6, 3\)"):
        make_agent(6).state.load_arrays(make_agent(8).state.arrays())
    arrays = make_agent().state.arrays()
    del arrays["optimizer/critic/count"]
    with pytest.raises(ValueError, match="'optimizer/critic/count' is missing"):
        make_agent().state.load_arrays(arrays)


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    save_checkpoint(path, {"recipe": "one"}, {"x": np.zeros(3)})
    with pytest.raises(CheckpointError, match="recipe is 'one', this run's is 'two'"):
        load_checkpoint(path, {"recipe": "two"})


@pytest.mark.parametrize("damage", ["truncated", "not an archive", "no header", "pickle"])
def test_damaged_files_are_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.npz"
    save_checkpoint(path, {}, {"x": np.zeros(1000)})
    match damage:
        case "truncated":
            path.write_bytes(path.read_bytes()[:1000])
        case "not an archive":
            path.write_bytes(b"nonsense")
        case "no header":
            np.savez(path, x=np.zeros(3))
        case "pickle":
            path.write_bytes(pickle.dumps({"x": 1}))
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        load_checkpoint(path, {})


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.npz"
    save_checkpoint(path, {}, {"x": np.arange(3)})

    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("serl_rt.learner.checkpoint.os.fsync", fail)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(path, {}, {"x": np.arange(4)})
    assert load_checkpoint(path, {}).arrays["x"].tolist() == [0, 1, 2]


def test_a_folder_keeps_the_newest(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "checkpoints", keep=2)
    assert folder.latest() is None
    for updates in (5, 50, 500, 12_345_678_901):
        folder.save(updates, {"updates": updates}, {})
    latest = folder.latest()
    assert latest is not None
    assert load_checkpoint(latest, {}).header["updates"] == 12_345_678_901
    assert len(folder.files()) == 2
