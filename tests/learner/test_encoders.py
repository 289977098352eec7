"""Encoders: shapes, frozen trunks, stacking, conditioning, and the wrappers around them."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from serl_rt.learner.vision.encoder import Encoder
from serl_rt.learner.vision.encoders import (
    SCRATCH_ENCODERS,
    convfast_encoder,
    frozen_head,
    patches_encoder,
    resnet_encoder,
    small_encoder,
)
from serl_rt.learner.vision.encoding import (
    EncodingWrapper,
    GCEncodingWrapper,
    LCEncodingWrapper,
    Proprioception,
)
from serl_rt.learner.vision.resnet import ResNetTrunk
from serl_rt.learner.vision.trunk import FrozenTrunk, copy_for_targets, standardized


def images(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def frozen(seed: int = 0, frames: int = 1) -> Encoder:
    torch.manual_seed(seed)
    trunk = FrozenTrunk(ResNetTrunk(base_filters=4))
    return frozen_head(trunk, (32, 40, 3 * frames), bottleneck_dim=10)


@pytest.mark.parametrize("name", SCRATCH_ENCODERS)
def test_scratch_encoders_give_their_output_dim_and_learn_in_every_parameter(name: str) -> None:
    torch.manual_seed(0)
    encoder = SCRATCH_ENCODERS[name]((48, 40, 3))
    output = encoder(images(2, 48, 40, 3))
    assert output.shape == (2, encoder.output_dim)
    (output * torch.randn_like(output)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.parameters())


def test_convfast_is_small() -> None:
    encoder = convfast_encoder((64, 64, 6))
    assert encoder.head.shape == (8, 8, 16)
    assert sum(p.numel() for p in encoder.parameters()) < 80_000


def test_patches_see_what_convfast_sees_on_the_same_map() -> None:
    encoder = patches_encoder((64, 64, 6))
    assert encoder.head.shape == (8, 8, 16)
    torch.manual_seed(0)
    odd = patches_encoder((54, 50, 6))  # two rows and columns are not seen
    seen = images(2, 54, 50, 6)
    changed = seen.clone()
    changed[:, 52:], changed[:, :, 48:] = 0, 0
    assert torch.equal(odd(seen), odd(changed))


@pytest.mark.parametrize("name", SCRATCH_ENCODERS)
def test_cameras_that_are_joined_are_the_channels_of_one_image(name: str) -> None:
    torch.manual_seed(0)
    encoder = SCRATCH_ENCODERS[name]((48, 40, 6))
    front, wrist = images(2, 48, 40, 3), images(2, 48, 40, 3, seed=1)

    def output_and_gradients(*seen: Tensor) -> list[Tensor]:
        output = encoder(*seen)
        return [output, *torch.autograd.grad(output.square().sum(), list(encoder.parameters()))]

    apart = output_and_gradients(front, wrist)
    joined = output_and_gradients(torch.cat((front, wrist), dim=-1))
    for one, other in zip(apart, joined, strict=True):
        torch.testing.assert_close(
            one, other, rtol=1e-4, atol=1e-4 * float(other.detach().abs().max())
        )
    with pytest.raises(ValueError, match="expected"):
        encoder(front)


def test_a_standardizing_encoder_does_not_see_the_colour_of_the_light() -> None:
    torch.manual_seed(0)
    seen = images(4, 24, 24, 6) // 2
    tinted = seen + torch.tensor([90, 0, 40, 0, 100, 10], dtype=torch.uint8)
    standardizing, plain = (
        convfast_encoder((24, 24, 6), standardize_images=value) for value in (True, False)
    )
    assert torch.allclose(standardizing(seen), standardizing(tinted), atol=1e-4)
    assert not torch.allclose(plain(seen), plain(tinted), atol=1e-2)
    moved = seen.roll(3, dims=1)
    assert not torch.allclose(standardizing(seen), standardizing(moved), atol=1e-2)


def test_standardized_images_have_the_same_contrast_unless_they_are_flat() -> None:
    seen = images(4, 24, 24, 3).permute(0, 3, 1, 2).float()
    for factor in (1.0, 0.5):
        out = standardized(factor * seen)
        assert out.mean((2, 3)).abs().max() < 1e-4
        assert ((out.square().mean((2, 3)).sqrt() - 1.0).abs() < 0.25).all()
    flat = torch.full((1, 3, 8, 8), 77.0)
    assert torch.equal(standardized(flat), torch.zeros_like(flat))


def test_frozen_trunk_never_learns_and_targets_share_it() -> None:
    encoder = frozen()
    encoder(images(2, 32, 40, 3)).sum().backward()
    assert all(p.grad is None for p in encoder.trunk.parameters())
    assert all(p.grad is not None for p in encoder.head.parameters())
    (target,) = copy_for_targets({"target": encoder}).values()
    assert target.trunk is encoder.trunk
    assert target.head is not encoder.head
    assert copy.deepcopy(encoder).trunk is not encoder.trunk  # whoever changes a copy may


def test_cached_features_give_the_same_vector_as_the_images() -> None:
    encoder, batch = frozen(), images(20, 32, 40, 3)
    features = encoder.features(batch)
    assert features.shape == (20, *encoder.trunk.feature_shape(32, 40))
    assert torch.equal(encoder(features), encoder(batch))
    assert torch.allclose(encoder(features.half()), encoder(batch), atol=2e-2)


def test_features_of_another_size_are_refused() -> None:
    encoder = frozen()
    with pytest.raises(
        ValueError, match=r"feature map of shape \(2, 2, 32\), expected \(1, 2, 32\)"
    ):
        encoder(torch.zeros(3, 2, 2, 32))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(2, 32, 40, 3, dtype=torch.int64), "dtype torch.int64, expected uint8"),
        (images(2, 32, 40, 6), r"\(2, 32, 40, 6\), expected \(batch, height, width, 3\)"),
    ],
)
def test_images_of_the_wrong_kind_are_refused(bad: Tensor, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        frozen()(bad)


def test_dropout_only_when_training() -> None:
    encoder, batch = frozen(), images(4, 32, 40, 3)
    assert torch.equal(encoder(batch), encoder(batch))
    assert not torch.equal(encoder(batch, train=True), encoder(batch, train=True))


def observations(frames: int | None = 1, batch: int = 3) -> dict[str, Tensor]:
    torch.manual_seed(0)
    stack = () if frames is None else (frames,)
    return {
        "front": images(batch, *stack, 32, 40, 3, seed=1),
        "wrist": images(batch, *stack, 32, 40, 3, seed=2),
        "state": torch.randn(batch, *stack, 5),
    }


def wrapper(frames: int | None = 1, encoder: Encoder | None = None) -> EncodingWrapper:
    count = frames or 1
    cameras = {
        "front": encoder or small_encoder((32, 40, 3 * count), bottleneck_dim=10),
        "wrist": encoder or small_encoder((32, 40, 3 * count), bottleneck_dim=10),
    }
    return EncodingWrapper(cameras, proprio=Proprioception(("state",), 5 * count), stack=frames)


@pytest.mark.parametrize("frames", [None, 1, 3])
def test_wrapper_joins_cameras_and_state_batched_or_not(frames: int | None) -> None:
    model, obs = wrapper(frames), observations(frames)
    output = model(obs)
    assert output.shape == (3, model.output_dim) == (3, 10 + 10 + 64)
    one = model({key: value[1] for key, value in obs.items()})
    assert torch.allclose(one, output[1], atol=1e-4)


def test_stop_gradient_reaches_the_state_projection_but_no_image_encoder() -> None:
    model = wrapper()
    (model(observations(), stop_gradient=True) ** 2).sum().backward()
    touched = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert touched == {"proprio"}


@pytest.mark.parametrize("frames", [1, 2])
def test_wrapper_with_frozen_trunks_takes_cached_features(frames: int) -> None:
    model, obs = wrapper(frames, frozen(frames=frames)), observations(frames)
    features = model.trunk_features(obs)
    assert model.frozen_keys == ("front", "wrist")
    assert features["front"].shape == (3, frames, 1, 2, 32)
    assert features["state"] is obs["state"]
    assert torch.equal(model(features), model(obs))


def test_frozen_trunk_sees_each_frame_of_a_stack() -> None:
    model, obs = wrapper(2, frozen(frames=2)), observations(2)
    swapped = {**obs, "front": obs["front"].flip(1)}
    features, other = model.trunk_features(obs)["front"], model.trunk_features(swapped)["front"]
    assert torch.allclose(features.flip(1), other)
    assert not torch.allclose(model(obs), model(swapped))


def test_scratch_trunks_cannot_be_cached() -> None:
    model, obs = wrapper(), observations()
    assert model.frozen_keys == ()
    assert model.trunk_features(obs)["front"] is obs["front"]


def test_wrapper_names_what_is_missing_or_misshapen() -> None:
    model, obs = wrapper(2), observations(2)
    with pytest.raises(KeyError, match="no 'front' among the observations: state, wrist"):
        model({key: value for key, value in obs.items() if key != "front"})
    with pytest.raises(ValueError, match="front has shape .*expected .batch, 2, height"):
        model(observations(3))


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("stack", [None, 2])
def test_goal_conditioning_depends_on_the_goal(late: bool, stack: int | None) -> None:
    torch.manual_seed(0)
    encoder = small_encoder((32, 40, 3 if late else 6), bottleneck_dim=10)
    goal_encoder = small_encoder((32, 40, 3), bottleneck_dim=6) if late else None
    proprio = Proprioception(("proprio",), 4 * (stack or 1))
    model = GCEncodingWrapper(encoder, goal_encoder, proprio=proprio, stack=stack)
    axes = () if stack is None else (stack,)
    obs = {"image": images(3, *axes, 32, 40, 3), "proprio": torch.randn(3, *axes, 4)}
    first = model((obs, {"image": images(3, 32, 40, 3, seed=1)}))
    second = model((obs, {"image": images(3, 32, 40, 3, seed=2)}))
    assert first.shape == (3, model.output_dim)
    assert not torch.allclose(first, second)
    assert torch.equal(first[:, -64:], second[:, -64:])  # the state is not the goal's business


@pytest.mark.parametrize("conditioning", ["film", "multiplicative"])
def test_language_conditioning_depends_on_the_embedding(conditioning: str) -> None:
    torch.manual_seed(0)
    encoder = resnet_encoder(
        (32, 40, 3),
        base_filters=4,
        bottleneck_dim=10,
        conditioning=conditioning,  # type: ignore[arg-type]
        condition_dim=7,
    )
    model = LCEncodingWrapper(encoder, stack=2)
    obs = {"image": images(3, 2, 32, 40, 3)}
    one, other = ({"language": torch.randn(3, 7)} for _ in range(2))
    changes = not torch.allclose(model((obs, one)), model((obs, other)))
    assert changes == (conditioning == "multiplicative")  # FiLM starts as the identity
    if conditioning == "film":
        for name, parameter in encoder.named_parameters():
            if "conditioning" in name:
                torch.nn.init.normal_(parameter)
        assert not torch.allclose(model((obs, one)), model((obs, other)))
    assert model((obs, one)).shape == (3, model.output_dim) == (3, 20)


def test_a_plain_trunk_refuses_a_condition() -> None:
    model = LCEncodingWrapper(small_encoder((32, 40, 3)))
    with pytest.raises(ValueError, match="takes no condition"):
        model(({"image": images(3, 32, 40, 3)}, {"language": torch.zeros(3, 7)}))


def test_joined_cameras_share_one_encoder_and_both_matter() -> None:
    torch.manual_seed(0)
    encoder = small_encoder((32, 40, 6), bottleneck_dim=10)
    model = EncodingWrapper({"front": encoder}, stack=None, joined=("front", "wrist"))
    obs = observations(None)
    output = model(obs)
    assert output.shape == (3, model.output_dim) == (3, 10)
    assert model.image_keys == ("front", "wrist")
    for key in model.image_keys:
        assert not torch.allclose(model({**obs, key: obs[key].flip(1)}), output)
    assert torch.equal(model(model.image_vectors(obs)), output)
    with pytest.raises(KeyError, match="no 'wrist' among"):
        model({"front": obs["front"]})
    with pytest.raises(ValueError, match="joined cameras share one encoder"):
        EncodingWrapper({"wrist": encoder}, joined=("front", "wrist"))
