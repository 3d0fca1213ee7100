"""The colours of a picture's stripes, against a slow count, and what they must tell apart."""

import colorsys

import numpy as np
import pytest
import torch

from fedklpr_flwr.reid.colour_stripes import colour_stripes


def _pictures(count: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, height, width), generator=random, dtype=torch.uint8)


def _by_hand(picture: torch.Tensor) -> np.ndarray:
    """One pixel at a time, with the standard library's hue."""
    _, height, width = picture.shape
    found = np.zeros((8, 124))
    for row in range(height):
        for column in range(width):
            weight = np.exp(-((((column + 0.5) / width - 0.5) / 0.22) ** 2) / 2)
            red, green, blue = ((int(v) // 8 + 0.5) / 32 for v in picture[:, row, column])
            hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
            shares = [(part / (red + green + blue) - 0.1) / 0.5 for part in (red, green)]
            of_red, of_green = (min(7, max(0, int(np.floor(share * 8)))) for share in shares)
            place = min(11, int(hue * 12 + 1e-6)) * 4 + min(3, int(saturation * 4 + 1e-6))
            stripe = found[row * 8 // height]
            stripe[place] += weight
            stripe[48 + min(11, int(value * 12 + 1e-6))] += weight
            stripe[60 + of_red * 8 + of_green] += weight
    for part in (slice(0, 48), slice(48, 60), slice(60, 124)):
        found[:, part] /= found[:, part].sum(axis=1, keepdims=True)
    roots = np.sqrt(found).ravel()
    return roots / np.linalg.norm(roots)


@pytest.mark.parametrize(("height", "width"), [(16, 8), (11, 5), (24, 12)])
def test_equals_a_count_pixel_by_pixel(height: int, width: int) -> None:
    pictures = _pictures(3, height, width)
    expected = np.stack([_by_hand(picture) for picture in pictures])
    difference = np.abs(colour_stripes(pictures).numpy() - expected)
    # A colour on the border of two bins may fall into either.
    assert np.mean(difference > 1e-5) < 0.02


def test_rows_have_unit_length_and_do_not_depend_on_the_others() -> None:
    pictures = _pictures(600, 16, 8)
    found = colour_stripes(pictures)
    assert found.shape == (600, 992)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.norm(dim=1), torch.ones(600))
    torch.testing.assert_close(found[511:513], colour_stripes(pictures[511:513]))


def test_no_pictures_have_no_rows() -> None:
    assert colour_stripes(_pictures(0, 16, 8)).shape == (0, 992)


def test_fewer_rows_than_stripes_leave_stripes_empty() -> None:
    assert bool(torch.isfinite(colour_stripes(_pictures(2, 3, 4))).all())


@pytest.mark.parametrize("level", [0, 255])
def test_black_and_white_pictures_are_described(level: int) -> None:
    found = colour_stripes(torch.full((1, 3, 16, 8), level, dtype=torch.uint8))
    assert bool(torch.isfinite(found).all())
    assert float(found.norm()) == pytest.approx(1)


def test_a_person_is_known_by_the_clothes_wherever_they_stand_a_little() -> None:
    """Red above blue, moved by two columns, against blue above red in the same place."""

    def person(upper: int, lower: int, left: int) -> torch.Tensor:
        picture = torch.full((1, 3, 32, 16), 90, dtype=torch.uint8)
        for half, channel in ((slice(0, 16), upper), (slice(16, 32), lower)):
            picture[0, :, half, left : left + 8] = 20
            picture[0, channel, half, left : left + 8] = 200
        return picture

    one, moved, other = (colour_stripes(person(*who)) for who in ((0, 2, 4), (0, 2, 6), (2, 0, 4)))
    assert float((one * moved).sum()) > 0.95 > 0.7 > float((one * other).sum())
