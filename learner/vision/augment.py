"""Image augmentations: batched, on the images' device, with their own random generator.

Images are (batch, ..., height, width, channel), uint8 or float on the scale 0..255, RGB where
colour matters; the result has the same dtype and scale. Each image of the batch gets its own draw,
which the axes in between (stacked frames) share, so that motion stays visible.
Draws are made on the generator's device: a CPU generator gives the same draws for every device.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def _uniform(count: int, low: float, high: float, images: Tensor, generator: Generator) -> Tensor:
    draw = torch.rand(count, generator=generator, device=generator.device)
    return (low + (high - low) * draw).to(images.device)


def _chosen(images: Tensor, probability: float, generator: Generator) -> Tensor:
    """(batch, 1, 1, ...) mask of the images to change."""
    mask = _uniform(len(images), 0.0, 1.0, images, generator) < probability
    return _per_image(mask, images)


def _per_image(values: Tensor, images: Tensor) -> Tensor:
    """(batch,) values shaped to broadcast over the images."""
    return values.reshape(-1, *[1] * (images.ndim - 1))


def _restore(images: Tensor, like: Tensor) -> Tensor:
    """Float images on 0..1 back to the dtype of `like`, on 0..255."""
    scaled = images.clamp(0.0, 1.0) * 255.0
    return scaled.round().to(torch.uint8) if like.dtype == torch.uint8 else scaled.to(like.dtype)


# -- where the pixels are ------------------------------------------------------------------------


def crop_offsets(count: int, padding: int, generator: Generator) -> Tensor:
    """(count, 2) row and column of each window in the padded image, uniform in 0..2 * padding."""
    return torch.randint(
        0, 2 * padding + 1, (count, 2), generator=generator, device=generator.device
    )


def shift_crop(images: Tensor, offsets: Tensor, padding: int) -> Tensor:
    """The window at `offsets` (batch, 2) of images padded by `padding` copies of their edges."""
    height, width = images.shape[-3:-1]
    offsets = offsets.to(images.device)
    rows = torch.arange(height, device=images.device) + offsets[:, :1] - padding
    columns = torch.arange(width, device=images.device) + offsets[:, 1:] - padding
    return _gather(images, rows.clamp(0, height - 1), columns.clamp(0, width - 1))


def _gather(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Pixels [rows[b], columns[b]] of image b, each (batch, n)."""
    batch, (height, width, channels) = len(images), images.shape[-3:]
    flat = images.reshape(batch, -1, height * width, channels)
    index = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)  # (batch, pixel)
    frames = flat.shape[1]
    step = torch.arange(batch * frames, device=images.device).view(batch, frames, 1)
    index = (index[:, None] + step * (height * width)).flatten()
    picked = flat.reshape(-1, channels).index_select(0, index)
    return picked.view(*images.shape[:-3], rows.shape[1], columns.shape[1], channels)


def random_shift(images: Tensor, generator: Generator, *, padding: int = 4) -> Tensor:
    """DrQ's shift by up to `padding` pixels, the edge repeated (SERL's random crop)."""
    return shift_crop(images, crop_offsets(len(images), padding, generator), padding)


def random_crop(images: Tensor, size: tuple[int, int], generator: Generator) -> Tensor:
    """A window of `size` (height, width) inside each image, anywhere."""
    margin = _margin(images, size)
    count, device = len(images), generator.device
    top, left = (
        torch.randint(0, room + 1, (count, 1), generator=generator, device=device)
        for room in margin
    )
    return _window(images, size, top, left)


def move_images(
    images: Tensor, crop: tuple[int, int] | None, padding: int, generator: Generator
) -> Tensor:
    """DrQ's augmentation: a window of size `crop` anywhere in each image; without a crop, a shift
    by up to `padding` pixels."""
    if crop is not None:
        return random_crop(images, crop, generator)
    return random_shift(images, generator, padding=padding) if padding else images


