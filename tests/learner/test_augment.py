"""Augmentations: what they keep, what they change, and that a seed settles them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor

from serl_rt.learner.vision import augment

Augmentation = Callable[[Tensor, Generator], Tensor]

ALWAYS: dict[str, Augmentation] = {
    "shift": lambda x, g: augment.random_shift(x, g, padding=3),
    "flip": lambda x, g: augment.random_flip(x, g, probability=1.0),
    "grayscale": lambda x, g: augment.random_grayscale(x, g, probability=1.0),
    "solarize": lambda x, g: augment.random_solarize(x, g, probability=1.0),
    "blur": lambda x, g: augment.random_blur(x, g, probability=1.0),
    "jitter": lambda x, g: augment.color_jitter(x, g),
}


def images(batch: int = 6, frames: int = 2, height: int = 20, width: int = 24) -> Tensor:
    generator = Generator().manual_seed(7)
    shape = (batch, frames, height, width, 3)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


@pytest.mark.parametrize("name", ALWAYS)
def test_every_augmentation_keeps_shape_and_dtype_and_follows_its_seed(name: str) -> None:
    x, apply = images(), ALWAYS[name]
    one = apply(x, seeded())
    assert one.shape == x.shape
    assert one.dtype == torch.uint8
    assert not torch.equal(one, x)
    assert torch.equal(one, apply(x, seeded()))
    as_float = apply(x.float(), seeded())
    assert as_float.dtype == torch.float32
    assert (as_float - one.float()).abs().max() <= 0.51  # the same on 0..255, but for rounding


@pytest.mark.parametrize("name", ALWAYS)
def test_the_global_generator_is_left_alone(name: str) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    ALWAYS[name](images(), seeded())
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", ["flip", "grayscale", "solarize", "blur", "jitter"])
def test_probability_is_per_image(name: str) -> None:
    function = {
        "flip": augment.random_flip,
        "grayscale": augment.random_grayscale,
        "solarize": augment.random_solarize,
        "blur": augment.random_blur,
        "jitter": augment.color_jitter,
    }[name]
    x = images(batch=400, frames=1, height=4, width=6)
    changed = (function(x, seeded(), probability=0.3) != x).flatten(1).any(dim=1)
    assert 0.2 < changed.float().mean() < 0.4


def test_frames_of_one_image_share_the_draw() -> None:
    x = images(frames=1).expand(-1, 3, -1, -1, -1)
    for apply in ALWAYS.values():
        y = apply(x, seeded())
        assert torch.equal(y[:, 0], y[:, 1])
        assert torch.equal(y[:, 0], y[:, 2])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), padding=st.integers(0, 6))
def test_shift_is_the_window_of_the_edge_padded_image(seed: int, padding: int) -> None:
    x = images(batch=3, frames=1)[:, 0]
    offsets = augment.crop_offsets(3, padding, seeded(seed))
    assert offsets.min() >= 0
    assert offsets.max() <= 2 * padding
    padded = torch.nn.functional.pad(
        x.permute(0, 3, 1, 2).float(), (padding,) * 4, mode="replicate"
    ).permute(0, 2, 3, 1)
    shifted = augment.shift_crop(x, offsets, padding)
    for image, window, (top, left) in zip(padded, shifted, offsets.tolist(), strict=True):
        assert torch.equal(window.float(), image[top : top + 20, left : left + 24])


def test_crop_offsets_reach_every_shift() -> None:
    offsets = augment.crop_offsets(2000, 2, seeded())
    assert {tuple(pair) for pair in offsets.tolist()} == {
        (i, j) for i in range(5) for j in range(5)
    }


def test_random_crop_is_a_window_and_center_crop_the_middle_one() -> None:
    x = images(batch=50, frames=1)
    crops = augment.random_crop(x, (18, 20), seeded())
    windows = x[:, 0].unfold(1, 18, 1).unfold(2, 20, 1).permute(0, 1, 2, 4, 5, 3)
    matches = (windows == crops[:, 0, None, None]).flatten(3).all(-1)  # (batch, 3, 5)
    assert (matches.sum(dim=(1, 2)) == 1).all()
    assert len({tuple(m.nonzero()[0].tolist()) for m in matches}) == 15  # every window came up
    assert torch.equal(augment.center_crop(x, (18, 20)), x[:, :, 1:19, 2:22])
    with pytest.raises(ValueError, match="crop of .* out of images of 20 x 24"):
        augment.random_crop(x, (21, 20), seeded())


def test_flip_twice_is_nothing() -> None:
    x = images()
    once = augment.random_flip(x, seeded(), probability=1.0)
    assert torch.equal(once, x.flip(-2))


def test_gray_has_equal_channels_and_keeps_gray() -> None:
    gray = ALWAYS["grayscale"](images(), seeded())
    assert torch.equal(gray[..., 0], gray[..., 1])
    assert torch.equal(gray, ALWAYS["grayscale"](gray, seeded()))


def test_solarize_inverts_only_what_is_bright() -> None:
    x = images()
    y = ALWAYS["solarize"](x, seeded())
    bright = x > 127
    assert torch.equal(y[~bright], x[~bright])
    assert torch.equal(y[bright], 255 - x[bright])


def test_blur_keeps_constant_images_and_lowers_variance() -> None:
    flat = torch.full((2, 16, 16, 3), 80, dtype=torch.uint8)
    assert torch.equal(augment.random_blur(flat, seeded(), probability=1.0), flat)
    x = images()
    blurred = augment.random_blur(x, seeded(), probability=1.0, sigma=(1.5, 2.0))
    assert blurred.float().std() < 0.5 * x.float().std()


def test_jitter_of_strength_zero_is_nothing_and_hue_keeps_luma() -> None:
    x = images()
    same = augment.color_jitter(x, seeded(), brightness=0, contrast=0, saturation=0, hue=0)
    assert (same.int() - x.int()).abs().max() <= 1
    dull = (x // 4 + 96).float()  # far from the edges of the cube, where nothing is clipped
    turned = augment.color_jitter(dull, seeded(), brightness=0, contrast=0, saturation=0, hue=0.4)
    luma = dull.new_tensor(augment.LUMA)
    assert torch.allclose(turned @ luma, dull @ luma, atol=0.1)
    assert (turned - dull).abs().max() > 5.0


def test_jitter_stays_within_its_strengths() -> None:
    x = torch.full((200, 4, 4, 3), 100.0)
    y = augment.color_jitter(x, seeded(), brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1)
    assert y.min() >= 69.9
    assert y.max() <= 130.1


def test_resize_keeps_constants_and_inverts_itself_on_ramps() -> None:
    ramp = (
        torch.linspace(0, 255, 16)[None, None, :, None, None].expand(2, 2, 16, 16, 3).contiguous()
    )
    up = augment.resize(ramp, (32, 32))
    assert up.shape == (2, 2, 32, 32, 3)
    back = augment.resize(up, (16, 16))
    assert torch.allclose(back[:, :, 2:-2], ramp[:, :, 2:-2], atol=1.0)
    assert augment.resize(ramp, (16, 16)) is ramp


def test_colour_needs_rgb() -> None:
    with pytest.raises(ValueError, match="need RGB images, not 6 channels"):
        augment.random_grayscale(torch.zeros(2, 4, 4, 6, dtype=torch.uint8), seeded())
