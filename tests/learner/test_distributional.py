"""Distributional SAC: its projection, its target, and that it learns."""

import numpy as np
import pytest
import torch
from point_mass import ACTION_DIM, STATE_DIM, PointMass
from test_sac import FixedDraws, collect, make_agent, random_batch, success_rate

from serl_rt.learner.agents.distributional import expected_values, target_distribution
from serl_rt.learner.agents.sac import SACAgent
from serl_rt.learner.data.replay import ReplayBuffer
from serl_rt.learner.networks.critic import categorical_projection
from serl_rt.learner.optim import OptimizerConfig

ATOMS = {"num_atoms": 21, "value_low": -5.0, "value_high": 5.0}


def project_by_hand(atoms: np.ndarray, mass: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Algorithm 1 of Bellemare et al. 2017, atom by atom."""
    spacing = atoms[1] - atoms[0]
    result = np.zeros_like(mass)
    for row in range(len(mass)):
        for p, z in zip(mass[row], places[row], strict=True):
            b = (np.clip(z, atoms[0], atoms[-1]) - atoms[0]) / spacing
            low, high = int(np.floor(b)), int(np.ceil(b))
            if low == high:
                result[row, low] += p
            else:
                result[row, low] += p * (high - b)
                result[row, high] += p * (b - low)
    return result


def test_projection_agrees_with_the_paper_atom_by_atom() -> None:
    generator = np.random.default_rng(0)
    atoms = np.linspace(-5.0, 5.0, 21)
    mass = generator.dirichlet(np.ones(21), size=6)
    places = generator.normal(0.0, 4.0, size=(6, 21))  # some beyond the ends
    projected = categorical_projection(*(torch.from_numpy(a) for a in (atoms, mass, places)))
    np.testing.assert_allclose(projected.numpy(), project_by_hand(atoms, mass, places), atol=1e-12)


def test_target_moves_the_member_with_the_least_mean() -> None:
    agent = make_agent(critic_ensemble_size=3, discount=0.9, **ATOMS)
    agent.draws = FixedDraws()
    batch = random_batch()
    target = target_distribution(agent, batch)
    torch.testing.assert_close(target.sum(-1), torch.ones(8))
    actions = agent.actor(batch.next_observations).sample(agent.draws.normal(8, 2))
    logits, atoms = agent.target_critic(batch.next_observations, actions)
    means = expected_values(logits, atoms).detach()
    for row in range(8):
        member = min(range(3), key=lambda i: float(means[i, row]))
        moved = batch.rewards[row] + 0.9 * batch.masks[row] * atoms[0, row]
        expected = (logits[member, row].softmax(-1) * moved.clamp(-5.0, 5.0)).sum()
        # Splitting mass between two atoms keeps its mean.
        torch.testing.assert_close((target[row] * atoms[0, row]).sum(), expected)


def test_where_an_episode_terminated_all_mass_is_at_the_reward() -> None:
    agent = make_agent(**ATOMS)
    batch = random_batch()._replace(masks=torch.zeros(8), rewards=torch.full((8,), 1.5))
    target = target_distribution(agent, batch)
    expected = torch.zeros(8, 21)
    expected[:, 13] = 1.0  # -5 + 13 * 0.5
    torch.testing.assert_close(target, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["actor", "critic"])
def test_gradients_reach_every_parameter(name: str) -> None:
    agent = make_agent(**ATOMS)
    loss, _ = agent.losses()[name](random_batch())
    for gradient in agent.state.gradients(name, loss):
        assert gradient.abs().max() > 0


def test_learns_to_move_a_point_to_a_goal() -> None:
    network = {"hidden_dims": (64, 64), "activations": "relu"}
    agent = SACAgent.create_states(
        {"state": torch.zeros(1, STATE_DIM)},
        torch.zeros(1, ACTION_DIM),
        critic_network_kwargs=network,
        policy_network_kwargs=network,
        discount=0.9,
        temperature_init=0.1,
        optimizers={name: OptimizerConfig(1e-3) for name in ("actor", "critic", "temperature")},
        num_atoms=51,
        value_low=-10.0,
        value_high=2.0,
    )
    replay = ReplayBuffer(10_000, {"state": ((STATE_DIM,), torch.float32)}, ACTION_DIM)
    collect(agent, replay, PointMass(seed=0), 1500)
    assert success_rate(agent, episodes=20) >= 0.9
