"""Reference vectors of networks and optimizers: one check per name, for test_reference.py."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from serl_rt.learner.import_flax import load_flax
from serl_rt.learner.networks.critic import Critic, DistributionalCritic, ValueCritic
from serl_rt.learner.networks.mlp import MLP, MLPResNet
from serl_rt.learner.networks.states import StateEncoder
from serl_rt.learner.optim import OptimizerConfig, make_optimizer

Arrays = Mapping[str, NDArray[Any]]


def assert_close(actual: Tensor, expected: NDArray[Any], tolerance: float = 1e-5) -> None:
    """Equal up to `tolerance`, relative to the largest expected magnitude (at least 1)."""
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(actual.detach().numpy(), expected, rtol=0, atol=tolerance * scale)


def widths(arrays: Arrays, prefix: str) -> tuple[int, ...]:
    """Read the layer widths of an MLP off its biases."""
    names = (f"{prefix}/Dense_{i}/bias" for i in range(100))
    return tuple(arrays[name].shape[-1] for name in names if name in arrays)


def trunk(arrays: Arrays) -> MLP:
    inputs = arrays["params/network/Dense_0/kernel"].shape[0]
    return MLP(inputs, widths(arrays, "params/network"), activate_final=True)


def check_network(network: nn.Module, arrays: Arrays) -> None:
    load_flax(network, arrays, "params")
    inputs = [torch.from_numpy(arrays[name]) for name in ("in0", "in1") if name in arrays]
    outputs = network(*inputs)
    if isinstance(outputs, Tensor):
        outputs = (outputs,)
    for i, output in enumerate(outputs):
        assert_close(output, arrays[f"out{i}"])


def check_mlp(arrays: Arrays) -> None:
    hidden = widths(arrays, "params")
    norms = sum(name.endswith("/scale") for name in arrays)
    network = MLP(
        arrays["in0"].shape[-1],
        hidden,
        use_layer_norm=norms > 0,
        activate_final=norms == len(hidden),
    )
    check_network(network, arrays)


def check_mlp_resnet(arrays: Arrays) -> None:
    blocks = {name.split("/")[1] for name in arrays if "MLPResNetBlock_" in name}
    network = MLPResNet(
        arrays["in0"].shape[-1],
        arrays["out0"].shape[-1],
        num_blocks=len(blocks),
        hidden_dim=arrays["params/Dense_0/bias"].size,
        use_layer_norm="params/MLPResNetBlock_0/LayerNorm_0/scale" in arrays,
    )
    check_network(network, arrays)


def check_value_critic(arrays: Arrays) -> None:
    check_network(ValueCritic(StateEncoder(arrays["in0"].shape[-1]), trunk(arrays)), arrays)


def check_critic_many_actions(arrays: Arrays) -> None:
    check_network(Critic(StateEncoder(arrays["in0"].shape[-1]), trunk(arrays)), arrays)


def check_distributional_critic(arrays: Arrays) -> None:
    atoms = arrays["out1"].reshape(-1, arrays["out1"].shape[-1])[0]
    network = DistributionalCritic(
        StateEncoder(arrays["in0"].shape[-1]),
        trunk(arrays),
        q_low=float(atoms[0]),
        q_high=float(atoms[-1]),
        num_bins=len(atoms),
    )
    check_network(network, arrays)


def check_optimizer(arrays: Arrays, **settings: Any) -> None:
    parameter = torch.from_numpy(arrays["params"][0]).requires_grad_()
    optimizer = make_optimizer([parameter], 1e-2, **settings)
    for gradient, expected in zip(arrays["grads"], arrays["params"][1:], strict=True):
        rate = OptimizerConfig(1e-2, **settings).rate(optimizer.count)
        optimizer.step([torch.from_numpy(gradient)])
        assert optimizer.learning_rate == rate
        np.testing.assert_allclose(parameter.detach().numpy(), expected, rtol=0, atol=1e-6)


CHECKS: dict[str, Callable[[Arrays], None]] = {
    "mlp": check_mlp,
    "mlp_resnet": check_mlp_resnet,
    "value_critic": check_value_critic,
    "critic_many_actions": check_critic_many_actions,
    "distributional_critic": check_distributional_critic,
    "optimizer_constant": check_optimizer,
    "optimizer_warmup": partial(check_optimizer, warmup_steps=5),
    "optimizer_cosine": partial(check_optimizer, warmup_steps=4, cosine_decay_steps=12),
    "optimizer_decay_clip": partial(check_optimizer, weight_decay=0.1, clip_grad_norm=0.3),
}
