"""Export computes what torch does, however often weights change, and refuses what does not."""

import hashlib
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from serl_rt.export.contract import Contract
from serl_rt.export.normalise import Normaliser, concatenate
from serl_rt.export.onnx_graph import PolicyExporter
from serl_rt.export.policy_module import PolicyModule
from serl_rt.export.task import load_task
from serl_rt.export.verify import OnnxPolicy, PolicyRefused, make_probes

torch.set_num_threads(1)
CONTRACT = load_task("pick_cube").contract


class Actor(nn.Module):
    """The usual actor: layers with normalisation, two heads."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        inputs, actions = CONTRACT.observation_dim, CONTRACT.action_dim
        self.trunk = nn.Sequential(
            nn.Linear(inputs, width),
            nn.LayerNorm(width, eps=1e-6),
            nn.Tanh(),
            nn.Linear(width, width),
            nn.LayerNorm(width, eps=1e-6),
            nn.Tanh(),
        )
        self.mean = nn.Linear(width, actions)
        self.log_std = nn.Linear(width, actions)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.trunk(features)
        return self.mean(hidden), self.log_std(hidden).clamp(-5, 2).exp()


class TiedActor(Actor):
    """Two names for one tensor: the graph holds one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.log_std.weight = self.mean.weight


class IdleActor(Actor):
    """A parameter that nothing uses is not in the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(3))


class ConstantActor(Actor):
    """Writes a weight into the graph as a constant, which replacing weights would not change."""

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = super().forward(features)
        return mean + float(self.mean.bias.detach().sum()), std


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def shake(module: nn.Module) -> None:
    """Change every weight, as training does."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))


def torch_actions(module: nn.Module, contract: Contract, seed: int) -> np.ndarray:
    probes = make_probes(contract, 20, seed)
    observation = {name: torch.from_numpy(value) for name, value in probes.observation.items()}
    with torch.no_grad():
        actions: Tensor = module.eval()(observation, torch.from_numpy(probes.noise))
    return actions.numpy()


def onnx_actions(model: bytes, contract: Contract, seed: int) -> np.ndarray:
    policy = OnnxPolicy(model, contract)
    probes = make_probes(contract, 20, seed)
    return np.concatenate([policy.act(*probes.row(i)) for i in range(len(probes))])


@pytest.mark.parametrize("actor", [Actor, TiedActor, IdleActor, ConstantActor])
def test_exports_follow_the_training(actor: Callable[[], nn.Module]) -> None:
    module = PolicyModule(CONTRACT, actor())
    # Built from fresh weights: layers that are equal now must not be one in the graph.
    exporter = PolicyExporter(module, CONTRACT, "sac")
    previous = None
    for version in (1, 2, 3):
        policy = exporter.export(version, 100 * version)
        actions = onnx_actions(policy.model, CONTRACT, seed=5)
        np.testing.assert_allclose(actions, torch_actions(module, CONTRACT, 5), atol=1e-5)
        assert previous is None or np.abs(actions - previous).max() > 0.01
        previous = actions
        shake(module)
    # Replacing weights suffices, shared ones included; the others need the graph again.
    assert (exporter.full_exports == 0) == (actor in (Actor, TiedActor))


def test_a_policy_file_says_what_it_is() -> None:
    policy = PolicyExporter(PolicyModule(CONTRACT, Actor()), CONTRACT, "sac").export(7, 1234)
    assert policy.sha256 == hashlib.sha256(policy.model).hexdigest()
    assert (policy.version, policy.training_step, policy.recipe) == (7, 1234, "sac")
    metadata = OnnxPolicy(policy.model, CONTRACT).metadata
    assert metadata == {
        "contract": CONTRACT.canonical_json(),
        "contract_id": CONTRACT.contract_id,
        "version": "7",
        "training_step": "1234",
        "recipe": "sac",
    }


def test_equal_weights_give_equal_bytes() -> None:
    module = PolicyModule(CONTRACT, Actor())
    first = PolicyExporter(module, CONTRACT, "sac").export(1, 1)
    second = PolicyExporter(module, CONTRACT, "sac").export(1, 1)
    assert first == second


def test_exporting_does_not_change_the_module() -> None:
    module = PolicyModule(CONTRACT, Actor()).train()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    PolicyExporter(module, CONTRACT, "sac").export(1, 1)
    assert module.training
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())


def test_weights_that_are_not_finite_are_refused_and_the_next_export_works() -> None:
    module = PolicyModule(CONTRACT, Actor())
    exporter = PolicyExporter(module, CONTRACT, "sac")
    bias = module.actor.mean.bias
    assert isinstance(bias, Tensor)
    with torch.no_grad():
        bias[1] = float("nan")
    with pytest.raises(PolicyRefused, match="not finite"):
        exporter.export(1, 1)
    with torch.no_grad():
        bias[1] = 0.0
    exporter.export(2, 2)
    assert exporter.full_exports == 0


class Unbounded(nn.Module):
    """Forgets the tanh."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((1, CONTRACT.action_dim), 5.0))

    def forward(self, observation: dict[str, Tensor], noise: Tensor) -> Tensor:
        flat = torch.cat([value.flatten(1) for value in observation.values()], dim=1)
        return noise + self.weight + 0.0 * flat.sum()


class OneTooMany(Unbounded):
    """Gives another number of actions than the contract."""

    def forward(self, observation: dict[str, Tensor], noise: Tensor) -> Tensor:
        return torch.cat([torch.tanh(super().forward(observation, noise)), noise[:, :1]], dim=1)


@pytest.mark.parametrize(
    ("module", "reason"), [(Unbounded(), "beyond"), (OneTooMany(), "has shape")]
)
def test_modules_that_break_the_contract_are_refused(module: nn.Module, reason: str) -> None:
    with pytest.raises(PolicyRefused, match=reason):
        PolicyExporter(module, CONTRACT, "sac").export(1, 1)


def test_training_sees_the_same_features_as_the_policy() -> None:
    module = PolicyModule(CONTRACT, Actor())
    probes = make_probes(CONTRACT, 10)
    flat = concatenate(CONTRACT, probes.observation)
    np.testing.assert_allclose(
        module.normalise(torch.from_numpy(flat)).numpy(), Normaliser.of(CONTRACT)(flat), atol=1e-6
    )
    assert not module.normalise.state_dict()  # the contract fixes it: nothing to save


class ImageActor(nn.Module):
    """A small convolution beside the state."""

    def __init__(self, state: int, actions: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, stride=2)
        self.norm = nn.GroupNorm(2, 4)
        self.head = nn.Linear(4 + state, actions)
        self.log_std = nn.Parameter(torch.zeros(actions))

    def forward(self, features: Tensor, images: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        pixels = images["wrist"].permute(0, 3, 1, 2).float() / 255.0
        encoded = self.norm(self.convolution(pixels)).relu().mean(dim=(2, 3))
        mean = self.head(torch.cat([encoded, features], dim=1))
        return mean, self.log_std.exp().expand_as(mean)


def test_policies_with_images_are_exported() -> None:
    text = CONTRACT.canonical_json()
    text = text.replace('"images":[]', '"images":[{"height":16,"name":"wrist","width":12}]')
    contract = Contract.from_json(text)
    module = PolicyModule(contract, ImageActor(contract.observation_dim, contract.action_dim))
    exporter = PolicyExporter(module, contract, "drq")
    for version in (1, 2):
        policy = exporter.export(version, version)
        np.testing.assert_allclose(
            onnx_actions(policy.model, contract, seed=3),
            torch_actions(module, contract, 3),
            atol=1e-4,
        )
        shake(module)
    assert exporter.full_exports == 0
