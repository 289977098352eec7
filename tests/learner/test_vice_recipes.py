"""VICE by recipe: goals out of demonstrations, their verdict as reward, refused by name."""

from __future__ import annotations

import dataclasses
import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from serl_rt.export.columns import DTYPES
from serl_rt.export.contract import Contract
from serl_rt.export.demonstrations import demonstration_columns, save_demonstrations
from serl_rt.export.task import load_task
from serl_rt.export.toml_config import ConfigError
from serl_rt.learner.agents.build import build_agent
from serl_rt.learner.agents.vice import ViceAgent
from serl_rt.learner.assemble import make_step
from serl_rt.learner.distributed import Ranks
from serl_rt.learner.draws import Generators
from serl_rt.learner.policy_export import make_exporter
from serl_rt.learner.recipe import Recipe, load_recipe
from serl_rt.learner.run_folder import RunFolder
from serl_rt.learner.update_step import NonFiniteLossError, UpdateStep

COUNT = 12  # transitions of the demonstrations


@pytest.fixture
def contract() -> Contract:
    """The task's, with smaller images."""
    table = json.loads(load_task("pick_cube_vision").contract.canonical_json())
    for image in table["images"]:
        image["height"] = image["width"] = 28
    return Contract.from_json(json.dumps(table))


def small_recipe(**vice: Any) -> Recipe:
    recipe = load_recipe("vice_pixels")
    assert recipe.encoder is not None
    return dataclasses.replace(
        recipe,
        encoder=dataclasses.replace(recipe.encoder, crop=24, channels=4),
        vice=dataclasses.replace(recipe.vice, **{"hidden_dim": 16, "bottleneck_dim": 16} | vice),
        training=dataclasses.replace(recipe.training, batch_size=8, critic_actor_ratio=2),
    )


def demonstrations(contract: Contract, successes: list[int]) -> dict[str, np.ndarray]:
    """One episode of random pictures; the steps `successes` succeed."""
    generator = np.random.default_rng(0)
    columns = {}
    for column in demonstration_columns(contract):
        shape = (1 if column.sparse else COUNT, *column.shape)
        columns[column.name] = np.zeros(shape, DTYPES[column.dtype])
        if "observation/" in column.name:
            values = generator.integers(0, 2 if len(shape) == 2 else 256, shape)
            columns[column.name][:] = values
    columns["step"] = np.arange(COUNT, dtype=np.uint32)
    columns["starts"][0] = 1
    columns["success"][successes] = 1
    columns["reward"][:] = 1e6  # nobody reads it
    return columns


def start(recipe: Recipe, contract: Contract, folder: Path, successes: list[int]) -> UpdateStep:
    """What `serl-rt learn` makes of these demonstrations, or a resumed run makes again."""
    save_demonstrations(folder / "demos.npz", demonstrations(contract, successes), contract)
    arguments = Namespace(demos=folder / "demos.npz", device="cpu", seed=3)
    step, _ = make_step(arguments, recipe, contract, RunFolder(folder), Ranks(0, 1))
    return step


def vice_of(step: UpdateStep) -> ViceAgent:
    assert isinstance(step.agent, ViceAgent)
    return step.agent


def test_goals_are_what_the_cameras_saw_after_successful_steps(
    contract: Contract, tmp_path: Path
) -> None:
    goals = vice_of(start(small_recipe(), contract, tmp_path, [4, 11])).goals
    assert goals is not None
    shown = demonstrations(contract, [])
    assert set(goals) == {"front", "wrist"}
    for camera, pictures in goals.items():
        np.testing.assert_array_equal(pictures, shown[f"next_observation/{camera}"][[4, 11]])


def test_demonstrations_without_success_or_none_are_refused(
    contract: Contract, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"none of its 12 transitions has success = 1"):
        start(small_recipe(), contract, tmp_path, [])
    arguments = Namespace(demos=None, device="cpu", seed=0)
    with pytest.raises(ConfigError, match="'vice_pixels' has goals in .*give --demos FILE"):
        make_step(arguments, small_recipe(), contract, RunFolder(tmp_path), Ranks(0, 1))


def test_the_classifier_learns_when_it_is_due_and_rewards_everything(
    contract: Contract, tmp_path: Path
) -> None:
    step = start(small_recipe(update_period=4), contract, tmp_path, [4, 11])
    agent, trained = vice_of(step), []
    for updates in (2, 4, 6, 8):
        before = agent.classifier.head.weight.clone()
        info = step(updates)
        trained.append(not torch.equal(before, agent.classifier.head.weight))
        assert ("vice_loss" in info) == ("vice_accuracy" in info) == trained[-1]
        assert 0.0 <= float(info["vice_rewards"]) <= 1.0
        assert all(np.isfinite(float(value)) for value in info.values())
        assert float(info["critic_loss"]) < 1e3  # of the demonstrations' million nothing is seen
    assert trained == [False, True, False, True]


