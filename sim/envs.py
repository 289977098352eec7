"""The simulated arm as gymnasium environments: the C++ controller and physics, in simulated time.

One step is one policy period of the 1 kHz control loop: the same observation, action mapping,
impedance law and limits as on the robot.
"""

import os
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from serl_rt.controller._core import SimEnv
from serl_rt.controller.control import onnxruntime_library
from serl_rt.export.contract import Contract
from serl_rt.export.task import REWARDS, find_task
from serl_rt.export.toml_config import read_toml
from serl_rt.sim.rendering import SceneRenderer

ASSETS = Path(__file__).parent / "assets"
STATE = "state"
"""SERL's name for all fields in one vector."""
TICK_NS = 1_000_000
"""Period of the control loop [ns]."""

Observation = dict[str, NDArray[Any]]
"""Fields of the contract, float32; its images, uint8 (height, width, 3) RGB."""
Action = NDArray[np.float32]


def model_file(task: Path) -> Path:
    """Return the MJCF file of a task file that the controller has accepted."""
    table = read_toml(task)["sim"]
    return ASSETS / str(table.get("model", f"{table['task']}.xml"))


class SimArmEnv(gymnasium.Env[dict[str, Any], Action]):
    """A task of the simulated arm.

    Observations are a dict of the contract's fields in SI units and its images (gymnasium's
    `FlattenObservation` makes fields one vector). With `keys="serl"` they have the names of SERL's
    wrapper: all fields as one vector under `state`, and the images. Actions are the contract's, in
    [-1, 1]. An episode ends by `terminated` (success of a sparse task) or by `truncated` (time
    limit), never by both. `info` has `succeed`, the same as `is_success` for libraries that
    look for that name, and `grasp_penalty`: the task file's where the action changed the gripper's
    command, 0 elsewhere.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(
        self,
        task: str,
        reward: str | None = None,
        render_mode: str | None = None,
        camera: str = "overview",
        width: int = 640,
        height: int = 480,
        keys: str = "contract",
        reward_classifier: str | os.PathLike[str] | None = None,
    ) -> None:
        """Load a bundled task by name, or a task file by path.

        reward: "dense", "sparse" or "classifier" in place of the task file's. reward_classifier:
        the ONNX file (serl-rt classifier) that decides, in place of the task file's; success is
        then its answer. camera: one of the model's ("overview", "front", "wrist"); width and height
        of its picture in pixels. keys: "contract" or "serl".
        Raises ValueError naming the value and what is allowed.
        """
        if reward not in (None, *REWARDS):
            allowed = ", ".join(map(repr, REWARDS))
            raise ValueError(f"reward = {reward!r}: must be None or one of {allowed}")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode = {render_mode!r}: must be None or 'rgb_array'")
        if keys not in ("contract", "serl"):
            raise ValueError(f"keys = {keys!r}: must be 'contract' or 'serl'")
        path = find_task(task)
        self._core = SimEnv(
            path, reward or "", ASSETS, reward_classifier or "", onnxruntime_library()
        )
        self.contract = Contract.from_json(self._core.contract_json)
        self._joined = keys == "serl"
        self.observation_space = self._space()
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (self.contract.action_dim,), np.float32)
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "render_fps": round(self.contract.policy_rate_hz)}
        self._model = model_file(path)
        self._picture = (camera, width, height)
        self._renderer: SceneRenderer | None = None
        self._observation: Observation = {}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode; the objects' places follow from the seed, or from the one before."""
        super().reset(seed=seed)
        self._observation = self._core.reset(int(self.np_random.integers(2**63)))
        return self._named(self._observation), {}

    def step(self, action: Action) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Execute one action for one policy period.

        Raises ValueError if a component is not finite or outside [-1, 1].
        """
        self._observation, reward, terminated, truncated, success, penalty = self._core.step(action)
        info = {"succeed": success, "is_success": success, "grasp_penalty": penalty}
        return self._named(self._observation), reward, terminated, truncated, info

    @property
    def truth(self) -> dict[str, NDArray[np.float32]]:
        """What the task knows (`cube_position`), whether the contract shows it or not."""
        return self._core.truth

    @property
    def time_ns(self) -> int:
        """Time of the robot's clock [ns]; episodes do not set it back."""
        return int(self._core.ticks) * TICK_NS

    def render(self) -> NDArray[np.uint8] | None:
        """Return the camera's picture, (height, width, 3), or None without a render mode."""
        if self.render_mode is None:
            return None
        if self._renderer is None:
            self._renderer = SceneRenderer(self._model, *self._picture)
        return self._renderer.render(self._core.qpos, self._observation.get("goal_position"))

    def _space(self) -> gymnasium.spaces.Dict:
        box = gymnasium.spaces.Box
        fields = [  # pairs keep the contract's order; a dict would be sorted
            (field.name, box(-np.inf, np.inf, field.shape, np.float32))
            for field in self.contract.observation
        ]
        if self._joined:
            fields = [(STATE, box(-np.inf, np.inf, (self.contract.observation_dim,), np.float32))]
        images = [
            (image.name, box(0, 255, (image.height, image.width, 3), np.uint8))
            for image in self.contract.images
        ]
        return gymnasium.spaces.Dict([*fields, *images])

    def _named(self, observation: Observation) -> Observation:
        """Return an observation under the names that were asked for."""
        if not self._joined:
            return observation
        fields = [observation[field.name].ravel() for field in self.contract.observation]
        images = {image.name: observation[image.name] for image in self.contract.images}
        return {STATE: np.concatenate(fields), **images}

    def close(self) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
