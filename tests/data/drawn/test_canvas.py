"""Shapes land where they should, pixel by pixel; dice are fair and repeatable."""

import math
from collections import Counter

import numpy as np
import pytest

from fedklpr_flwr.data.drawn.canvas import Canvas, Dice, mix, saw, shade

RED = (1.0, 0.0, 0.0)


def blank(height: int = 40, width: int = 30) -> np.ndarray:
    return np.zeros((height, width, 3))


def covered_by_loop(distance_at: object, height: int, width: int, stretch: float) -> np.ndarray:
    """Each pixel's cover from its own distance to the outline, one pixel at a time."""
    cover = np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            x = (column + 0.5) / (height * stretch)
            y = (row + 0.5) / height
            cover[row, column] = min(max(0.5 - distance_at(x, y) * height, 0.0), 1.0)
    return cover


@pytest.mark.parametrize("stretch", [1.0, 1.3])
def test_an_ellipse_equals_the_slow_loop(stretch: float) -> None:
    pixels = blank()
    Canvas(pixels, stretch).ellipse((0.3, 0.45), (0.1, 0.25), RED)

    def distance(x: float, y: float) -> float:
        return (math.hypot((x - 0.3) / 0.1, (y - 0.45) / 0.25) - 1.0) * 0.1

    expected = covered_by_loop(distance, 40, 30, stretch)
    assert np.allclose(pixels[:, :, 0], expected, atol=1e-12)
    assert not pixels[:, :, 1:].any()


def test_a_capsule_equals_the_slow_loop() -> None:
    pixels = blank()
    Canvas(pixels).capsule((0.2, 0.2), (0.5, 0.7), (0.1, 0.04), RED)

    def distance(x: float, y: float) -> float:
        share = ((x - 0.2) * 0.3 + (y - 0.2) * 0.5) / (0.3 * 0.3 + 0.5 * 0.5)
        share = min(max(share, 0.0), 1.0)
        away = math.hypot(x - 0.2 - share * 0.3, y - 0.2 - share * 0.5)
        return away - (0.1 + share * (0.04 - 0.1))

    expected = covered_by_loop(distance, 40, 30, 1.0)
    assert np.allclose(pixels[:, :, 0], expected, atol=1e-9)


def test_a_trapezoid_has_the_area_of_a_trapezoid() -> None:
    pixels = blank(200, 200)
    Canvas(pixels).block((0.5, 0.2), (0.5, 0.8), (0.1, 0.3), RED)
    assert pixels[:, :, 0].mean() == pytest.approx((0.2 + 0.6) / 2 * 0.6, rel=0.01)


def test_a_cloth_is_measured_from_its_own_edges() -> None:
    canvas = Canvas(blank(200, 200))
    patch, distance, across, down = canvas.trapezoid((0.5, 0.2), (0.5, 0.8), (0.2, 0.2))
    inside = distance < 0
    assert across[inside].min() == pytest.approx(-1.0, abs=0.03)
    assert across[inside].max() == pytest.approx(1.0, abs=0.03)
    rows = inside.any(axis=1)
    assert down[rows].min() == pytest.approx(0.0, abs=0.01)
    assert down[rows].max() == pytest.approx(1.0, abs=0.01)
    assert patch.x.shape[1] == across.shape[1]


@pytest.mark.parametrize("centre", [(-5.0, 0.5), (9.0, 0.5), (0.3, -4.0), (0.3, 7.0)])
def test_a_shape_outside_the_picture_changes_nothing(centre: tuple[float, float]) -> None:
    pixels = blank()
    Canvas(pixels).ellipse(centre, (0.2, 0.2), RED)
    assert not pixels.any()


def test_equal_keys_give_equal_streams_and_others_do_not() -> None:
    one, same, other = Dice(1, 2, 3), Dice(1, 2, 3), Dice(1, 2, 4)
    thrown = [one.uniform() for _ in range(5)]
    assert thrown == [same.uniform() for _ in range(5)]
    assert thrown != [other.uniform() for _ in range(5)]


def test_whole_numbers_include_both_ends_equally() -> None:
    dice = Dice(5)
    counts = Counter(dice.whole(2, 4) for _ in range(3000))
    assert set(counts) == {2, 3, 4}
    assert min(counts.values()) > 900


def test_names_are_picked_by_their_weights() -> None:
    dice = Dice(6)
    counts = Counter(dice.pick({"never": 0.0, "rarely": 1.0, "often": 3.0}) for _ in range(4000))
    assert counts["never"] == 0
    assert counts["often"] / counts["rarely"] == pytest.approx(3.0, rel=0.15)


def test_numbers_around_zero_stay_within_the_spread() -> None:
    dice = Dice(7)
    thrown = [dice.around(0.2) for _ in range(2000)]
    assert max(abs(number) for number in thrown) < 0.2
    assert abs(sum(thrown)) / 2000 < 0.01


def test_colours_mix_and_shade_by_hand() -> None:
    assert mix((0.0, 0.5, 1.0), (1.0, 0.5, 0.0), 0.25) == (0.25, 0.5, 0.75)
    assert shade((0.2, 0.5, 0.9), 2.0) == (0.4, 1.0, 1.0)
    assert saw(np.array([0.0, 1.25, -0.25])).tolist() == [0.0, 0.25, 0.75]
