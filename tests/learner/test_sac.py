"""SAC: its losses by hand, its gradients by differences, and that it learns."""

import numpy as np
import pytest
import torch
from point_mass import ACTION_DIM, HORIZON, STATE_DIM, PointMass
from torch import Tensor

from serl_rt.learner.agents.losses import target_values
from serl_rt.learner.agents.sac import SACAgent
from serl_rt.learner.data.batch import Batch, make_batch, map_batch
from serl_rt.learner.data.replay import ReplayBuffer
from serl_rt.learner.data.transitions import Transitions, bootstrap_masks
from serl_rt.learner.evaluate import evaluate
from serl_rt.learner.optim import OptimizerConfig

SMALL = {"hidden_dims": (16, 16)}


def make_agent(seed: int = 0, **settings: object) -> SACAgent:
    return SACAgent.create_states(
        torch.zeros(1, 5),
        torch.zeros(1, 2),
        critic_network_kwargs=SMALL,
        policy_network_kwargs=SMALL,
        seed=seed,
        **settings,
    )


def random_batch(size: int = 8, seed: int = 0) -> Batch:
    g = torch.Generator().manual_seed(seed)
    return Batch(
        observations=torch.randn(size, 5, generator=g),
        actions=torch.rand(size, 2, generator=g) * 2 - 1,
        next_observations=torch.randn(size, 5, generator=g),
        rewards=torch.randn(size, generator=g),
        masks=(torch.rand(size, generator=g) > 0.3).float(),
    )


class FixedDraws:
    """The same noise at every call of a kind."""

    def __init__(self, members: Tensor | None = None) -> None:
        self.members = members

    def normal(self, *shape: int) -> Tensor:
        generator = torch.Generator().manual_seed(7)
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(
            torch.get_default_dtype()
        )

    def integers(self, high: int, *shape: int) -> Tensor:
        assert self.members is not None
        return self.members


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_target_is_reward_where_an_episode_terminated() -> None:
    agent = make_agent()
    batch = random_batch()._replace(masks=torch.zeros(8))
    torch.testing.assert_close(target_values(agent, batch), batch.rewards)


def test_target_bootstraps_with_the_minimum_of_the_drawn_members() -> None:
    agent = make_agent(critic_ensemble_size=5, critic_subsample_size=2, discount=0.9)
    members = torch.tensor([3, 1])
    agent.draws = FixedDraws(members)
    batch = random_batch()
    noise = agent.draws.normal(8, 2)
    actions = agent.actor(batch.next_observations).sample(noise)
    all_qs = agent.target_critic(batch.next_observations, actions)
    expected = batch.rewards + 0.9 * batch.masks * torch.minimum(all_qs[3], all_qs[1])
    torch.testing.assert_close(target_values(agent, batch), expected)


@pytest.mark.parametrize("discounted", [False, True])
def test_entropy_backup_is_discounted_only_on_request(discounted: bool) -> None:
    plain = make_agent(discount=0.9)
    agent = make_agent(discount=0.9, backup_entropy=True, discount_entropy_backup=discounted)
    plain.draws = agent.draws = FixedDraws()
    batch = random_batch()
    _, log_probs = agent.actor(batch.next_observations).sample_and_log_prob(
        agent.draws.normal(8, 2)
    )
    factor = 0.9 * batch.masks if discounted else 1.0
    expected = target_values(plain, batch) - factor * agent.temperature() * log_probs
    torch.testing.assert_close(target_values(agent, batch), expected)


@pytest.mark.parametrize("name", ["actor", "critic", "temperature"])
def test_loss_gradients_agree_with_finite_differences(name: str, float64: None) -> None:
    agent = make_agent(critic_ensemble_size=2, bc_weight=0.3)
    agent.draws = FixedDraws()
    batch = map_batch(lambda t: t.double(), random_batch())
    batch = batch._replace(demonstrations=torch.tensor([1.0, 0.0] * 4))
    loss_function = agent.losses()[name]
    gradients = agent.state.gradients(name, loss_function(batch)[0])
    directions = torch.Generator().manual_seed(1)
    for parameter, gradient in zip(agent.state.networks[name].parameters(), gradients, strict=True):
        direction = torch.randn(parameter.shape, generator=directions)
        values = []
        for step in (1e-6, -2e-6):
            with torch.no_grad():
                parameter += step * direction
            values.append(float(loss_function(batch)[0].detach()))
        with torch.no_grad():
            parameter += 1e-6 * direction
        slope = (values[0] - values[1]) / 2e-6
        assert slope == pytest.approx(float((gradient * direction).sum()), rel=1e-5, abs=1e-8)


