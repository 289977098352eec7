"""Networks: ensembles equal their members, distributions integrate, gradients are right."""

import math

import pytest
import torch
from torch import Tensor, nn

from serl_rt.learner.import_flax import flax_views, load_flax
from serl_rt.learner.networks.critic import (
    Critic,
    DistributionalCritic,
    categorical_projection,
    distributional_loss,
)
from serl_rt.learner.networks.distributions import (
    MultivariateNormalDiag,
    TanhMultivariateNormalDiag,
)
from serl_rt.learner.networks.ensemble import create_ensemble
from serl_rt.learner.networks.lagrange import LagrangeMultiplier
from serl_rt.learner.networks.mlp import MLP, MLPResNet, activation_function
from serl_rt.learner.networks.policy import Policy
from serl_rt.learner.networks.states import StateEncoder


def randomize(module: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return module


def copy_member(ensemble: nn.Module, single: nn.Module, member: int) -> nn.Module:
    views = {name: view[member].numpy() for name, view in flax_views(ensemble).items()}
    load_flax(single, views)
    return single


@pytest.mark.parametrize("layer_norm", [False, True])
def test_ensemble_equals_its_members_one_by_one(layer_norm: bool) -> None:
    options = {"use_layer_norm": layer_norm, "activations": "tanh", "activate_final": True}
    ensemble = randomize(create_ensemble(MLP, 3)(5, (8, 6), **options))
    x = torch.randn(4, 5)
    outputs = ensemble(x)
    assert outputs.shape == (3, 4, 6)
    for member in range(3):
        single = copy_member(ensemble, MLP(5, (8, 6), **options), member)
        torch.testing.assert_close(outputs[member], single(x))


def test_chosen_members_are_evaluated_in_their_order_with_repeats() -> None:
    network = MLP(7, (8, 8), use_layer_norm=True, activate_final=True, ensemble_size=4)
    critic = randomize(Critic(StateEncoder(5), network, ensemble_size=4))
    observations, actions = torch.randn(3, 5), torch.randn(3, 2)
    members = torch.tensor([2, 0, 2])
    everyone = critic(observations, actions)
    torch.testing.assert_close(critic(observations, actions, members=members), everyone[members])


def test_critic_of_many_actions_equals_one_at_a_time() -> None:
    network = MLP(7, (8, 8), activate_final=True, ensemble_size=2)
    critic = randomize(Critic(StateEncoder(5), network, ensemble_size=2))
    observations, actions = torch.randn(3, 5), torch.randn(3, 4, 2)
    values = critic(observations, actions)
    assert values.shape == (2, 3, 4)
    for i in range(4):
        torch.testing.assert_close(values[..., i], critic(observations, actions[:, i]))


def test_detached_features_stop_the_gradient_to_the_encoder() -> None:
    class Encoder(nn.Module):
        output_dim = 3

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(5, 3)

        def forward(self, x: Tensor, *, train: bool = False, stop_gradient: bool = False) -> Tensor:
            return self.layer(x)

    encoder = Encoder()
    critic = Critic(encoder, MLP(5, (4,), activate_final=True))
    actions = torch.randn(2, 2, requires_grad=True)
    loss = critic(torch.randn(2, 5), actions, detach_features=True).sum()
    gradient = torch.autograd.grad(
        loss, [actions, encoder.layer.weight], allow_unused=True, materialize_grads=False
    )
    assert gradient[0].abs().sum() > 0
    assert gradient[1] is None


def test_dropout_only_while_training() -> None:
    network = MLP(5, (64, 64), dropout_rate=0.5)
    x = torch.randn(2, 5)
    assert torch.equal(network(x), network(x))
    torch.manual_seed(0)
    assert not torch.equal(network(x, train=True), network(x, train=True))


def test_initialisation_is_xavier_uniform_with_zero_bias() -> None:
    torch.manual_seed(0)
    for size in (None, 5):
        network = MLP(200, (300, 300), ensemble_size=size)
        for layer in network.layers:
            inputs = 200 if layer is network.layers[0] else 300
            bound = math.sqrt(6 / (inputs + 300))
            assert layer.weight.abs().max() <= bound
            assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
            assert not layer.bias.any()


def test_residual_network_without_blocks_is_two_layers() -> None:
    network = MLPResNet(4, 3, num_blocks=0, hidden_dim=8, activations="relu")
    x = torch.randn(2, 4)
    torch.testing.assert_close(network(x), network.last(torch.relu(network.first(x))))


def test_unknown_activation_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"unknown activation 'sine'; choose from .*relu"):
        activation_function("sine")


