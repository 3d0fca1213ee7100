"""What a person wears, as colours in horizontal stripes: a look that no training can spoil."""

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

_STRIPES = 8
_HUES, _SATURATIONS, _VALUES, _SHARES = 12, 4, 12, 8
_SIZES = (_HUES * _SATURATIONS, _VALUES, _SHARES * _SHARES)
_SHARE_RANGE = (0.1, 0.6)  # of red and of green in red + green + blue
_MIDDLE = 0.22  # deviation of the columns' weights, in widths: a person stands in the middle
_LEVELS = 32  # of a colour channel that are told apart
_CHUNK = 256


def colour_stripes(pixels: Tensor) -> Tensor:
    """Describe each picture by the colours of its stripes.

    In each of 8 stripes from head to feet, pixels in the middle counting more, three histograms:
    hue by saturation (12 x 4), value (12), and the shares of red and green (8 x 8). Each has sum 1
    and is replaced by its square roots, so that a product of two is Bhattacharyya's coefficient.

    Args:
        pixels: uint8 (N,3,H,W), RGB, of people who stand upright.

    Returns:
        (N,992) float32, rows of unit length, on the host.

    Source: colours of a person's parts are the field's oldest descriptors (Gray and Tao,
        "Viewpoint invariant pedestrian recognition with an ensemble of localized features", 2008;
        Farenzena et al., "Person re-identification by symmetry-driven accumulation of local
        features", 2010); the numbers are ours.
    """
    if not len(pixels):
        return torch.empty(0, _STRIPES * sum(_SIZES))
    return torch.cat([_described(chunk.cpu()) for chunk in torch.split(pixels, _CHUNK)])


def _described(pixels: Tensor) -> Tensor:
    count, _, height, width = pixels.shape
    stripe = (torch.arange(height) * _STRIPES // height)[:, None]
    place = (torch.arange(count)[:, None, None] * _STRIPES + stripe).expand(count, height, width)
    across = (torch.arange(width) + 0.5) / width - 0.5
    weight = torch.exp(-((across / _MIDDLE) ** 2) / 2).expand(count, height, width).flatten()
    red, green, blue = (pixels.long() * _LEVELS // 256).unbind(1)
    colour = (red * _LEVELS + green) * _LEVELS + blue
    histograms = []
    for size, bin_of in zip(_SIZES, _bins_of_colours(), strict=True):
        flat = (place * size + bin_of[colour]).flatten()
        counted = torch.bincount(flat, weight, count * _STRIPES * size)
        histograms.append(functional.normalize(counted.view(count, _STRIPES, size), p=1, dim=2))
    return functional.normalize(torch.cat(histograms, 2).sqrt().flatten(1).float(), dim=1)


@cache
def _bins_of_colours() -> tuple[Tensor, Tensor, Tensor]:
    """The place of each colour that is told apart in the three histograms; int64 (32^3,) each."""
    level = (torch.arange(_LEVELS) + 0.5) / _LEVELS
    colours = torch.cartesian_prod(level, level, level)
    red, green, blue = colours.unbind(1)
    value, spread = colours.amax(1), colours.amax(1) - colours.amin(1)
    turn = torch.where(
        value == red,
        ((green - blue) / spread) % 6,
        torch.where(value == green, (blue - red) / spread + 2, (red - green) / spread + 4),
    )
    hue = torch.where(spread > 0, turn / 6, 0)
    low, high = _SHARE_RANGE
    total = red + green + blue
    of_red, of_green = (_bin((part / total - low) / (high - low), _SHARES) for part in (red, green))
    by_hue = _bin(hue, _HUES) * _SATURATIONS + _bin(spread / value, _SATURATIONS)
    return by_hue, _bin(value, _VALUES), of_red * _SHARES + of_green


def _bin(number: Tensor, bins: int) -> Tensor:
    """The bin of numbers in 0..1; what lies outside falls into the outermost."""
    return (number * bins).long().clamp(0, bins - 1)
