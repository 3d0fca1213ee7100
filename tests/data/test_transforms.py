"""The views of training and evaluation against slow loops and torchvision."""

import math

import pytest
import torch
from torchvision.transforms import RandomErasing

from fedklpr_flwr.data.transforms import evaluation_transform, training_transform

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def pictures(count: int, height: int = 16, width: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator)


def slow_view(picture, draws, flip, padding, erasing, jitter, largest=0.33, fill=(0, 0, 0)):
    """One picture's view, pixel by pixel, from its 31 random numbers."""
    _, height, width = picture.shape
    top = min(int(draws[1] * (2 * padding + 1)), 2 * padding)
    left = min(int(draws[2] * (2 * padding + 1)), 2 * padding)
    pixels = torch.zeros(3, height, width, dtype=torch.float64)
    for row in range(height):
        for column in range(width):
            source_row, source_column = row + top - padding, column + left - padding
            if 0 <= source_row < height and 0 <= source_column < width:
                if draws[0] < flip:
                    source_column = width - 1 - source_column
                pixels[:, row, column] = picture[:, source_row, source_column].double()
    if jitter:
        brightness, red, green, blue, contrast = (
            1 + jitter * (2 * value - 1) for value in draws[3:8]
        )
        for channel, gain in enumerate((red, green, blue)):
            pixels[channel] *= brightness * gain
        grey = pixels.mean()
        pixels = ((pixels - grey) * contrast + grey).clamp(0, 255)
    for channel in range(3):
        pixels[channel] = (pixels[channel] / 255 - MEAN[channel]) / STD[channel]
    if draws[8] < erasing:
        for attempt in range(10):
            area = (0.02 + (largest - 0.02) * draws[11 + attempt]) * height * width
            low, high = math.log(0.3), math.log(3.3)
            ratio = math.exp(low + (high - low) * draws[21 + attempt])
            tall, wide = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if tall < height and wide < width:
                row = min(int(draws[9] * (height - tall + 1)), height - tall)
                column = min(int(draws[10] * (width - wide + 1)), width - wide)
                colour = torch.tensor(fill, dtype=torch.float64)[:, None, None]
                pixels[:, row : row + tall, column : column + wide] = colour
                break
    return pixels


def test_evaluation_view_is_imagenet_normalisation():
    black_and_white = torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 1, 2).repeat(1, 3, 1, 1)
    view = evaluation_transform(black_and_white)
    for channel in range(3):
        assert view[0, channel, 0, 0].item() == pytest.approx(-MEAN[channel] / STD[channel])
        assert view[0, channel, 0, 1].item() == pytest.approx((1 - MEAN[channel]) / STD[channel])


@pytest.mark.parametrize(("padding", "jitter"), [(3, 0.0), (3, 0.4), (10, 0.0)])
def test_training_view_equals_a_slow_loop_over_pixels(padding, jitter):
    batch = pictures(24)
    view = training_transform(
        batch, torch.Generator().manual_seed(3), padding=padding, erasing=0.6, jitter=jitter
    )
    draws = torch.rand((24, 31), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for index in range(24):
        slow = slow_view(batch[index], draws[index].tolist(), 0.5, padding, 0.6, jitter)
        torch.testing.assert_close(view[index].double(), slow, atol=2e-5, rtol=1e-5)


def test_with_every_change_off_training_sees_what_evaluation_sees():
    batch = pictures(6)
    view = training_transform(batch, torch.Generator(), flip=0, padding=0, erasing=0)
    assert torch.equal(view, evaluation_transform(batch))


def test_a_certain_mirror_is_a_mirror():
    batch = pictures(4)
    view = training_transform(batch, torch.Generator(), flip=1, padding=0, erasing=0)
    assert torch.equal(view, evaluation_transform(batch.flip(3)))


def test_one_seed_gives_one_view_and_another_seed_another():
    batch = pictures(8)
    first, again, other = (
        training_transform(batch, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_switching_erasing_off_leaves_crops_and_mirrors_as_they_were():
    batch = pictures(16)
    erased = training_transform(batch, torch.Generator().manual_seed(1), padding=2)
    whole = training_transform(batch, torch.Generator().manual_seed(1), padding=2, erasing=0)
    kept = erased != 0
    assert torch.equal(erased[kept], whole[kept])
    assert not kept.all()


def test_stored_pictures_are_not_changed():
    batch = pictures(8)
    before = batch.clone()
    training_transform(batch, torch.Generator().manual_seed(0), jitter=0.5)
    evaluation_transform(batch)
    assert torch.equal(batch, before)


def test_the_global_random_state_is_not_touched():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    training_transform(pictures(4), torch.Generator().manual_seed(0), jitter=0.5)
    assert torch.equal(torch.get_rng_state(), before)


def test_erased_share_is_that_of_torchvision():
    white = torch.full((3000, 3, 32, 16), 255, dtype=torch.uint8)
    view = training_transform(white, torch.Generator().manual_seed(0), flip=0, padding=0)
    ours = (view[:, 0] == 0).double().mean(dim=(1, 2))
    torch.manual_seed(0)
    theirs = torch.stack(
        [(RandomErasing(0.5)(torch.ones(1, 32, 16)) == 0).double().mean() for _ in range(3000)]
    )
    assert (ours > 0).double().mean().item() == pytest.approx(0.5, abs=0.04)
    assert ours.mean().item() == pytest.approx(theirs.mean().item(), abs=0.008)
    assert ours.max() < 0.36


@pytest.mark.parametrize("jitter", [0.0, 0.2])
def test_channels_last_changes_the_layout_alone(jitter):
    batch = pictures(5)
    rows = training_transform(batch, torch.Generator().manual_seed(1), jitter=jitter)
    channels = training_transform(
        batch,
        torch.Generator().manual_seed(1),
        jitter=jitter,
        memory_format=torch.channels_last,
    )
    assert channels.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(rows, channels)
    assert evaluation_transform(batch, memory_format=torch.channels_last).is_contiguous(
        memory_format=torch.channels_last
    )


def test_an_empty_batch_stays_empty():
    nothing = torch.empty((0, 3, 16, 8), dtype=torch.uint8)
    assert training_transform(nothing, torch.Generator(), jitter=0.1).shape == (0, 3, 16, 8)
    assert evaluation_transform(nothing).shape == (0, 3, 16, 8)


def test_fedcapr_erases_less_and_fills_with_the_mean_it_takes_for_a_colour():
    batch = pictures(6, 24, 12)
    draws = torch.rand((6, 31), generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    view = training_transform(
        batch, torch.Generator().manual_seed(8), padding=2, erasing=0.9, erased="fedcapr"
    )
    for index, picture in enumerate(batch):
        expected = slow_view(picture, draws[index].tolist(), 0.5, 2, 0.9, 0.0, 0.2, MEAN)
        torch.testing.assert_close(view[index].double(), expected, atol=1e-5, rtol=1e-5)
