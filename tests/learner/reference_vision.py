"""Reference vectors of encoders and augmentations: one check per name, for test_reference.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from reference_agents import (
    GradientLog,
    RecordedDraws,
    batch_of,
    check_infos,
    check_parameters,
    load_networks,
)
from reference_networks import widths

from serl_rt.learner import import_flax_pixels  # noqa: F401 - the encoders' names
from serl_rt.learner.agents.bc import BCAgent
from serl_rt.learner.agents.drq import DrQAgent, PixelConfig
from serl_rt.learner.agents.hybrid import HYBRID_NETWORKS, HybridAgent
from serl_rt.learner.import_flax import load_flax
from serl_rt.learner.networks.contrastive import ContrastiveCritic
from serl_rt.learner.networks.mlp import MLP
from serl_rt.learner.networks.states import StateEncoder
from serl_rt.learner.vision.augment import shift_crop
from serl_rt.learner.vision.build import EncoderConfig
from serl_rt.learner.vision.encoder import Encoder
from serl_rt.learner.vision.pooling import Head, Pooling
from serl_rt.learner.vision.resnet import ResNetTrunk
from serl_rt.learner.vision.trunk import ConvLayer, ConvTrunk, Trunk

Arrays = Mapping[str, NDArray[Any]]

IMAGE_TOLERANCE = 1e-4


def subtree(arrays: Arrays, prefix: str) -> dict[str, NDArray[Any]]:
    """The arrays under `prefix`, without it."""
    return {name[len(prefix) :]: a for name, a in arrays.items() if name.startswith(prefix)}


def assert_close(actual: torch.Tensor, expected: NDArray[Any], tolerance: float) -> None:
    """Equal up to `tolerance`, relative to the largest expected magnitude."""
    scale = float(np.abs(expected).max()) or 1.0
    np.testing.assert_allclose(actual.detach().numpy(), expected, rtol=0, atol=tolerance * scale)


def _check_encoder(
    arrays: Arrays, trunk: Trunk, pooling: Pooling, spatial_features: int = 8
) -> None:
    parameters = subtree(arrays, "params/")
    images = torch.from_numpy(arrays["in0"])
    kernel = parameters.get("Dense_0/kernel")
    head = Head(
        trunk.feature_shape(*images.shape[1:3]),
        pooling=pooling,
        bottleneck_dim=None if kernel is None else kernel.shape[1],
        spatial_features=spatial_features,
    )
    encoder = Encoder(trunk, head)
    load_flax(encoder, parameters)
    condition = arrays.get("kw_cond_var")
    output = encoder(images, condition=None if condition is None else torch.from_numpy(condition))
    assert_close(output, arrays["out0"], IMAGE_TOLERANCE)


def _resnet(arrays: Arrays, stages: tuple[int, ...] = (1, 1, 1, 1), **options: Any) -> ResNetTrunk:
    filters = arrays["params/conv_init/kernel"].shape[-1]
    return ResNetTrunk(stages, base_filters=filters, **options)


def check_resnet10_avg(arrays: Arrays) -> None:
    _check_encoder(arrays, _resnet(arrays), "avg")


def check_resnet10_max(arrays: Arrays) -> None:
    _check_encoder(arrays, _resnet(arrays), "max")


def check_resnet10_spatial_softmax(arrays: Arrays) -> None:
    _check_encoder(arrays, _resnet(arrays), "spatial_softmax")


def check_resnet10_spatial_learned_embeddings(arrays: Arrays) -> None:
    features = arrays["params/SpatialLearnedEmbeddings_0/kernel"].shape[-1]
    _check_encoder(arrays, _resnet(arrays), "spatial_learned_embeddings", features)


def check_resnet10_prepool(arrays: Arrays) -> None:
    trunk = _resnet(arrays)
    encoder = Encoder(trunk, Head(arrays["out0"].shape[1:], pooling="none"))
    load_flax(encoder, arrays, "params")
    assert_close(encoder.features(torch.from_numpy(arrays["in0"])), arrays["out0"], IMAGE_TOLERANCE)


def check_resnet18_coords(arrays: Arrays) -> None:
    _check_encoder(arrays, _resnet(arrays, (2, 2, 2, 2), coordinates=True), "avg")


def check_resnet_bottleneck_film(arrays: Arrays) -> None:
    dim = arrays["kw_cond_var"].shape[1]
    options = {"bottleneck_blocks": True, "conditioning": "film", "condition_dim": dim}
    _check_encoder(arrays, _resnet(arrays, (1, 1), **options), "avg")


def _convs(arrays: Arrays, padding: Any) -> ConvTrunk:
    layers = [f"params/Conv_{i}/kernel" for i in range(len(arrays))]
    channels = [arrays[layer].shape[-1] for layer in layers if layer in arrays]
    return ConvTrunk([ConvLayer(n, stride=2, padding=padding) for n in channels])


def check_small_encoder_avg(arrays: Arrays) -> None:
    _check_encoder(arrays, _convs(arrays, "valid"), "avg")


def check_small_encoder_sle(arrays: Arrays) -> None:
    features = arrays["params/SpatialLearnedEmbeddings_0/kernel"].shape[-1]
    _check_encoder(arrays, _convs(arrays, 1), "spatial_learned_embeddings", features)


def check_random_crop(arrays: Arrays) -> None:
    images, offsets = torch.from_numpy(arrays["images"]), torch.from_numpy(arrays["offsets"])
    np.testing.assert_array_equal(shift_crop(images, offsets, 4).numpy(), arrays["out"])


def check_contrastive_critic(arrays: Arrays) -> None:
    observations, goals = torch.from_numpy(arrays["in0"]).chunk(2, dim=1)
    actions = torch.from_numpy(arrays["in1"])
    dim = observations.shape[1]
    hidden = widths(arrays, "params/sa_net")
    critic = ContrastiveCritic(
        StateEncoder(dim),
        StateEncoder(dim),
        MLP(dim + actions.shape[1], hidden, activate_final=True, ensemble_size=2),
        MLP(dim, hidden, activate_final=True, ensemble_size=2),
        repr_dim=arrays["params/Dense_0/kernel"].shape[1],
    )
    load_flax(critic, arrays, "params")
    assert_close(critic(observations, goals, actions), arrays["out0"], 1e-5)


def check_drq_small_update(arrays: Arrays) -> None:
    batch = batch_of(arrays)
    hidden = {"hidden_dims": widths(arrays, "params/modules_actor/network")}
    agent = DrQAgent.create_drq(
        batch.observations,
        batch.actions,
        encoder=EncoderConfig("small", ("front",)),
        pixels=PixelConfig(shift_padding=0),
        critic_network_kwargs=hidden,
        policy_network_kwargs=hidden,
        critic_ensemble_size=len(arrays["params/modules_critic/network/Dense_0/bias"]),
        critic_subsample_size=len(arrays["draw02_randint"]),
        discount=0.97,
        target_entropy=-batch.actions.shape[-1] / 2,
        target_networks=("actor", "critic", "temperature"),
        step_unused_optimizers=True,
        optimizers_cover_all=True,
    )
    load_networks(agent.state, arrays)
    agent.sac.draws = RecordedDraws(arrays)
    gradients = GradientLog(agent.state)
    _, info = agent.update(batch)
    assert not agent.sac.draws.draws
    check_infos(info, arrays)
    check_parameters(agent.state, gradients, arrays)


def _check_bc(arrays: Arrays, squash: bool) -> None:
    batch = batch_of(
        {
            "batch/rewards": np.zeros(len(arrays["batch/actions"]), np.float32),
            "batch/masks": np.ones(len(arrays["batch/actions"]), np.float32),
            **arrays,
        }
    )
    agent = BCAgent.create(
        batch.observations,
        batch.actions,
        tanh_squash_distribution=squash,
        policy_network_kwargs={"hidden_dims": widths(arrays, "params/modules_actor/network")},
    )
    load_networks(agent.state, arrays)
    gradients = GradientLog(agent.state)
    _, info = agent.update(batch)
    check_infos(info, arrays)
    check_parameters(agent.state, gradients, without_targets(arrays))


def without_targets(arrays: Arrays) -> Arrays:
    """Drop the EMA copy that the reference keeps although nothing reads it."""
    return {name: array for name, array in arrays.items() if "target/" not in name}


def check_bc_update_gaussian(arrays: Arrays) -> None:
    _check_bc(arrays, squash=False)


def check_bc_update_squashed(arrays: Arrays) -> None:
    _check_bc(arrays, squash=True)


def _check_hybrid(arrays: Arrays, arms: int, networks: tuple[str, ...]) -> None:
    batch = batch_of(arrays)
    hidden = {"hidden_dims": widths(arrays, "params/modules_actor/network")}
    agent = HybridAgent.create(
        batch.observations,
        batch.actions,
        arms=arms,
        pixels=PixelConfig(reward_bias=-0.1),
        critic_network_kwargs=hidden,
        grasp_critic_network_kwargs=hidden,
        policy_network_kwargs=hidden,
        target_networks=HYBRID_NETWORKS,
        step_unused_optimizers=True,
        optimizers_cover_all=True,
    )
    load_networks(agent.state, arrays)
    assert_close(agent.grasp_critic(batch.observations), arrays["grasp_q"], 1e-5)
    agent.sac.draws = RecordedDraws(arrays)
    gradients = GradientLog(agent.state)
    _, info = agent.update(batch, networks)
    assert not agent.sac.draws.draws
    check_infos(info, arrays)
    check_parameters(agent.state, gradients, arrays)


def check_hil_hybrid_single_all(arrays: Arrays) -> None:
    _check_hybrid(arrays, 1, HYBRID_NETWORKS)


def check_hil_hybrid_single_critics(arrays: Arrays) -> None:
    _check_hybrid(arrays, 1, ("critic", "grasp_critic"))


def check_hil_hybrid_dual_all(arrays: Arrays) -> None:
    _check_hybrid(arrays, 2, HYBRID_NETWORKS)


CHECKS: dict[str, Callable[[Arrays], None]] = {
    name.removeprefix("check_"): value
    for name, value in list(globals().items())
    if name.startswith("check_") and value.__module__ == __name__
}