def test_gaussian_density_agrees_with_torch() -> None:
    mean, std = torch.randn(6, 3), torch.rand(6, 3) + 0.1
    value = torch.randn(6, 3)
    expected = torch.distributions.Normal(mean, std).log_prob(value).sum(-1)
    torch.testing.assert_close(MultivariateNormalDiag(mean, std).log_prob(value), expected)


def test_squashed_density_integrates_to_one() -> None:
    grid = torch.linspace(-1, 1, 200_001, dtype=torch.float64)[1:-1]
    for mean, std in ((0.0, 0.5), (1.2, 0.4), (-0.5, 1.5)):
        parameters = torch.tensor([[mean]]).double(), torch.tensor([[std]]).double()
        density = TanhMultivariateNormalDiag(*parameters).log_prob(grid[:, None]).exp()
        assert torch.trapezoid(density, grid).item() == pytest.approx(1.0, abs=1e-3)


def test_squashed_log_prob_is_right_and_finite_next_to_the_bounds() -> None:
    magnitudes = [0.0, 0.5, 0.9, 0.999, 1 - 1e-4, 1 - 1e-5, 1 - 1e-6]
    actions = torch.tensor([[s * m] for m in magnitudes for s in (1.0, -1.0)])
    mean, std = torch.tensor([0.3]), torch.tensor([0.8])
    actual = TanhMultivariateNormalDiag(mean, std).log_prob(actions)
    exact = actions.double()
    raw = 0.5 * (torch.log1p(exact) - torch.log1p(-exact))
    gaussian = torch.distributions.Normal(mean.double(), std.double()).log_prob(raw)
    expected = (gaussian - torch.log1p(-exact.square())).squeeze(-1)
    assert actual.isfinite().all()
    torch.testing.assert_close(actual.double(), expected, rtol=1e-4, atol=1e-4)


