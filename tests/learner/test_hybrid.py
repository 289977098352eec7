"""Hybrid agents: the gripper's commands, what is trained by what, and that both parts learn."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scenes import squares
from torch import Tensor

from serl_rt.learner.agents.drq import PixelConfig
from serl_rt.learner.agents.hybrid import Arms, HybridAgent
from serl_rt.learner.data.batch import Batch
from serl_rt.learner.optim import OptimizerConfig
from serl_rt.learner.vision.build import EncoderConfig

SMALL = {"hidden_dims": (32, 32)}
SEEING = EncoderConfig("convfast", ("front",), stack=None)


def state_batch(action_dim: int = 7, count: int = 16) -> Batch:
    states = torch.randn(count, 5)
    actions = torch.rand(count, action_dim) * 2 - 1
    rewards, penalty = torch.randn(count), -0.02 * torch.ones(count)
    return Batch(states, actions, torch.randn(count, 5), rewards, torch.ones(count), penalty)


def make_agent(observations: Any, actions: Tensor, **options: Any) -> HybridAgent:
    return HybridAgent.create(
        observations,
        actions,
        critic_network_kwargs=SMALL,
        grasp_critic_network_kwargs=SMALL,
        policy_network_kwargs=SMALL,
        **options,
    )


def test_layouts() -> None:
    single, dual = Arms(7), Arms(14, 2)
    assert (single.continuous, single.grippers) == ([0, 1, 2, 3, 4, 5], [6])
    assert (dual.continuous, dual.grippers) == ([*range(6), *range(7, 13)], [6, 13])
    assert (single.num_commands, dual.num_commands) == (3, 9)
    actions = torch.zeros(3, 14)
    actions[:, 6], actions[:, 13] = torch.tensor([-1.0, 1, 0.4]), torch.tensor([-0.9, 0, 1])
    assert dual.command_index(actions).tolist() == [0, 7, 5]  # 3 * left + right
    for bad in ((7, 2), (1, 1), (7, 3)):
        with pytest.raises(ValueError, match=r"arms"):
            Arms(*bad)


@given(arms=st.sampled_from([1, 2]), index=st.integers(0, 8))
def test_joining_and_reading_a_command_are_inverse(arms: int, index: int) -> None:
    layout = Arms(4 * arms, arms)
    index %= layout.num_commands
    continuous = torch.rand(1, len(layout.continuous))
    actions = layout.join(continuous, torch.tensor([index]))
    assert layout.command_index(actions).tolist() == [index]
    assert torch.equal(actions[:, layout.continuous], continuous)
    assert actions[:, layout.grippers].abs().max() <= 1


def test_grasp_target_is_double_dqn_with_penalty_and_mask() -> None:
    torch.manual_seed(0)
    batch = state_batch()
    batch = batch._replace(masks=(torch.arange(16) % 2).float())
    agent = make_agent(batch.observations, batch.actions)
    target_critic = agent.state.targets["grasp_critic"]
    with torch.no_grad():
        for parameter in target_critic.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))  # online and target now disagree
        online, target = (
            agent.grasp_critic(batch.next_observations),
            target_critic(batch.next_observations),
        )
        taken = agent.grasp_critic(batch.observations)
    assert (online.argmax(1) != target.argmax(1)).any()
    expected = 0.0
    for i in range(16):
        y = batch.rewards[i] + batch.grasp_penalty[i]  # type: ignore[index]
        y = y + 0.97 * batch.masks[i] * target[i, online[i].argmax()]
        column = int(batch.actions[i, 6].round()) + 1
        expected += float((taken[i, column] - y) ** 2) / 16
    loss, _ = agent.grasp_critic_loss(batch)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)


def test_networks_left_out_stay() -> None:
    batch = state_batch(14)
    agent = make_agent(batch.observations, batch.actions, arms=2)
    before = {n: p.clone() for n, p in agent.state.networks.named_parameters()}
    agent.update_critics(batch)
    moved = {
        n.split(".")[0]
        for n, p in agent.state.networks.named_parameters()
        if not torch.equal(p, before[n])
    }
    assert moved == {"critic", "grasp_critic"}
    assert agent.sac.target_entropy == -7.0
    with pytest.raises(ValueError, match="unknown vice; choose actor, critic, grasp_critic"):
        agent.update(batch, ("vice",))


def test_penalty_is_required_and_only_the_grippers_business() -> None:
    batch = state_batch()
    infos = []
    for penalty in (0.0, -0.5):
        agent = make_agent(batch.observations, batch.actions)
        _, info = agent.update(batch._replace(grasp_penalty=torch.full((16,), penalty)))
        infos.append(info)
    assert float(infos[0]["target_qs"]) == float(infos[1]["target_qs"])
    difference = float(infos[0]["target_grasp_qs"]) - float(infos[1]["target_grasp_qs"])
    assert difference == pytest.approx(0.5, abs=1e-5)
    with pytest.raises(ValueError, match="'grasp_penalty' is missing"):
        agent.update(batch._replace(grasp_penalty=None))


@pytest.mark.parametrize("share", [False, True])
def test_both_critics_train_the_shared_encoder_and_its_target_moves_once(share: bool) -> None:
    labels = torch.arange(16) % 4
    observations = {"front": squares(labels), "state": torch.randn(16, 2)}
    batch = state_batch(4)._replace(observations=observations, next_observations=observations)
    example = {key: value[:1] for key, value in observations.items()}
    agent = make_agent(
        example, batch.actions, encoder=SEEING, pixels=PixelConfig(share_encodings=share)
    )
    conv = agent.encoder.encoders["front"].trunk.convs[0].weight  # type: ignore[union-attr,index]
    targets = [
        agent.state.targets[name].encoder.encoders["front"].trunk.convs[0].weight
        for name in ("critic", "grasp_critic")
    ]
    target = targets[0]
    assert targets[1] is target
    for network in ("critic", "grasp_critic"):
        before, old = conv.detach().clone(), target.clone()
        agent.update(batch, (network,))
        assert not torch.equal(conv, before)
        expected = old + 0.005 * (conv - old) if network == "critic" else old
        assert torch.allclose(target, expected, atol=1e-7)
    before = conv.detach().clone()
    agent.update(batch, ("actor", "temperature"))
    assert torch.equal(conv, before)
    _, info = agent.update_high_utd(batch, utd_ratio=2)
    assert {"critic_loss", "grasp_critic_loss", "actor_loss", "temperature_loss"} <= set(info)


def test_learns_an_arm_and_a_gripper_together() -> None:
    """One step: move to s with the arm, close where s > 0 and open elsewhere."""
    torch.manual_seed(0)
    fast = {n: OptimizerConfig(3e-3) for n in ("actor", "critic", "grasp_critic", "temperature")}
    agent = make_agent(torch.zeros(1, 1), torch.zeros(1, 2), optimizers=fast)
    for _ in range(300):
        states = torch.rand(64, 1) * 2 - 1
        actions = torch.cat((torch.rand(64, 1) * 2 - 1, torch.randint(-1, 2, (64, 1))), dim=1)
        right = actions[:, 1] == -states[:, 0].sign()
        rewards = right.float() - (actions[:, 0] - states[:, 0]).abs()
        zeros = torch.zeros(64)
        agent.update(Batch(states, actions, states, rewards, zeros, zeros))
    states = torch.linspace(-0.9, 0.9, 40)[:, None]
    actions = agent.sample_actions(states, argmax=True)
    assert (actions[:, :1] - states).abs().mean() < 0.25
    assert (actions[:, 1] == -states[:, 0].sign()).float().mean() >= 0.9
