"""Batches of stored pictures become what a network sees, in training and in evaluation."""

import math

import torch

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# torchvision's RandomErasing: share of the area, height over width, and how often it tries.
_ERASED_SHARE = (0.02, 0.33)
_ERASED_RATIO = (0.3, 3.3)
_ERASING_ATTEMPTS = 10

# How many random numbers a picture takes: mirror and place, colour, erasing.
_PLACE_DRAWS = 3
_COLOUR_DRAWS = 5
_ERASING_DRAWS = 3 + 2 * _ERASING_ATTEMPTS


def evaluation_transform(
    pictures: torch.Tensor, *, memory_format: torch.memory_format = torch.contiguous_format
) -> torch.Tensor:
    """Normalise stored pictures, and nothing else.

    x = (pixel / 255 - mean) / std, per colour channel, with ImageNet's mean and std.

    Args:
        pictures: uint8 (B, 3, H, W), 0 to 255, RGB.
        memory_format: Layout of the result.

    Returns:
        float32 (B, 3, H, W), about -2.1 to 2.7.
    """
    return _normalise(pictures.to(torch.float32)).contiguous(memory_format=memory_format)


def training_transform(
    pictures: torch.Tensor,
    generator: torch.Generator,
    *,
    flip: float = 0.5,
    padding: int = 10,
    erasing: float = 0.5,
    jitter: float = 0.0,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> torch.Tensor:
    """Mirror, pad and crop, normalise, and erase a rectangle, differently in every picture.

    Every picture takes the same number of random numbers whatever the settings, so that switching
    one change off leaves the others as they were. With flip, padding, erasing and jitter 0 this is
    `evaluation_transform`.

    Args:
        pictures: uint8 (B, 3, H, W), 0 to 255, RGB.
        generator: Where the random numbers come from.
        flip: Probability of a left-right mirror image, 0 to 1.
        padding: Black pixels added on each side before a random crop to (H, W), >= 0.
        erasing: Probability that a rectangle is set to 0 after normalisation, 0 to 1.
        jitter: Largest relative change of brightness, contrast and each colour channel, 0 to 1.
        memory_format: Layout of the result.

    Returns:
        float32 (B, 3, H, W), normalised with ImageNet's mean and std.

    Source: FedCAPR's training view (mirror .5, pad 10, crop, erasing .5); torchvision's
        RandomErasing for the rectangle. Jitter is ours, off by default.
    """
    draws = torch.rand(
        (len(pictures), _PLACE_DRAWS + _COLOUR_DRAWS + _ERASING_DRAWS),
        generator=generator,
        device=generator.device,
        dtype=torch.float64,
    ).cpu()
    place = draws[:, :_PLACE_DRAWS]
    colour = draws[:, _PLACE_DRAWS : _PLACE_DRAWS + _COLOUR_DRAWS]
    rectangle = draws[:, _PLACE_DRAWS + _COLOUR_DRAWS :]
    views = _flip_and_crop(pictures, place, flip, padding)
    floats = views.to(torch.float32)
    if jitter > 0:
        floats = _jitter_colours(floats, colour.to(floats), jitter)
    floats = _normalise(floats)
    if erasing > 0:
        _erase(floats, rectangle, erasing)
    return floats.contiguous(memory_format=memory_format)


def _normalise(floats: torch.Tensor) -> torch.Tensor:
    """Turn float pixels 0 to 255 into ImageNet-normalised values, in place."""
    mean = torch.tensor(IMAGENET_MEAN, device=floats.device).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD, device=floats.device).view(1, 3, 1, 1)
    return floats.mul_(1 / (255 * std)).sub_(mean / std)