def test_temperature_rises_while_entropy_is_too_low() -> None:
    agent = make_agent(target_entropy=100.0, optimizers={"temperature": OptimizerConfig(1e-2)})
    before = float(agent.temperature().detach())
    agent.update(random_batch(), ("temperature",))
    assert float(agent.temperature().detach()) > before


def test_only_named_networks_change() -> None:
    agent = make_agent()
    before = {k: v.clone() for k, v in agent.state.networks.named_parameters()}
    agent.update_critics(random_batch())
    for name, parameter in agent.state.networks.named_parameters():
        assert torch.equal(parameter, before[name]) == (not name.startswith("critic")), name


def test_unused_optimizers_keep_their_momentum_moving_on_request() -> None:
    agent = make_agent(step_unused_optimizers=True)
    agent.update(random_batch())
    before = {k: v.clone() for k, v in agent.actor.named_parameters()}
    agent.update_critics(random_batch(seed=1))
    assert any(not torch.equal(v, before[k]) for k, v in agent.actor.named_parameters())
    assert agent.state.optimizers["actor"].count == 2


def test_high_utd_updates_critics_on_parts_then_the_actor_on_all() -> None:
    batch = random_batch(16)
    one = make_agent()
    one.update_high_utd(batch, utd_ratio=4)
    other = make_agent()
    for start in range(0, 16, 4):
        other.update_critics(map_batch(lambda t, s=start: t[s : s + 4], batch))
    other.update(batch, ("actor", "temperature"))
    for (name, a), b in zip(
        one.state.networks.named_parameters(), other.state.networks.parameters(), strict=True
    ):
        assert torch.equal(a, b), name
    with pytest.raises(ValueError, match="utd_ratio = 5 does not divide the batch of 16"):
        one.update_high_utd(batch, utd_ratio=5)


def test_high_utd_evaluates_a_policy_that_stays_the_same_once() -> None:
    """For the targets of all parts and the temperature; and once more for its own loss."""
    agent = make_agent()
    evaluated: list[int] = []
    agent.actor.network.register_forward_hook(lambda _m, _i, out: evaluated.append(len(out)))
    agent.update_high_utd(random_batch(16), utd_ratio=4)
    assert evaluated == [16, 16]
    # Momentum left over moves the actor between the parts.
    moving = make_agent(step_unused_optimizers=True)
    moving.actor.network.register_forward_hook(lambda _m, _i, out: evaluated.append(len(out)))
    moving.update_high_utd(random_batch(16), utd_ratio=4)
    assert evaluated[2:] == [4, 4, 4, 4, 16, 16]


@pytest.mark.parametrize("weight", ["bc_weight", "encoder_bc_weight"])
def test_imitation_needs_marked_demonstrations(weight: str) -> None:
    with pytest.raises(ValueError, match=r"imitation \(.*needs demonstrations"):
        make_agent(**{weight: 1.0}).update(random_batch())


def test_same_seed_same_agent_and_global_generator_untouched() -> None:
    state = torch.get_rng_state()
    a, b, c = make_agent(3), make_agent(3), make_agent(4)
    assert torch.equal(torch.get_rng_state(), state)
    for agent in (a, b, c):
        for seed in range(3):
            agent.update(random_batch(seed=seed))
    flat = [torch.cat([p.flatten() for p in x.state.networks.parameters()]) for x in (a, b, c)]
    assert torch.equal(flat[0], flat[1])
    assert not torch.equal(flat[0], flat[2])


def test_acting_is_deterministic_or_from_the_generator() -> None:
    agent = make_agent()
    observations = torch.randn(3, 5)
    torch.testing.assert_close(
        agent.sample_actions(observations, argmax=True),
        torch.tanh(agent.actor.mean_and_std(observations)[0]),
    )
    draws = [
        agent.sample_actions(observations, generator=torch.Generator().manual_seed(s))
        for s in (0, 0, 1)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    with pytest.raises(ValueError, match="generator"):
        agent.sample_actions(observations)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rewards": None}, "'rewards' is missing"),
        ({"rewards": [0.0, float("nan")]}, "rewards is not finite in row 1"),
        ({"actions": np.zeros((3, 2))}, "actions has shape"),
        ({"masks": np.zeros((2, 1))}, "masks has shape"),
    ],
)
def test_bad_batches_are_named(change: dict[str, object], message: str) -> None:
    columns: dict[str, object] = {
        "observations": np.zeros((2, 5)),
        "actions": np.zeros((2, 2)),
        "next_observations": np.zeros((2, 5)),
        "rewards": np.zeros(2),
        "masks": np.ones(2),
    }
    columns = {k: v for k, v in (columns | change).items() if v is not None}
    with pytest.raises(ValueError, match=message):
        make_batch(columns)