def test_sampled_log_prob_stays_finite_where_tanh_saturates() -> None:
    mean = torch.tensor([[40.0, -40.0]], requires_grad=True)
    std = torch.tensor([[1.0, 1.0]], requires_grad=True)
    distribution = TanhMultivariateNormalDiag(mean, std)
    actions, log_prob = distribution.sample_and_log_prob(torch.tensor([[0.3, -2.0]]))
    assert actions.abs().max() <= 1.0
    gradients = torch.autograd.grad(log_prob.sum(), [mean, std])
    assert log_prob.isfinite().all()
    assert all(g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("stretched", [False, True])
def test_sampling_and_density_agree(stretched: bool) -> None:
    mean, std = torch.randn(5, 2).double(), (torch.rand(5, 2) + 0.2).double()
    bounds = (torch.tensor([-2.0, 0.0]).double(), torch.tensor([1.0, 3.0]).double())
    distribution = TanhMultivariateNormalDiag(mean, std, *(bounds if stretched else ()))
    actions, log_prob = distribution.sample_and_log_prob(torch.randn(5, 2).double())
    torch.testing.assert_close(distribution.log_prob(actions), log_prob)
    if stretched:
        assert (actions >= bounds[0]).all()
        assert (actions <= bounds[1]).all()


def test_log_prob_gradients_agree_with_finite_differences() -> None:
    noise = torch.randn(3, 2).double()
    actions = torch.tanh(torch.randn(3, 2)).double()

    def sampled(mean: Tensor, log_std: Tensor) -> Tensor:
        return TanhMultivariateNormalDiag(mean, log_std.exp()).sample_and_log_prob(noise)[1]

    def of_actions(mean: Tensor, log_std: Tensor) -> Tensor:
        return TanhMultivariateNormalDiag(mean, log_std.exp()).log_prob(actions)

    inputs = tuple(torch.randn(3, 2).double().requires_grad_() for _ in range(2))
    assert torch.autograd.gradcheck(sampled, inputs)
    assert torch.autograd.gradcheck(of_actions, inputs)


def make_policy(**options: object) -> Policy:
    network = MLP(5, (8,), activate_final=True)
    return Policy(StateEncoder(5), network, 2, **options)


@pytest.mark.parametrize("kind", ["exp", "softplus", "uniform", "fixed"])
def test_standard_deviations_are_clipped_and_scaled(kind: str) -> None:
    fixed = [3.0] if kind == "fixed" else None
    policy = make_policy(std_parameterization=kind, fixed_std=fixed, std_min=0.2, std_max=0.9)
    for parameter in policy.parameters():
        nn.init.constant_(parameter, 2.0)
    x = torch.randn(3, 5)
    _, std = policy.mean_and_std(x)
    assert std.shape == (3, 2)
    assert std.min() >= 0.2
    assert std.max() <= 0.9
    torch.testing.assert_close(policy(x, temperature=4.0).stddev(), 2 * std)


def test_fixed_std_only_for_fixed() -> None:
    with pytest.raises(ValueError, match="fixed_std"):
        make_policy(std_parameterization="fixed")
    with pytest.raises(ValueError, match="fixed_std"):
        make_policy(fixed_std=[0.1])


def test_joined_states_keep_their_order() -> None:
    encoder = StateEncoder.for_observations({"a": torch.zeros(1, 2), "b": torch.zeros(1, 3)})
    a, b = torch.randn(4, 2), torch.randn(4, 3)
    assert encoder.output_dim == 5
    torch.testing.assert_close(encoder({"b": b, "a": a}), torch.cat([a, b], -1))


@pytest.mark.parametrize("parameterization", ["softplus", "exp"])
@pytest.mark.parametrize("value", [1e-3, 0.01, 1.0, 30.0])
def test_multiplier_starts_at_its_value(parameterization: str, value: float) -> None:
    multiplier = LagrangeMultiplier(value, parameterization=parameterization)
    assert multiplier().item() == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize(
    ("constraint", "lhs", "rises"),
    [("geq", 0.0, True), ("geq", 2.0, False), ("leq", 0.0, False), ("leq", 2.0, True)],
)
def test_multiplier_rises_while_its_constraint_is_violated(
    constraint: str, lhs: float, rises: bool
) -> None:
    multiplier = LagrangeMultiplier(0.5, constraint=constraint)
    (slope,) = torch.autograd.grad(
        multiplier(lhs=torch.tensor(lhs), rhs=1.0), [multiplier.lagrange]
    )
    assert (-slope > 0) == rises


def test_multiplier_of_an_equality_is_free_and_others_positive() -> None:
    assert LagrangeMultiplier(-2.0, constraint="eq")().item() == -2.0
    with pytest.raises(ValueError, match="must be positive"):
        LagrangeMultiplier(-2.0)


def test_projection_keeps_mass_and_mean_inside_the_range() -> None:
    atoms = torch.linspace(-2, 3, 11)
    probabilities = torch.softmax(torch.randn(6, 11), -1)
    targets = 0.3 + 0.5 * atoms.expand(6, 11)
    projected = categorical_projection(atoms, probabilities, targets)
    torch.testing.assert_close(projected.sum(-1), torch.ones(6))
    torch.testing.assert_close((projected * atoms).sum(-1), (probabilities * targets).sum(-1))
    outside = categorical_projection(atoms, probabilities, torch.full((6, 11), 7.0))
    torch.testing.assert_close(outside[:, -1], torch.ones(6))


def test_distributional_critic_learns_a_distribution() -> None:
    torch.manual_seed(0)
    network = MLP(3, (16,), activate_final=True)
    critic = DistributionalCritic(StateEncoder(2), network, q_low=-1, q_high=1, num_bins=5)
    target = torch.tensor([0.0, 0.5, 0.0, 0.5, 0.0]).expand(4, 5)
    optimizer = torch.optim.Adam(critic.parameters(), 3e-2)
    x, a = torch.randn(4, 2), torch.randn(4, 1)
    for _ in range(300):
        optimizer.zero_grad()
        distributional_loss(critic(x, a)[0], target).backward()
        optimizer.step()
    torch.testing.assert_close(critic(x, a)[0].softmax(-1), target, atol=0.02, rtol=0)