def _flip_and_crop(
    pictures: torch.Tensor, draws: torch.Tensor, flip: float, padding: int
) -> torch.Tensor:
    """Mirror some pictures, pad all with black, and cut each at its own place.

    Args:
        pictures: uint8 (B, 3, H, W).
        draws: float64 (B, 3), uniform in [0, 1): mirror, top, left.
        flip: Probability of a mirror image.
        padding: Black pixels on each side.

    Returns:
        uint8 (B, 3, H, W), a new tensor.
    """
    count, channels, height, width = pictures.shape
    padded = pictures.new_zeros(count, channels, height + 2 * padding, width + 2 * padding)
    padded[:, :, padding : padding + height, padding : padding + width] = pictures
    mirrored = (draws[:, 0] < flip).nonzero().squeeze(1).to(pictures.device)
    padded[mirrored] = padded[mirrored].flip(3)
    if padding == 0:
        return padded
    views = torch.empty_like(padded[:, :, :height, :width], memory_format=torch.contiguous_format)
    corners = _whole_numbers(draws[:, 1:], 2 * padding + 1).tolist()
    # A loop of slices: three times as fast as one gather with an index for every pixel.
    for view, picture, (top, left) in zip(views, padded, corners, strict=True):
        view.copy_(picture[:, top : top + height, left : left + width])
    return views


def _jitter_colours(floats: torch.Tensor, draws: torch.Tensor, strength: float) -> torch.Tensor:
    """Change brightness, colour cast and contrast of each picture by up to +-strength, in place.

    Args:
        floats: float32 (B, 3, H, W), 0 to 255.
        draws: float32 (B, 5), uniform in [0, 1): brightness, red, green, blue, contrast.
        strength: Largest relative change, 0 to 1.

    Returns:
        float32 (B, 3, H, W), 0 to 255.
    """
    gains = (1 + strength * (2 * draws - 1)).view(len(draws), 5, 1, 1)
    cast, contrast = gains[:, :1] * gains[:, 1:4], gains[:, 4:]
    grey = (floats.mean(dim=(2, 3), keepdim=True) * cast).mean(dim=1, keepdim=True)
    # (pixel * cast - grey) * contrast + grey, as one product and one sum.
    return floats.mul_(cast * contrast).add_(grey * (1 - contrast)).clamp_(0, 255)


def _erase(floats: torch.Tensor, draws: torch.Tensor, probability: float) -> None:
    """Set a random rectangle of some pictures to 0 (the mean colour), in place.

    Area and ratio are drawn as in torchvision's RandomErasing: up to ten attempts, the first
    rectangle that is smaller than the picture both ways is taken, none if none is.

    Args:
        floats: float32 (B, 3, H, W), normalised.
        draws: float64 (B, 23), uniform in [0, 1): whether, top, left, ten areas, ten ratios.
        probability: Probability that a picture is erased at all.
    """
    height, width = floats.shape[2:]
    low, high = (math.log(bound) for bound in _ERASED_RATIO)
    smallest, largest = _ERASED_SHARE
    areas, ratios = draws[:, 3:].chunk(2, dim=1)
    area = (smallest + (largest - smallest) * areas) * (height * width)
    ratio = torch.exp(low + (high - low) * ratios)
    heights, widths = torch.sqrt(area * ratio).round(), torch.sqrt(area / ratio).round()
    fits = (heights < height) & (widths < width)
    chosen = fits.int().argmax(dim=1, keepdim=True)
    tall, wide = heights.gather(1, chosen).squeeze(1), widths.gather(1, chosen).squeeze(1)
    tops = _whole_numbers(draws[:, 1], height - tall + 1)
    lefts = _whole_numbers(draws[:, 2], width - wide + 1)
    erased = (draws[:, 0] < probability) & fits.any(dim=1)
    boxes = torch.stack([tops, lefts, tall.long(), wide.long()], dim=1)[erased].tolist()
    for picture, (top, left, tall_, wide_) in zip(erased.nonzero().tolist(), boxes, strict=True):
        floats[picture[0], :, top : top + tall_, left : left + wide_] = 0.0


def _whole_numbers(uniform: torch.Tensor, count: int | torch.Tensor) -> torch.Tensor:
    """Turn uniform draws in [0, 1) into whole numbers 0 to count - 1, each as likely."""
    # count * (1 - 2^-53) may round up to count.
    return torch.minimum(torch.floor(uniform * count), torch.as_tensor(count - 1.0)).long()
