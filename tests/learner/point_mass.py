"""A tiny task for tests of learning: move a point to a goal. State [position - goal, velocity]."""

import numpy as np
from numpy.typing import NDArray

STATE_DIM, ACTION_DIM, HORIZON = 4, 2, 20


class PointMass:
    """A damped point in the plane; the reward is minus the distance, success within 0.1."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.reset()

    def reset(self) -> NDArray[np.float32]:
        self.offset = self.rng.uniform(-1, 1, 2)
        self.velocity = np.zeros(2)
        self.steps = 0
        return self.state()

    def state(self) -> NDArray[np.float32]:
        return np.concatenate([self.offset, self.velocity]).astype(np.float32)

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool]:
        """Return next state, reward, truncated, success; an episode never terminates."""
        self.velocity = 0.5 * self.velocity + 0.2 * np.clip(action, -1, 1)
        self.offset = self.offset + self.velocity
        self.steps += 1
        distance = float(np.linalg.norm(self.offset))
        return self.state(), -distance, self.steps >= HORIZON, distance < 0.1
