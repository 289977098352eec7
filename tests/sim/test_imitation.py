"""Behaviour cloning of the scripted expert, judged in the simulated arm."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from serl_rt.learner.agents.bc import BCAgent
from serl_rt.learner.data.replay import ReplayBuffer
from serl_rt.learner.data.transitions import STATE, TransitionDecoder
from serl_rt.learner.evaluate import evaluate
from serl_rt.learner.imitation import clone
from serl_rt.learner.optim import OptimizerConfig
from serl_rt.sim.envs import Action, Observation, SimArmEnv
from serl_rt.sim.record import record_demonstrations

WANTED = 0.7


@pytest.mark.slow
def test_twenty_demonstrations_are_enough_to_pick_up_the_cube() -> None:
    env = SimArmEnv("pick_cube")
    decoder = TransitionDecoder(env.contract)
    transitions = decoder(record_demonstrations(env, episodes=20, noise=0.2, seed=0))
    demonstrations = ReplayBuffer.like(transitions, transitions.size)
    demonstrations.insert(transitions)
    # A fixed deviation makes the likelihood a squared error. With a learned one there are no
    # successes, probably because it grows where the expert is hard to follow, at the grasp, and so
    # takes the weight from just these steps.
    agent = BCAgent.create(
        {STATE: torch.zeros(1, env.contract.observation_dim)},
        torch.zeros(1, env.contract.action_dim),
        policy_network_kwargs={
            "hidden_dims": (256, 256),
            "activations": "relu",
            "use_layer_norm": False,
        },
        policy_kwargs={"std_parameterization": "fixed", "fixed_std": (0.3,)},
        optimizer=OptimizerConfig(1e-3),
    )
    clone(agent, demonstrations, 2000, 256, torch.Generator().manual_seed(0))

    def act(observation: Observation) -> Action:
        parts = [observation[f.name].reshape(1, -1) for f in env.contract.observation]
        state = torch.from_numpy(decoder.normaliser(np.concatenate(parts, axis=1)))
        action: Action = agent.sample_actions({STATE: state}, argmax=True)[0].numpy()
        return action

    judged = evaluate(env, act, 50, seed=1000)
    assert judged.success_rate >= WANTED, judged.success_interval()
