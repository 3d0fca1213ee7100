"""Batches of stored pictures become what a network sees, in training and in evaluation.

The arithmetic is numpy's, on one thread: on pictures this small, torch's threads wait for one
another longer than they work, most of all where several clients share a machine.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Random erasing: share of the area (torchvision's, and FedCAPR's), height over width, and how often
# it tries.
_ERASED_SHARE = {"torchvision": (0.02, 0.33), "fedcapr": (0.02, 0.2)}
_ERASED_RATIO = (0.3, 3.3)
_ERASING_ATTEMPTS = 10

# How many random numbers a picture takes: mirror and place, colour, erasing.
_PLACE_DRAWS = 3
_COLOUR_DRAWS = 5
_ERASING_DRAWS = 3 + 2 * _ERASING_ATTEMPTS

# pixel / 255 - mean, over std, as one product and one difference.
_SCALE = (1 / (255 * np.array(IMAGENET_STD, np.float32))).reshape(3, 1, 1)
_SHIFT = (np.array(IMAGENET_MEAN) / np.array(IMAGENET_STD)).astype(np.float32).reshape(3, 1, 1)

FloatArray = NDArray[np.float32]


def evaluation_transform(
    pictures: torch.Tensor, *, memory_format: torch.memory_format = torch.contiguous_format
) -> torch.Tensor:
    """Normalise stored pictures, and nothing else.

    x = (pixel / 255 - mean) / std, per colour channel, with ImageNet's mean and std.

    Args:
        pictures: uint8 (B, 3, H, W), 0 to 255, RGB, on the CPU.
        memory_format: Layout of the result.

    Returns:
        float32 (B, 3, H, W), about -2.1 to 2.7.
    """
    return _normalised(pictures.numpy(), memory_format)


def training_transform(
    pictures: torch.Tensor,
    generator: torch.Generator,
    *,
    flip: float = 0.5,
    padding: int = 10,
    erasing: float = 0.5,
    erased: str = "torchvision",
    jitter: float = 0.0,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> torch.Tensor:
    """Mirror, pad and crop, normalise, and erase a rectangle, differently in every picture.

    Every picture takes the same number of random numbers whatever the settings, so that switching
    one change off leaves the others as they were. With flip, padding, erasing and jitter 0 this is
    `evaluation_transform`.

    Args:
        pictures: uint8 (B, 3, H, W), 0 to 255, RGB, on the CPU.
        generator: Where the random numbers come from; a CPU generator.
        flip: Probability of a left-right mirror image, 0 to 1.
        padding: Black pixels added on each side before a random crop to (H, W), >= 0.
        erasing: Probability that a rectangle is erased after normalisation, 0 to 1.
        erased: `torchvision` = .02 to .33 of the picture becomes 0, the mean colour; `fedcapr` =
            .02 to .2 of it becomes the numbers of IMAGENET_MEAN, which its code writes into
            pictures that are normalised already.
        jitter: Largest relative change of brightness, contrast and each colour channel, 0 to 1.
        memory_format: Layout of the result.

    Returns:
        float32 (B, 3, H, W), normalised with ImageNet's mean and std.

    Source: FedCAPR's training view (mirror .5, pad 10, crop, erasing .5); torchvision's
        RandomErasing for the rectangle. Jitter is ours, off by default.
    """
    size = (len(pictures), _PLACE_DRAWS + _COLOUR_DRAWS + _ERASING_DRAWS)
    draws = torch.rand(size, generator=generator, dtype=torch.float64).numpy()
    place, colour, rectangle = np.split(draws, [_PLACE_DRAWS, _PLACE_DRAWS + _COLOUR_DRAWS], axis=1)
    views = _flip_and_crop(pictures.numpy(), place, flip, padding)
    floats = _normalised(
        _jitter_colours(views, colour, jitter) if jitter > 0 else views, memory_format
    )
    if erasing > 0:
        _erase(floats.numpy(), rectangle, erasing, erased)
    return floats


def _normalised(
    pixels: NDArray[np.uint8] | FloatArray, memory_format: torch.memory_format
) -> torch.Tensor:
    """Turn pixels 0 to 255, (B, 3, H, W), into a normalised float32 tensor of the given layout."""
    if memory_format is not torch.channels_last:
        floats = np.multiply(pixels, _SCALE, dtype=np.float32)
        floats -= _SHIFT
        return torch.from_numpy(floats)
    count, channels, height, width = pixels.shape
    last = np.empty((count, height, width, channels), pixels.dtype)
    for channel in range(channels):
        last[..., channel] = pixels[:, channel]
    # Whole rows at once: numpy is slow where the last axis is three long.
    rows = last.reshape(count, height, width * channels)
    floats = np.multiply(rows, np.tile(_SCALE.ravel(), width), dtype=np.float32)
    floats -= np.tile(_SHIFT.ravel(), width)
    return torch.from_numpy(floats.reshape(last.shape)).permute(0, 3, 1, 2)


def _flip_and_crop(
    pictures: NDArray[np.uint8], draws: NDArray[np.float64], flip: float, padding: int
) -> NDArray[np.uint8]:
    """Mirror some pictures, pad all with black, and cut each at its own place.

    Args:
        pictures: uint8 (B, 3, H, W).
        draws: float64 (B, 3), uniform in [0, 1): mirror, top, left.
        flip: Probability of a mirror image.
        padding: Black pixels on each side.

    Returns:
        uint8 (B, 3, H, W), a new array.
    """
    height, width = pictures.shape[2:]
    views = np.zeros_like(pictures)
    mirrored = draws[:, 0] < flip
    # How far the cut is down and to the right of the picture, negative above and to the left.
    places = (_whole_numbers(draws[:, 1:], 2 * padding + 1) - padding).tolist()
    for view, picture, mirror, (down, right) in zip(views, pictures, mirrored, places, strict=True):
        rows, shown_rows = _overlap(down, height)
        columns, shown_columns = _overlap(right, width)
        source = picture[:, :, ::-1] if mirror else picture
        view[:, shown_rows, shown_columns] = source[:, rows, columns]
    return views


def _overlap(shift: int, size: int) -> tuple[slice, slice]:
    """Tell what a cut shifted by `shift` shows of `size` pixels, and where it shows it."""
    return (
        slice(max(0, shift), max(0, size + shift)),
        slice(max(0, -shift), max(0, size - shift)),
    )


def _jitter_colours(
    views: NDArray[np.uint8], draws: NDArray[np.float64], strength: float
) -> FloatArray:
    """Change brightness, colour cast and contrast of each picture by up to +-strength.

    Args:
        views: uint8 (B, 3, H, W).
        draws: float64 (B, 5), uniform in [0, 1): brightness, red, green, blue, contrast.
        strength: Largest relative change, 0 to 1.

    Returns:
        float32 (B, 3, H, W), 0 to 255.
    """
    gains = (1 + strength * (2 * draws - 1)).astype(np.float32)[:, :, None, None]
    cast, contrast = gains[:, :1] * gains[:, 1:4], gains[:, 4:]
    means = views.mean(axis=(2, 3), keepdims=True, dtype=np.float32)
    grey = (means * cast).mean(axis=1, keepdims=True)
    # (pixel * cast - grey) * contrast + grey, as one product and one sum.
    floats: FloatArray = np.multiply(views, cast * contrast, dtype=np.float32)
    floats += grey * (1 - contrast)
    np.clip(floats, 0, 255, out=floats)
    return floats


def _erase(floats: FloatArray, draws: NDArray[np.float64], probability: float, kind: str) -> None:
    """Paint over a random rectangle of some pictures, in place.

    Area and ratio are drawn as in torchvision's RandomErasing: up to ten attempts, the first
    rectangle that is smaller than the picture both ways is taken, none if none is.

    Args:
        floats: float32 (B, 3, H, W), normalised.
        draws: float64 (B, 23), uniform in [0, 1): whether, top, left, ten areas, ten ratios.
        probability: Probability that a picture is erased at all.
        kind: `torchvision` or `fedcapr`; see `training_transform`.
    """
    height, width = floats.shape[2:]
    low, high = (math.log(bound) for bound in _ERASED_RATIO)
    smallest, largest = _ERASED_SHARE[kind]
    fill = np.array(IMAGENET_MEAN if kind == "fedcapr" else (0, 0, 0), np.float32).reshape(3, 1, 1)
    areas, ratios = np.split(draws[:, 3:], 2, axis=1)
    area = (smallest + (largest - smallest) * areas) * (height * width)
    ratio = np.exp(low + (high - low) * ratios)
    heights, widths = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
    fits = (heights < height) & (widths < width)
    for index in np.flatnonzero((draws[:, 0] < probability) & fits.any(axis=1)):
        attempt = fits[index].argmax()
        tall, wide = int(heights[index, attempt]), int(widths[index, attempt])
        top = int(_whole_numbers(draws[index, 1], height - tall + 1))
        left = int(_whole_numbers(draws[index, 2], width - wide + 1))
        floats[index, :, top : top + tall, left : left + wide] = fill


def _whole_numbers(uniform: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Turn uniform draws in [0, 1) into whole numbers 0 to count - 1, each as likely."""
    # count * (1 - 2^-53) may round up to count.
    return np.minimum(np.floor(uniform * count), count - 1).astype(np.int64)