def test_resuming_goes_on_to_the_bit(contract: Contract, tmp_path: Path) -> None:
    recipe = small_recipe(update_period=4)
    first = start(recipe, contract, tmp_path, [4, 11])
    for updates in (2, 4, 6):
        first(updates)
    arrays, generators = first.agent.state.arrays(), Generators(first.sampling).get()
    expected = [first(updates) for updates in (8, 10)]

    second = start(recipe, contract, tmp_path, [4, 11])
    second.agent.state.load_arrays(arrays)
    Generators(second.sampling).set(generators)
    again = [second(updates) for updates in (8, 10)]
    for ours, theirs in zip(expected, again, strict=True):
        assert {k: float(v) for k, v in ours.items()} == {k: float(v) for k, v in theirs.items()}
    ours, theirs = first.agent.state.arrays(), second.agent.state.arrays()
    assert all(np.array_equal(value, theirs[name]) for name, value in ours.items())


def test_a_classifier_that_is_not_finite_stops_with_its_batch(
    contract: Contract, tmp_path: Path
) -> None:
    step = start(small_recipe(update_period=1), contract, tmp_path, [4])
    with torch.no_grad():
        vice_of(step).classifier.head.bias.fill_(float("nan"))
    with pytest.raises(NonFiniteLossError, match="vice_loss is nan at update 2; its batch is in"):
        step(2)
    assert (tmp_path / "nonfinite_batch.npz").is_file()


def test_a_gradient_penalty_that_is_not_finite_stops_too(
    contract: Contract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = start(small_recipe(update_period=1), contract, tmp_path, [4])
    infinite = torch.tensor(torch.inf)
    monkeypatch.setattr("serl_rt.learner.agents.vice.gradient_penalty", lambda *_: infinite)
    with pytest.raises(NonFiniteLossError, match="vice_gradient_penalty is inf at update 2"):
        step(2)


def test_only_the_policy_is_exported(contract: Contract) -> None:
    """It is verified against the agent there; the classifier's weights stay here."""
    agent = build_agent(small_recipe(hidden_dim=4096), contract, seed=1)
    model = make_exporter(agent, contract, "vice").export(1, 0).model
    drq = dataclasses.replace(small_recipe(), agent=load_recipe("drq_rlpd_sparse").agent)
    same = make_exporter(build_agent(drq, contract, seed=1), contract, "drq").export(1, 0).model
    assert abs(len(model) - len(same)) < 1000


def test_a_task_without_images_is_refused() -> None:
    with pytest.raises(ValueError, match=r"learns from images.* pick_cube has no images"):
        build_agent(load_recipe("vice_pixels"), load_task("pick_cube").contract)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"encoder": None}, r'\[encoder\] type is missing: must be given for kind = "vice"'),
        ({"vice": "threshold = 1.0"}, r"\[vice\] threshold = 1.0: must be .*0.01.*0.99"),
        ({"vice": "update_period = 0"}, r"\[vice\] update_period = 0: must be an integer"),
        ({"vice": "label_smoothing = 1.0"}, r"\[vice\] label_smoothing = 1.0: must be"),
        ({"vice": "period = 3"}, r"\[vice\] period: unknown key"),
        ({"training": 'compile = "on"'}, r'compile = "on": must be off or auto with kind = "vice"'),
        ({"agent": "num_atoms = 5"}, r"num_atoms = 5: must be absent with an"),
        (
            {"encoder": 'type = "resnet-random"\ncached_crops = 2'},
            r'\[encoder\] cached_crops = 2: must be 0 with kind = "vice"',
        ),
    ],
)
def test_what_vice_cannot_do_is_named(
    tables: dict[str, str | None], message: str, tmp_path: Path
) -> None:
    contents = {"agent": "", "encoder": "crop = 64"} | tables
    contents["agent"] = f'kind = "vice"\n{contents["agent"]}'
    path = tmp_path / "r.toml"
    path.write_text("\n".join(f"[{n}]\n{c}" for n, c in contents.items() if c is not None))
    with pytest.raises(ConfigError, match=message) as refusal:
        load_recipe(path)
    assert str(path) in str(refusal.value)
