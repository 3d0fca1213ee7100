"""A drawn camera: the scene it looks at, its light, and what its lens and sensor do to a picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedklpr_flwr.data.drawn_canvas import (
    Canvas,
    Colour,
    Dice,
    FloatArray,
    mix,
    saw,
    shade,
)
from fedklpr_flwr.data.drawn_site import Filming

_WALLS: tuple[Colour, ...] = (
    (0.62, 0.58, 0.52), (0.45, 0.47, 0.50), (0.70, 0.66, 0.58), (0.52, 0.36, 0.28),
    (0.30, 0.42, 0.26), (0.58, 0.62, 0.66),
)  # fmt: skip
_GROUNDS: tuple[Colour, ...] = (
    (0.46, 0.45, 0.44), (0.58, 0.55, 0.50), (0.36, 0.36, 0.38), (0.40, 0.50, 0.28),
    (0.55, 0.44, 0.36), (0.66, 0.65, 0.62),
)  # fmt: skip
SCENE_WIDTHS = 5  # a scene is this many pictures wide; people walk through it


@dataclass(frozen=True, slots=True)
class CameraLook:
    """What stays the same in every picture of one camera.

    Attributes:
        gains: factor of each channel (colour cast and exposure).
        contrast: 0 = none added; positive steepens the middle of the tone curve.
        fade: share of grey mixed in.
        haze: light added everywhere.
        blur: binomial passes.
        coarse: True = half the resolution.
        elevation: see Pose.elevation.
        toward, aside: cosine and sine of the direction in which people pass this camera.
        ramp: how much lighter the lower end is than the upper, as a share.
        noise: half the width of the sensor's noise.
    """

    gains: Colour
    contrast: float
    fade: float
    haze: float
    blur: int
    coarse: bool
    elevation: float
    toward: float
    aside: float
    ramp: float
    noise: float


def draw_camera(dice: Dice, filming: Filming) -> CameraLook:
    """A camera of a site; equal dice give an equal camera."""
    exposure = 1.0 + dice.between(-filming.light, filming.light)
    warmth = dice.between(-filming.cast, filming.cast)
    tint = dice.between(-filming.cast, filming.cast)
    toward, aside = turned(1.0 if dice.chance(0.5) else -1.0, 0.0, dice.around(filming.turn))
    return CameraLook(
        gains=(exposure * (1.0 + warmth), exposure * (1.0 + 0.6 * tint), exposure * (1.0 - warmth)),
        contrast=dice.between(-0.5 * filming.contrast, filming.contrast),
        fade=dice.between(0.0, filming.fade),
        haze=dice.between(0.0, filming.haze),
        blur=dice.whole(0, filming.blur),
        coarse=dice.chance(filming.coarse),
        elevation=dice.between(0.0, filming.elevation),
        toward=toward,
        aside=aside,
        ramp=dice.between(-0.2, 0.2),
        noise=filming.noise * dice.between(0.3, 1.0),
    )


def turned(toward: float, aside: float, turn: float) -> tuple[float, float]:
    """A direction turned by an angle given as half its tangent.

    Args:
        toward: cosine of the direction.
        aside: its sine.
        turn: tangent of half the angle; 1 is a quarter circle. (A rational turn needs no sine.)

    Returns:
        Cosine and sine of the new direction.
    """
    whole = 1.0 + turn * turn
    cosine, sine = (1.0 - turn * turn) / whole, 2.0 * turn / whole
    return toward * cosine - aside * sine, toward * sine + aside * cosine


def draw_scene(place: Dice, dice: Dice, strangeness: float, height: int, width: int) -> FloatArray:
    """The empty scene of a camera, several pictures wide.

    Args:
        place: the site's stream, the same for all its cameras.
        dice: the scene's own stream.
        strangeness: 0 = walls and ground have the site's tones, 1 = their own.
        height: of a picture, in pixels.
        width: of a picture, in pixels.

    Returns:
        (height, SCENE_WIDTHS * width, 3) float64 in [0, 1].
    """
    wide = SCENE_WIDTHS * width
    canvas = Canvas(np.empty((height, wide, 3)))
    wall = mix(_tone(place, _WALLS), _tone(dice, _WALLS), strangeness)
    ground = mix(_tone(place, _GROUNDS), _tone(dice, _GROUNDS), strangeness)
    horizon = dice.between(0.15, 0.65)
    depth = ((np.arange(height, dtype=np.float64) + 0.5) / height)[:, None, None]
    near = np.where(depth < horizon, np.asarray(wall), np.asarray(ground))
    canvas.pixels[:] = near * (0.92 + 0.16 * np.abs(depth - horizon))
    _paint_furniture(canvas, dice, horizon)
    _paint_paving(canvas, dice, horizon, ground)
    return np.minimum(canvas.pixels * (0.90 + 0.2 * _cloudy(dice, height, wide)), 1.0)


def _tone(dice: Dice, tones: tuple[Colour, ...]) -> Colour:
    """One of the tones, a little lighter or darker."""
    return shade(tones[dice.whole(0, len(tones) - 1)], dice.between(0.85, 1.15))


def _paint_furniture(canvas: Canvas, dice: Dice, horizon: float) -> None:
    """Doors, windows, trees, posts along the back of the scene."""
    x = dice.between(0.0, 0.3)
    while x < canvas.breadth:
        kind = dice.pick({"post": 2.0, "window": 2.0, "door": 1.0, "bush": 2.0, "none": 2.0})
        size = dice.between(0.06, 0.16)
        tone = (dice.between(0.15, 0.75), dice.between(0.15, 0.75), dice.between(0.15, 0.75))
        grey = mix(tone, (0.45, 0.45, 0.45), 0.6)
        if kind == "post":
            canvas.block((x, 0.0), (x, horizon + 0.12), (0.018, 0.018), grey)
        elif kind == "window":
            canvas.block((x, 0.04), (x, horizon * 0.6), (size, size), grey)
            canvas.block((x, 0.04), (x, horizon * 0.6), (0.008, 0.008), (0.9, 0.9, 0.9))
        elif kind == "door":
            canvas.block((x, horizon * 0.2), (x, horizon), (size * 0.7, size * 0.7), grey)
        elif kind == "bush":
            leaf = (0.18 + 0.1 * tone[0], 0.32 + 0.2 * tone[1], 0.12)
            canvas.ellipse((x, horizon - 0.03), (size, size), leaf)
        x += size + dice.between(0.08, 0.5)


def _paint_paving(canvas: Canvas, dice: Dice, horizon: float, ground: Colour) -> None:
    """Lines on the ground, closer together towards the horizon."""
    if dice.chance(0.4):
        return
    tone = shade(ground, 0.75 if dice.chance(0.6) else 1.25)
    y, gap = horizon, dice.between(0.02, 0.05)
    middle = 0.5 * canvas.breadth
    while y < 1.0:
        canvas.block((middle, y), (middle, y + 0.012), (middle, middle), tone)
        y += gap
        gap = gap * 1.5


def _cloudy(dice: Dice, height: int, width: int) -> FloatArray:
    """Smooth random light and shade in [0, 1], (height, width, 1): interpolated lattice noise."""
    lattice = dice.field(9, 33)
    y = (np.arange(height, dtype=np.float64) + 0.5) / height * 8.0
    x = (np.arange(width, dtype=np.float64) + 0.5) / width * 32.0
    row, column = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
    down, across = saw(y)[:, None], saw(x)[None, :]
    upper = lattice[row][:, column] * (1.0 - across) + lattice[row][:, column + 1] * across
    lower = lattice[row + 1][:, column] * (1.0 - across) + lattice[row + 1][:, column + 1] * across
    smooth: FloatArray = (upper * (1.0 - down) + lower * down)[:, :, None]
    return smooth


def develop(pixels: FloatArray, camera: CameraLook, exposure: float, dice: Dice) -> FloatArray:
    """What the camera makes of the light that reaches it.

    Args:
        pixels: (H, W, 3) float64 in [0, 1], the scene with the person.
        camera: the camera.
        exposure: the light of the moment, a factor near 1.
        dice: the picture's own stream, for the noise.

    Returns:
        (H, W, 3) uint8.
    """
    seen = _soften(pixels, camera.blur, camera.coarse)
    height = seen.shape[0]
    depth = (np.arange(height, dtype=np.float64) + 0.5) / height - 0.5
    light = (exposure * (1.0 + camera.ramp * depth))[:, None, None]
    seen = seen * (np.asarray(camera.gains) * light)
    grey = (0.3 * seen[:, :, 0] + 0.6 * seen[:, :, 1] + 0.1 * seen[:, :, 2])[:, :, None]
    seen = seen + (grey - seen) * camera.fade + camera.haze
    seen = seen + camera.noise * (dice.field(*seen.shape) - dice.field(*seen.shape))
    seen = np.minimum(np.maximum(seen, 0.0), 1.0)
    seen = seen + camera.contrast * seen * (1.0 - seen) * (2.0 * seen - 1.0)
    return np.floor(seen * 255.0 + 0.5).astype(np.uint8)


def _soften(pixels: FloatArray, blur: int, coarse: bool) -> FloatArray:
    """Blur by binomial passes; then, if coarse, halve the resolution and enlarge again."""
    for _ in range(blur):
        pixels = _binomial(_binomial(pixels).transpose(1, 0, 2)).transpose(1, 0, 2)
    if not coarse or pixels.shape[0] % 2 or pixels.shape[1] % 2:
        return pixels
    top, bottom = pixels[0::2], pixels[1::2]
    small = 0.25 * ((top[:, 0::2] + top[:, 1::2]) + (bottom[:, 0::2] + bottom[:, 1::2]))
    return _enlarged(_enlarged(small).transpose(1, 0, 2)).transpose(1, 0, 2)


def _binomial(pixels: FloatArray) -> FloatArray:
    """Each row mixed with its neighbours, weights 1/4, 1/2, 1/4; the outermost rows repeat."""
    above = np.concatenate((pixels[:1], pixels[:-1]))
    below = np.concatenate((pixels[1:], pixels[-1:]))
    mixed: FloatArray = 0.25 * (above + below) + 0.5 * pixels
    return mixed


def _enlarged(pixels: FloatArray) -> FloatArray:
    """Twice as many rows, by linear interpolation; the outermost rows repeat."""
    above = np.concatenate((pixels[:1], pixels[:-1]))
    below = np.concatenate((pixels[1:], pixels[-1:]))
    grown = np.empty((2 * pixels.shape[0], *pixels.shape[1:]))
    grown[0::2] = 0.75 * pixels + 0.25 * above
    grown[1::2] = 0.75 * pixels + 0.25 * below
    return grown
