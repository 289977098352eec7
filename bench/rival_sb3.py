"""Critic updates/s of Stable-Baselines3's SAC: `python rival_sb3.py CRITICS UTD SECONDS`.

256x256 with tanh and no layer norm (it has none); the actor is updated with every critic update.
"""

import sys
import time

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import SAC


class Noise(gym.Env):  # type: ignore[type-arg]
    """Observations and rewards without a meaning, in the benchmark's sizes."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (18,), np.float32)
    action_space = gym.spaces.Box(-1.0, 1.0, (7,), np.float32)

    def reset(self, *, seed: int | None = None, options: object = None) -> tuple[np.ndarray, dict]:
        return self.observation_space.sample(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        return self.observation_space.sample(), 0.0, False, False, {}


def main() -> None:
    critics, utd, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    network = {"net_arch": [256, 256], "activation_fn": torch.nn.Tanh, "n_critics": critics}
    model = SAC("MlpPolicy", Noise(), policy_kwargs=network, learning_starts=0, device="cpu")
    fill(model)
    model.train(gradient_steps=utd, batch_size=256)
    count, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds:
        model.train(gradient_steps=utd, batch_size=256)
        count += utd
    print(count / spent)


def fill(model: SAC) -> None:
    """Put random transitions into the replay."""
    from stable_baselines3.common.logger import Logger

    model.set_logger(Logger(None, []))
    space, actions = Noise.observation_space, Noise.action_space
    for _ in range(2000):
        model.replay_buffer.add(
            space.sample()[None], space.sample()[None], actions.sample()[None],
            np.zeros(1), np.zeros(1), [{}],
        )  # fmt: skip


if __name__ == "__main__":
    main()