def center_crop(images: Tensor, size: tuple[int, int]) -> Tensor:
    """The window of `size` (height, width) in the middle: what to act on after `random_crop`."""
    top, left = (room // 2 for room in _margin(images, size))
    return images[..., top : top + size[0], left : left + size[1], :]


def _margin(images: Tensor, size: tuple[int, int]) -> tuple[int, int]:
    height, width = images.shape[-3:-1]
    if size[0] > height or size[1] > width:
        raise ValueError(f"a crop of {size} pixels out of images of {height} x {width}")
    return height - size[0], width - size[1]


def _window(images: Tensor, size: tuple[int, int], top: Tensor, left: Tensor) -> Tensor:
    device = images.device
    if device.type == "cpu":
        return _slices(images, size, top, left)
    rows = torch.arange(size[0], device=device) + top.to(device)
    return _gather(images, rows, torch.arange(size[1], device=device) + left.to(device))


def _slices(images: Tensor, size: tuple[int, int], top: Tensor, left: Tensor) -> Tensor:
    """The same as the gather of pixels, 20 times as fast on a CPU: it copies whole rows."""
    (height, width), channels = size, images.shape[-1]
    result = images.new_empty((*images.shape[:-3], height, width, channels))
    source, target = images.numpy(), result.numpy()
    places = zip(top.flatten().tolist(), left.flatten().tolist(), strict=True)
    for i, (row, column) in enumerate(places):
        target[i] = source[i, ..., row : row + height, column : column + width, :]
    return result


def random_flip(images: Tensor, generator: Generator, *, probability: float = 0.5) -> Tensor:
    """Mirror left and right."""
    return torch.where(_chosen(images, probability, generator), images.flip(-2), images)


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, antialiased when it shrinks, to `size` (height, width)."""
    if tuple(images.shape[-3:-1]) == size:
        return images
    flat = images.reshape(-1, *images.shape[-3:]).permute(0, 3, 1, 2).to(torch.float32)
    resized = F.interpolate(flat, size, mode="bilinear", antialias=True).permute(0, 2, 3, 1)
    return _restore(resized / 255.0, images).reshape(*images.shape[:-3], *resized.shape[1:])


# -- what colour they have -----------------------------------------------------------------------


def _gray(images: Tensor) -> Tensor:
    """(..., 3) -> (..., 1)."""
    if images.shape[-1] != 3:
        raise ValueError(f"colour augmentations need RGB images, not {images.shape[-1]} channels")
    return (images * images.new_tensor(LUMA)).sum(-1, keepdim=True)


def random_grayscale(images: Tensor, generator: Generator, *, probability: float = 0.2) -> Tensor:
    unit = images.float() / 255.0
    gray = _restore(_gray(unit).expand_as(unit), images)
    return torch.where(_chosen(images, probability, generator), gray, images)


def random_solarize(
    images: Tensor, generator: Generator, *, probability: float = 0.2, threshold: float = 0.5
) -> Tensor:
    """Invert what is brighter than `threshold` (0..1)."""
    inverted = torch.where(images >= threshold * 255.0, 255 - images, images)
    return torch.where(_chosen(images, probability, generator), inverted, images)


def random_blur(
    images: Tensor,
    generator: Generator,
    *,
    probability: float = 0.5,
    sigma: tuple[float, float] = (0.1, 2.0),
    kernel_size: int = 9,
) -> Tensor:
    """Gaussian blur, its width [pixels] uniform in `sigma`; the edge is repeated."""
    count, half = len(images), kernel_size // 2
    width = _uniform(count, *sigma, images, generator)
    taps = torch.arange(-half, half + 1, device=images.device, dtype=torch.float32)
    kernel = torch.softmax(-0.5 * (taps / width[:, None]) ** 2, dim=1)  # (batch, tap)
    maps = images.reshape(count, -1, *images.shape[-3:]).permute(0, 1, 4, 2, 3).float()
    x = maps.reshape(count, -1, *maps.shape[-2:])  # (batch, frame * channel, height, width)
    planes = x.shape[1]
    x = F.pad(x, (half, half, half, half), mode="replicate")
    x = x.reshape(1, count * planes, *x.shape[-2:])
    kernel = kernel.repeat_interleave(planes, dim=0)[:, None]  # (batch * plane, 1, tap)
    x = F.conv2d(x, kernel[..., None], groups=count * planes)
    x = F.conv2d(x, kernel[..., None, :], groups=count * planes)
    blurred = x.reshape(maps.shape).permute(0, 1, 3, 4, 2).reshape(images.shape)
    return torch.where(
        _chosen(images, probability, generator), _restore(blurred / 255.0, images), images
    )


def color_jitter(
    images: Tensor,
    generator: Generator,
    *,
    brightness: float = 0.2,
    contrast: float = 0.2,
    saturation: float = 0.2,
    hue: float = 0.05,
    probability: float = 1.0,
) -> Tensor:
    """Change brightness, contrast, saturation and hue by up to these fractions, in random order.

    Brightness, contrast and saturation are multiplied by 1 +- the fraction; the hue is turned by
    +- the fraction of a full turn, in YIQ space, which needs no branch. One order for the batch.
    """
    count = len(images)
    factors = [
        _uniform(count, 1.0 - s, 1.0 + s, images, generator)
        for s in (brightness, contrast, saturation)
    ]
    factors.append(2.0 * math.pi * _uniform(count, -hue, hue, images, generator))
    unit = images.float() / 255.0
    operations = (_brightness, _contrast, _saturation, _hue)
    order = torch.randperm(4, generator=generator, device=generator.device).tolist()
    for index in order:
        unit = operations[index](unit, _per_image(factors[index], unit)).clamp(0.0, 1.0)
    return torch.where(_chosen(images, probability, generator), _restore(unit, images), images)


def _brightness(images: Tensor, factor: Tensor) -> Tensor:
    return images * factor


def _contrast(images: Tensor, factor: Tensor) -> Tensor:
    mean = _gray(images).mean(dim=tuple(range(1, images.ndim)), keepdim=True)
    return mean + (images - mean) * factor


def _saturation(images: Tensor, factor: Tensor) -> Tensor:
    gray = _gray(images)
    return gray + (images - gray) * factor


def _hue(images: Tensor, angle: Tensor) -> Tensor:
    """Turn the chroma plane of YIQ by `angle` [rad]; the luma stays."""
    to_yiq = images.new_tensor([LUMA, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312)])
    y, i, q = (images @ to_yiq.T).unbind(-1)
    cos, sin = torch.cos(angle)[..., 0], torch.sin(angle)[..., 0]
    turned = torch.stack((y, cos * i - sin * q, sin * i + cos * q), dim=-1)
    back: Tensor = torch.linalg.inv(to_yiq).T
    return turned @ back
