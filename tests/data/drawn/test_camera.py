"""A camera does to a picture what its numbers say."""

import numpy as np
import pytest

from fedklpr_flwr.data.drawn.camera import CameraLook, develop
from fedklpr_flwr.data.drawn.canvas import Dice
from fedklpr_flwr.data.drawn.pose import Pose, turned
from fedklpr_flwr.data.drawn.scene import SCENE_WIDTHS, draw_scene

NEUTRAL = {
    "gains": (1.0, 1.0, 1.0), "contrast": 0.0, "fade": 0.0, "haze": 0.0, "blur": 0,
    "coarse": False, "elevation": 0.0, "toward": 1.0, "aside": 0.0, "ramp": 0.0, "noise": 0.0,
}  # fmt: skip
GREYS = np.arange(8 * 4 * 3).reshape(8, 4, 3) / 100.0


def seen(pixels: np.ndarray, exposure: float = 1.0, **changes: object) -> np.ndarray:
    return develop(pixels, CameraLook(**(NEUTRAL | changes)), exposure, Dice(0))


def test_a_neutral_camera_only_rounds() -> None:
    assert np.array_equal(seen(GREYS), np.floor(GREYS * 255.0 + 0.5))


def test_a_cast_multiplies_each_channel() -> None:
    flat = np.full((8, 4, 3), 0.4)
    assert seen(flat, gains=(1.5, 1.0, 0.5))[0, 0].tolist() == [153, 102, 51]
    assert seen(flat, exposure=2.0)[0, 0].tolist() == [204, 204, 204]


def test_too_much_light_is_cut_off_at_white() -> None:
    assert (seen(np.full((8, 4, 3), 0.9), exposure=3.0) == 255).all()


def test_a_full_fade_leaves_grey() -> None:
    faded = seen(GREYS[:, :, ::-1], fade=1.0)
    assert np.array_equal(faded[:, :, 0], faded[:, :, 1])
    assert np.array_equal(faded[:, :, 1], faded[:, :, 2])


def test_contrast_moves_light_and_dark_apart_and_keeps_black_middle_and_white() -> None:
    tones = np.repeat(np.array([0.0, 0.25, 0.5, 0.75, 1.0, 0.5, 0.5, 0.5]), 12).reshape(8, 4, 3)
    shown = seen(tones, contrast=0.5)[:5, 0, 0].tolist()
    assert shown[0] == 0
    assert shown[1] < 64
    assert shown[2] == 128
    assert shown[3] > 191
    assert shown[4] == 255


def test_a_blur_pass_spreads_one_point_by_the_binomial_weights() -> None:
    point = np.zeros((8, 4, 3))
    point[4, 2] = 1.0
    shown = seen(point, blur=1)[3:6, 1:4, 0] / 255.0
    expected = np.outer([0.25, 0.5, 0.25], [0.25, 0.5, 0.25])
    assert np.allclose(shown, expected, atol=0.003)


def test_a_coarse_camera_cannot_see_a_chessboard() -> None:
    chess = np.indices((8, 4)).sum(axis=0)[:, :, None] % 2 * np.ones(3)
    assert (seen(chess, coarse=True) == 128).all()


@pytest.mark.parametrize("shape", [(9, 4, 3), (8, 5, 3)])
def test_an_odd_size_stays_as_sharp_as_it_was(shape: tuple[int, int, int]) -> None:
    flat = np.full(shape, 0.2)
    assert np.array_equal(seen(flat, coarse=True), seen(flat))


def test_a_ramp_lights_the_lower_end() -> None:
    shown = seen(np.full((8, 4, 3), 0.5), ramp=0.4)[:, 0, 0].astype(int)
    assert (np.diff(shown) > 0).all()


def test_noise_stays_within_its_width_and_is_the_pictures_own() -> None:
    flat = np.full((64, 32, 3), 0.5)
    camera = CameraLook(**(NEUTRAL | {"noise": 0.1}))
    first, second = develop(flat, camera, 1.0, Dice(1)), develop(flat, camera, 1.0, Dice(2))
    assert np.abs(first.astype(int) - 128).max() <= 26
    assert not np.array_equal(first, second)
    assert np.array_equal(first, develop(flat, camera, 1.0, Dice(1)))


def test_a_turn_keeps_a_direction_one_long() -> None:
    assert turned(1.0, 0.0, 1.0) == (0.0, 1.0)
    toward, aside = turned(0.6, 0.8, 0.37)
    assert toward * toward + aside * aside == pytest.approx(1.0)
    assert turned(0.6, 0.8, 0.0) == (0.6, 0.8)


def test_a_scene_of_the_sites_own_tones_is_not_strange() -> None:
    familiar = draw_scene(Dice(1), Dice(2), 0.0, 32, 16)
    strange = draw_scene(Dice(1), Dice(2), 1.0, 32, 16)
    assert familiar.shape == (32, SCENE_WIDTHS * 16, 3)
    assert min(familiar.min(), strange.min()) >= 0.0
    assert max(familiar.max(), strange.max()) <= 1.0
    assert not np.array_equal(familiar, strange)


def test_a_body_seen_from_above_has_short_legs_and_a_large_head() -> None:
    level = Pose(0.25, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0)
    above = Pose(0.25, 0.0, 1.0, 1.0, 0.0, 0.0, 0.4)
    assert level.place(0.1, 0.5) == (0.35, 0.5)
    assert above.place(0.0, 0.0)[1] == 0.0
    assert above.place(0.0, 1.0)[1] == 1.0
    assert above.place(0.0, 0.5)[1] == pytest.approx(0.6)
    assert above.size(0.0) > 1.0 > above.size(1.0)


def test_a_body_is_as_broad_as_the_side_it_shows() -> None:
    assert Pose(0.0, 0.0, 1.0, -1.0, 0.0, 0.0, 0.0).breadth(0.11, 0.06) == pytest.approx(0.11)
    assert Pose(0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0).breadth(0.11, 0.06) == pytest.approx(0.06)