@pytest.mark.parametrize(
    "settings",
    [
        {"critic_ensemble_size": 2, "critic_subsample_size": 3},
        {"bc_weight": -1.0},
        {"encoder_bc_weight": -1.0},
    ],
)
def test_contradictory_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must"):
        make_agent(**settings)


def collect(agent: SACAgent, replay: ReplayBuffer, environment: PointMass, steps: int) -> None:
    """Interact and update once per step."""
    noise = torch.Generator().manual_seed(11)
    sampling = torch.Generator().manual_seed(12)
    state = environment.reset()
    for step in range(steps):
        action = agent.sample_actions(
            {"state": torch.from_numpy(state)[None]}, generator=noise
        ).numpy()
        following, reward, truncated, _ = environment.step(action[0])
        replay.insert(
            Transitions(
                {"state": state[None]},
                action,
                {"state": following[None]},
                np.array([reward], np.float32),
                bootstrap_masks(np.array([False]), np.array([truncated])),
                np.zeros(1, np.float32),
            )
        )
        state = environment.reset() if truncated else following
        if step >= 100:
            agent.update(replay.sample(64, sampling))


def test_learns_to_move_a_point_to_a_goal() -> None:
    agent = SACAgent.create_states(
        {"state": torch.zeros(1, STATE_DIM)},
        torch.zeros(1, ACTION_DIM),
        critic_network_kwargs={"hidden_dims": (64, 64), "activations": "relu"},
        policy_network_kwargs={"hidden_dims": (64, 64), "activations": "relu"},
        discount=0.9,
        temperature_init=0.1,
        optimizers={name: OptimizerConfig(1e-3) for name in ("actor", "critic", "temperature")},
    )
    spec = {"state": ((STATE_DIM,), torch.float32)}
    replay = ReplayBuffer(10_000, spec, ACTION_DIM)
    collect(agent, replay, PointMass(seed=0), 1500)
    assert success_rate(agent, episodes=20) >= 0.9


def success_rate(agent: SACAgent, episodes: int) -> float:
    """Share of episodes that end at the goal, acting without noise."""
    environment, successes = PointMass(seed=1), 0
    for _ in range(episodes):
        state = environment.reset()
        for _ in range(HORIZON):
            observations = {"state": torch.from_numpy(state)[None]}
            action = agent.sample_actions(observations, argmax=True).numpy()[0]
            state, _, _, success = environment.step(action)
        successes += success
    return successes / episodes


@pytest.mark.slow
def test_solves_pendulum() -> None:
    gymnasium = pytest.importorskip("gymnasium")
    environment = gymnasium.make("Pendulum-v1")
    network = {"hidden_dims": (128, 128), "activations": "relu"}
    agent = SACAgent.create_states(
        {"state": torch.zeros(1, 3)},
        torch.zeros(1, 1),
        critic_network_kwargs=network,
        policy_network_kwargs=network,
        discount=0.99,
        temperature_init=0.1,
        optimizers={name: OptimizerConfig(1e-3) for name in ("actor", "critic", "temperature")},
    )
    replay = ReplayBuffer(20_000, {"state": ((3,), torch.float32)}, 1)
    noise, sampling = (torch.Generator().manual_seed(seed) for seed in (1, 2))
    state, _ = environment.reset(seed=0)
    for step in range(6000):
        observations = {"state": torch.from_numpy(state)[None]}
        action = agent.sample_actions(observations, generator=noise).numpy()
        following, reward, terminated, truncated, _ = environment.step(2.0 * action[0])
        replay.insert(
            Transitions(
                {"state": state[None]},
                action,
                {"state": following[None]},
                np.array([reward / 10], np.float32),
                bootstrap_masks(np.array([terminated]), np.array([truncated])),
                np.zeros(1, np.float32),
            )
        )
        state = environment.reset()[0] if truncated else following
        if step >= 500:
            agent.update(replay.sample(256, sampling))

    def act(observation: np.ndarray) -> np.ndarray:
        observations = {"state": torch.from_numpy(observation)[None]}
        return 2.0 * agent.sample_actions(observations, argmax=True).numpy()[0]

    assert evaluate(environment, act, episodes=20, seed=100).mean_return >= -200
