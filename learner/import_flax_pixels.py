"""Flax names of the encoders and of the networks that only pixel and hybrid agents have.

Importing this module teaches them to `import_flax`.
"""

from __future__ import annotations

from torch import nn

from serl_rt.learner.import_flax import Child, flax_children
from serl_rt.learner.networks.classifier import BinaryClassifier, NWayClassifier
from serl_rt.learner.networks.contrastive import ContrastiveCritic
from serl_rt.learner.networks.ensemble import EnsembleLinear
from serl_rt.learner.networks.grasp import GraspCritic
from serl_rt.learner.networks.mlp import MLP
from serl_rt.learner.vision.encoder import Encoder
from serl_rt.learner.vision.encoding import EncodingWrapper
from serl_rt.learner.vision.layers import FilmConditioning, MultiplicativeConditioning
from serl_rt.learner.vision.pooling import Head, SpatialLearnedEmbeddings, SpatialSoftmax
from serl_rt.learner.vision.resnet import BasicBlock, BottleneckBlock, ResNetTrunk
from serl_rt.learner.vision.trunk import ConvTrunk, FrozenTrunk


@flax_children.register
def _conv(module: nn.Conv2d) -> dict[str, Child]:
    kernel: dict[str, Child] = {"kernel": module.weight.permute(2, 3, 1, 0)}
    return kernel if module.bias is None else {**kernel, "bias": module.bias}


@flax_children.register
def _group_norm(module: nn.GroupNorm) -> dict[str, Child]:
    return {"scale": module.weight, "bias": module.bias}


@flax_children.register
def _film(module: FilmConditioning) -> dict[str, Child]:
    return {"Dense_0": module.scale, "Dense_1": module.shift}


@flax_children.register
def _block(module: BasicBlock) -> dict[str, Child]:
    convs = {f"Conv_{i}": conv for i, conv in enumerate(module.convs)}
    norms = {f"MyGroupNorm_{i}": norm for i, norm in enumerate(module.norms)}
    if module.project is None or module.project_norm is None:
        return {**convs, **norms}
    return {**convs, **norms, "conv_proj": module.project, "norm_proj": module.project_norm}


@flax_children.register
def _resnet(module: ResNetTrunk) -> dict[str, Child]:
    kind = "BottleneckResNetBlock" if module.block_type is BottleneckBlock else "ResNetBlock"
    blocks = {f"{kind}_{i}": block for i, block in enumerate(module.blocks)}
    conditioning: dict[str, Child] = {}
    for i, layer in enumerate(module.conditioning):
        if isinstance(layer, MultiplicativeConditioning):
            conditioning[f"Dense_{i}"] = layer.gain
        else:
            conditioning[f"FilmConditioning_{i}"] = layer
    init = {"conv_init": module.conv_init, "norm_init": module.norm_init}
    return {**init, **blocks, **conditioning}


@flax_children.register
def _conv_trunk(module: ConvTrunk) -> dict[str, Child]:
    return {f"Conv_{i}": conv for i, conv in enumerate(module.convs)}


@flax_children.register
def _frozen_trunk(module: FrozenTrunk) -> dict[str, Child]:
    return {"": module.trunk}


@flax_children.register
def _head(module: Head) -> dict[str, Child]:
    children: dict[str, Child] = {}
    if isinstance(module.pooling, SpatialLearnedEmbeddings):
        children["SpatialLearnedEmbeddings_0/kernel"] = module.pooling.kernel
    if isinstance(module.pooling, SpatialSoftmax) and list(module.pooling.parameters()):
        children["SpatialSoftmax_0/softmax_temperature"] = module.pooling.temperature.reshape(1)
    if module.linear is not None and module.norm is not None:
        children |= {"Dense_0": module.linear, "LayerNorm_0": module.norm}
    return children


@flax_children.register
def _encoder(module: Encoder) -> dict[str, Child]:
    if isinstance(module.trunk, FrozenTrunk):
        return {"pretrained_encoder": module.trunk, **flax_children(module.head)}
    return {**flax_children(module.trunk), **flax_children(module.head)}


@flax_children.register
def _encoding_wrapper(module: EncodingWrapper) -> dict[str, Child]:
    children: dict[str, Child] = {
        f"encoder_{key}": encoder for key, encoder in module.encoders.items()
    }
    if module.proprio is not None:
        children |= {"Dense_0": module.proprio.linear, "LayerNorm_0": module.proprio.norm}
    return children


@flax_children.register
def _grasp_critic(module: GraspCritic) -> dict[str, Child]:
    # Without the encoder, as for the critic.
    return {"network": module.network, "Dense_0": module.head}


@flax_children.register(BinaryClassifier)
@flax_children.register(NWayClassifier)
def _classifier(module: BinaryClassifier | NWayClassifier) -> dict[str, Child]:
    assert isinstance(module.encoder, nn.Module)
    return {
        "encoder_def": module.encoder,
        "Dense_0": module.network.layers[0],
        "LayerNorm_0": module.network.norms[0],
        "Dense_1": module.head,
    }


@flax_children.register
def _contrastive_critic(module: ContrastiveCritic) -> dict[str, Child]:
    children: dict[str, Child] = {}
    for i, suffix in enumerate(("", "2") if module.twin else ("",)):
        member = i if module.twin else None
        children |= _member_mlp(f"sa_net{suffix}", module.sa_network, member)
        children |= _member(f"Dense_{2 * i}", module.sa_head, member)
        children |= _member_mlp(f"g_net{suffix}", module.goal_network, member)
        children |= _member(f"Dense_{2 * i + 1}", module.goal_head, member)
    return children


def _member_mlp(name: str, mlp: MLP, member: int | None) -> dict[str, Child]:
    children: dict[str, Child] = {}
    for i, layer in enumerate(mlp.layers):
        children |= _member(f"{name}/Dense_{i}", layer, member)
    return children


def _member(name: str, layer: nn.Module, member: int | None) -> dict[str, Child]:
    """One member of an ensembled layer, which Flax keeps as a layer of its own."""
    if member is None or not isinstance(layer, EnsembleLinear):
        return {name: layer}
    return {f"{name}/kernel": layer.weight[member], f"{name}/bias": layer.bias[member]}
