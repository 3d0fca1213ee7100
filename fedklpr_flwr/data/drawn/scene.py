"""What a camera looks at when nobody is there, and what stands in front of people."""

from __future__ import annotations

import numpy as np

from fedklpr_flwr.data.drawn.canvas import (
    Canvas,
    Colour,
    Dice,
    FloatArray,
    mix,
    saw,
    shade,
)

_WALLS: tuple[Colour, ...] = (
    (0.62, 0.58, 0.52), (0.45, 0.47, 0.50), (0.70, 0.66, 0.58), (0.52, 0.36, 0.28),
    (0.30, 0.42, 0.26), (0.58, 0.62, 0.66),
)  # fmt: skip
_GROUNDS: tuple[Colour, ...] = (
    (0.46, 0.45, 0.44), (0.58, 0.55, 0.50), (0.36, 0.36, 0.38), (0.40, 0.50, 0.28),
    (0.55, 0.44, 0.36), (0.66, 0.65, 0.62),
)  # fmt: skip
SCENE_WIDTHS = 5  # a scene is this many pictures wide; people walk through it


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


def paint_obstacle(canvas: Canvas, dice: Dice) -> None:
    """Something between the camera and the person: a post, a low wall, a bush."""
    breadth = canvas.breadth
    tone = dice.between(0.2, 0.7)
    kind = dice.pick({"post": 1.0, "wall": 1.5, "bush": 1.0})
    if kind == "post":
        x = dice.between(0.1, 0.9) * breadth
        canvas.block((x, 0.0), (x, 1.0), (0.03, 0.03), (tone, tone, tone))
    elif kind == "wall":
        top = dice.between(0.72, 0.86)
        middle = 0.5 * breadth
        canvas.block((middle, top), (middle, 1.0), (breadth, breadth), (tone, tone, 0.9 * tone))
    else:
        x = dice.between(0.0, 1.0) * breadth
        canvas.ellipse((x, 0.95), (0.16, dice.between(0.12, 0.25)), (0.15, 0.3 + 0.2 * tone, 0.1))
