"""Policies on simulated cameras: one preprocessing from the environment to the exported graph."""

import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from serl_rt.export.task import find_task
from serl_rt.export.verify import OnnxPolicy
from serl_rt.learner.agents.build import build_agent
from serl_rt.learner.data.image_replay import ImageReplay
from serl_rt.learner.data.transitions import STATE, TransitionDecoder, observation_spec
from serl_rt.learner.policy_export import make_exporter
from serl_rt.learner.recipe import load_recipe
from serl_rt.sim.demo import Demo, Scenario, side_by_side
from serl_rt.sim.envs import SimArmEnv
from serl_rt.sim.expert import PickCubeExpert
from serl_rt.sim.record import run_episode, to_columns


def test_one_image_from_the_environment_to_the_exported_graph() -> None:
    """Rendered frames are the same bytes in the replay, and torch and ONNX act the same on them."""
    env = SimArmEnv("pick_cube_vision")
    assert all("cube" not in field.name for field in env.contract.observation)
    expert = PickCubeExpert(env.contract, 0.5, np.random.default_rng(0), env.truth)
    episodes = [run_episode(env, expert, seed, seed) for seed in range(2)]
    rows = [row for episode in episodes for row in episode]
    assert len(rows) == 100
    decoder = TransitionDecoder(env.contract)
    replay = ImageReplay(200, observation_spec(env.contract), env.contract.action_dim)
    replay.insert(decoder(to_columns(env, rows), "run"))
    batch = replay.take(torch.arange(100))
    for name in ("front", "wrist"):
        for prefix, observations in (
            ("observation", batch.observations),
            ("next_observation", batch.next_observations),
        ):
            rendered = np.stack([row[f"{prefix}/{name}"] for row in rows])
            np.testing.assert_array_equal(observations[name].numpy(), rendered)  # type: ignore[index]

    agent = build_agent(load_recipe("drq_rlpd"), env.contract, seed=3)
    policy = OnnxPolicy(make_exporter(agent, env.contract, "x").export(1, 0).model, env.contract)
    expected = agent.sample_actions(batch.observations, argmax=True).numpy()
    fields = [*(f.name for f in env.contract.observation), "front", "wrist"]
    noise = np.zeros((1, env.contract.action_dim), np.float32)
    acted = [policy.act({n: r[f"observation/{n}"][None] for n in fields}, noise)[0] for r in rows]
    assert np.abs(np.stack(acted) - expected).max() <= 1e-3
    assert np.ptp(expected, axis=0).max() > 0.01  # the images and states make a difference
    assert set(batch.observations) == {STATE, "front", "wrist"}  # type: ignore[arg-type]
    env.close()


def test_cameras_side_by_side() -> None:
    front, wrist = np.full((2, 3, 3), 9, np.uint8), np.full((1, 2, 3), 7, np.uint8)
    joined = side_by_side([front, wrist], scale=2)
    assert joined.shape == (4, 10, 3)
    assert (joined[:, :6] == 9).all()
    assert (joined[:2, 6:] == 7).all()


def test_episodes_of_the_random_task_look_different_but_follow_their_seed() -> None:
    env = SimArmEnv("pick_cube_vision_random")
    assert all("cube" not in field.name for field in env.contract.observation)
    seen = [env.reset(seed=seed)[0] for seed in (0, 1, 0)]
    for camera in ("front", "wrist"):
        first, second, again = (
            observation[camera].astype(np.float64).mean((0, 1)) for observation in seen
        )
        assert np.abs(first - second).max() > 10.0  # of 255: another table, light or cube
        np.testing.assert_allclose(first, again, atol=1.0)
    env.close()


@pytest.mark.slow
def test_smoke_demo_learns_to_pick_from_images(tmp_path: Path) -> None:
    """The loop of `make demo-vision` with images of 54 pixels and half the batch."""
    task = tmp_path / "pick_cube_vision_54.toml"
    text = find_task("pick_cube_vision").read_text()
    assert text.count("= 72\n") == 4
    task.write_text(text.replace("= 72\n", "= 54\n"))
    arguments = Namespace(
        task=str(task), reward="dense", seed=0, run=tmp_path / "run", episodes=20, noise=0.2,
        time_limit=900.0,
    )  # fmt: skip
    demo = Demo(arguments, Scenario("drq_rlpd_48", 20, 3, 2))
    demo.run()
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["success_rate"] >= 0.8
    assert summary["transitions_stored"] == summary["transitions_sent"] > 0
    assert summary["policies_swapped"] >= 5
    assert summary["policies_refused"] == 0
    with Image.open(tmp_path / "run" / "cameras.gif") as clip:
        assert clip.n_frames > 10  # type: ignore[attr-defined]
