"""Writes one small frame of two cameras, and what a policy does on it.

    python tests/golden/frame/make_frame.py

The simulated cameras draw it, the replay keeps it, torch and ONNX Runtime (Python and C++) act
on it: the tests of each compare with these files, so that all of them see the same image. Run this
after an intended change of the scene, of the encoder or of the export.
"""

import dataclasses
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from serl_rt.export.contract import Contract
from serl_rt.export.task import load_task
from serl_rt.learner.agents.build import build_agent
from serl_rt.learner.agents.drq import DrQAgent
from serl_rt.learner.policy_export import make_exporter
from serl_rt.learner.recipe import load_recipe

FOLDER = Path(__file__).parent
SIDE = 12
SEED = 0


def write_task(folder: Path) -> Path:
    """Write the task with cameras of 12 x 12."""
    text = load_task("pick_cube_vision").path.read_text()
    text = text.replace("height = 72", f"height = {SIDE}").replace("width = 72", f"width = {SIDE}")
    path = folder / "pick_cube_vision.toml"
    path.write_text(text)
    return path


def draw(folder: Path) -> dict[str, NDArray[np.generic]]:
    """Return the first observation of an episode."""
    from serl_rt.sim.envs import SimArmEnv

    env = SimArmEnv(str(write_task(folder)))
    observation, _ = env.reset(seed=SEED)
    env.close()
    return dict(observation)


def frame(contract: Contract) -> dict[str, NDArray[np.uint8]]:
    """Return the images in the file, by camera."""
    data = np.fromfile(FOLDER / "frame.bin", np.uint8).reshape(-1, SIDE, SIDE, 3)
    return {image.name: row for image, row in zip(contract.images, data, strict=True)}


def make_agent(contract: Contract) -> DrQAgent:
    """Return an agent whose weights follow from their places."""
    recipe = load_recipe("drq_rlpd")
    assert recipe.encoder is not None
    recipe = dataclasses.replace(
        recipe,
        encoder=dataclasses.replace(
            recipe.encoder, type="convfast", crop=10, channels=4, bottleneck_dim=8
        ),
        training=dataclasses.replace(recipe.training, policy_average_rate=None),
        policy=dataclasses.replace(recipe.policy, hidden_dims=(8,)),
    )
    agent = build_agent(recipe, contract)
    assert isinstance(agent, DrQAgent)
    with torch.no_grad():
        for number, parameter in enumerate(agent.actor.parameters()):
            places = torch.arange(parameter.numel(), dtype=torch.float64)
            values = torch.sin(places * places + number).reshape(parameter.shape)
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 4
            parameter.copy_(values * (2.0 / fan_in) ** 0.5)
    return agent


def main() -> None:
    """Write every file."""
    with tempfile.TemporaryDirectory() as scratch:
        contract = load_task(write_task(Path(scratch))).contract
        observation = draw(Path(scratch))
    images = [observation[image.name] for image in contract.images]
    np.stack(images).tofile(FOLDER / "frame.bin")
    policy = make_exporter(make_agent(contract), contract, "golden").export(1, 0)
    (FOLDER / "policy.onnx").write_bytes(policy.model)
    (FOLDER / "contract.txt").write_text(contract.canonical_json() + "\n")
    from serl_rt.export.verify import OnnxPolicy

    fields = {f.name: observation[f.name][None] for f in contract.observation}
    seen = fields | {name: image[None] for name, image in frame(contract).items()}
    noise = np.zeros((1, contract.action_dim), np.float32)
    action = OnnxPolicy(policy.model, contract).act(seen, noise)
    state = np.concatenate([value.ravel() for value in fields.values()])
    with (FOLDER / "expected.txt").open("w") as stream:
        for row in (state, action.ravel()):
            stream.write(" ".join(f"{value:.9g}" for value in row) + "\n")


if __name__ == "__main__":
    sys.exit(main())
