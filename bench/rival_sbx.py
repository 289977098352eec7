"""Critic updates/s of SBX's SAC (JAX): `python rival_sbx.py CRITICS UTD SECONDS`.

256x256 with tanh, layer norm in the critics; the actor is updated once for UTD critic updates, on a
batch of 256. Runs in an environment of its own, without this project.
"""

import sys
import time

import flax.linen as nn
import gymnasium as gym
import jax
import numpy as np
from sbx import SAC
from stable_baselines3.common.logger import Logger


class Noise(gym.Env):
    """Observations and rewards without a meaning, in the benchmark's sizes."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (18,), np.float32)
    action_space = gym.spaces.Box(-1.0, 1.0, (7,), np.float32)

    def reset(self, *, seed=None, options=None):
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


def main() -> None:
    critics, utd, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    network = {
        "net_arch": [256, 256], "activation_fn": nn.tanh, "n_critics": critics, "layer_norm": True
    }  # fmt: skip
    model = SAC(
        "MlpPolicy", Noise(), policy_kwargs=network, learning_starts=0, policy_delay=utd,
        gradient_steps=utd,
    )  # fmt: skip
    model.set_logger(Logger(None, []))
    space, actions = Noise.observation_space, Noise.action_space
    for _ in range(2000):
        model.replay_buffer.add(
            space.sample()[None], space.sample()[None], actions.sample()[None],
            np.zeros(1), np.zeros(1), [{}],
        )  # fmt: skip
    for _ in range(3):
        model.train(batch_size=256, gradient_steps=utd)
    count, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds:
        model.train(batch_size=256, gradient_steps=utd)
        jax.block_until_ready(model.policy.qf_state.params)
        count += utd
    print(count / spent)


if __name__ == "__main__":
    main()
