"""A drawn camera: its light and viewpoint, and what its lens and sensor do to a picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedklpr_flwr.data.drawn.canvas import Colour, Dice, FloatArray
from fedklpr_flwr.data.drawn.pose import turned
from fedklpr_flwr.data.drawn.site import Filming


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


def develop(
    pixels: FloatArray, camera: CameraLook, exposure: float, dice: Dice
) -> NDArray[np.uint8]:
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
    pixels_out: NDArray[np.uint8] = np.floor(seen * 255.0 + 0.5).astype(np.uint8)
    return pixels_out


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
