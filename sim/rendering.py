"""Pictures of the simulated arm, drawn off screen."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

if "DISPLAY" not in os.environ:
    os.environ.setdefault("MUJOCO_GL", "egl")  # read when mujoco is imported


class SceneRenderer:
    """Draws a model at given positions through one of its cameras."""

    def __init__(self, mjcf: Path, camera: str, width: int, height: int) -> None:
        """Load the model; width and height in pixels.

        Raises ValueError if the model has no such camera.
        """
        import mujoco  # here, because only those who look need it

        self._model = mujoco.MjModel.from_xml_path(str(mjcf))
        cameras = [self._model.camera(i).name for i in range(self._model.ncam)]
        if camera not in cameras:
            raise ValueError(f"camera = {camera!r}: must be one of {', '.join(cameras)}")
        quality = self._model.vis.global_
        quality.offwidth, quality.offheight = width, height
        self._data = mujoco.MjData(self._model)
        self._forward = mujoco.mj_forward
        self._goal = next(
            (i for i in range(self._model.nbody) if self._model.body(i).name == "goal"), None
        )
        self._camera = camera
        self._renderer = mujoco.Renderer(self._model, height, width)

    def render(
        self, qpos: NDArray[np.float64], goal: NDArray[np.float32] | None = None
    ) -> NDArray[np.uint8]:
        """Return the picture, (height, width, 3), at qpos (nq,); the marker goes to goal (3,)."""
        self._data.qpos[:] = qpos
        if goal is not None and self._goal is not None:
            self._data.mocap_pos[self._model.body_mocapid[self._goal]] = goal
        self._forward(self._model, self._data)
        self._renderer.update_scene(self._data, self._camera)
        return np.asarray(self._renderer.render(), dtype=np.uint8)

    def close(self) -> None:
        """Free the graphics context."""
        self._renderer.close()
