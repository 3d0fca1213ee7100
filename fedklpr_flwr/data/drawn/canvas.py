"""Shapes on a small picture, computed the same to the byte on every machine.

Only operations whose result IEEE 754 fixes are used: +, -, *, /, comparisons, floor and square
root, element by element. No sine, power, dot product or float sum: their last bit depends on the
processor or on the library, and one last bit can turn a pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]
Colour: TypeAlias = tuple[float, float, float]
Point: TypeAlias = tuple[float, float]


class Dice:
    """A stream of random numbers that a tuple of whole numbers names.

    Args:
        *key: whole numbers >= 0; equal keys give equal streams.

    Only the generator's raw uniform numbers are used, whose stream NumPy keeps stable.
    """

    def __init__(self, *key: int) -> None:
        self._generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(list(key))))

    def uniform(self) -> float:
        """One number in [0, 1)."""
        return float(self._generator.random())

    def between(self, low: float, high: float) -> float:
        """One number in [low, high)."""
        return low + (high - low) * self.uniform()

    def around(self, spread: float) -> float:
        """One number in (-spread, spread), most often near 0 (a triangle distribution)."""
        return spread * (self.uniform() - self.uniform())

    def whole(self, low: int, high: int) -> int:
        """One whole number in [low, high], both ends included."""
        return low + math.floor(self.uniform() * (high - low + 1))

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.uniform() < probability

    def pick(self, weights: dict[str, float]) -> str:
        """One of the names, each with a probability in proportion to its weight."""
        left = self.uniform() * math.fsum(weights.values())
        for name, weight in weights.items():
            left -= weight
            if left < 0.0:
                return name
        return next(reversed(weights))

    def field(self, *shape: int) -> FloatArray:
        """An array of numbers in [0, 1)."""
        return self._generator.random(shape)


@dataclass(frozen=True, slots=True)
class Patch:
    """The part of a picture that a shape may touch: its window and the pixel centres in it."""

    rows: slice
    columns: slice
    x: FloatArray
    y: FloatArray


class Canvas:
    """A picture being drawn; the unit of length is the picture's height.

    Args:
        pixels: (H, W, 3) float64 in [0, 1], linear in what the sensor sees; drawn upon in place.
        stretch: how many times wider everything is drawn than it is. (Crops of people are narrower
            than the 2 : 1 that networks are fed; resizing them makes people stout.)
    """

    def __init__(self, pixels: FloatArray, stretch: float = 1.0) -> None:
        self.pixels = pixels
        self.height, self.width = pixels.shape[:2]
        self.breadth = self.width / (self.height * stretch)
        self._columns = self.height * stretch
        self._x = (np.arange(self.width, dtype=np.float64) + 0.5) / self._columns
        self._y = (np.arange(self.height, dtype=np.float64) + 0.5) / self.height

    def patch(self, left: float, top: float, right: float, bottom: float) -> Patch:
        """The window of pixels between the four limits, one pixel wider on each side."""
        first_row = min(max(math.floor(top * self.height) - 1, 0), self.height)
        last_row = min(max(math.floor(bottom * self.height) + 2, first_row), self.height)
        first_column = min(max(math.floor(left * self._columns) - 1, 0), self.width)
        last_column = min(max(math.floor(right * self._columns) + 2, first_column), self.width)
        rows, columns = slice(first_row, last_row), slice(first_column, last_column)
        return Patch(rows, columns, self._x[columns][None, :], self._y[rows][:, None])

    def paint(self, patch: Patch, distance: FloatArray, colour: Colour | FloatArray) -> None:
        """Lay a colour where a shape's signed distance is negative, its edge one pixel soft.

        Args:
            patch: the window that the distance was computed on.
            distance: (h, w) float64, in picture heights, negative inside.
            colour: three numbers, or (h, w, 3) for a patterned cloth.
        """
        cover = np.minimum(np.maximum(0.5 - distance * self.height, 0.0), 1.0)[:, :, None]
        window = self.pixels[patch.rows, patch.columns]
        window += (np.asarray(colour, dtype=np.float64) - window) * cover

    def capsule(self, start: Point, end: Point, radii: Point, colour: Colour) -> None:
        """A limb: a rounded bar from start to end whose radius goes from one to the other."""
        widest = max(radii)
        patch = self.patch(
            min(start[0], end[0]) - widest, min(start[1], end[1]) - widest,
            max(start[0], end[0]) + widest, max(start[1], end[1]) + widest,
        )  # fmt: skip
        along_x, along_y = end[0] - start[0], end[1] - start[1]
        length_squared = along_x * along_x + along_y * along_y + 1e-12
        x, y = patch.x - start[0], patch.y - start[1]
        share = (x * along_x + y * along_y) / length_squared
        share = np.minimum(np.maximum(share, 0.0), 1.0)
        x, y = x - share * along_x, y - share * along_y
        radius = radii[0] + share * (radii[1] - radii[0])
        self.paint(patch, np.sqrt(x * x + y * y) - radius, colour)

    def ellipse(self, centre: Point, radii: Point, colour: Colour) -> None:
        """An ellipse with upright axes."""
        patch = self.patch(
            centre[0] - radii[0], centre[1] - radii[1], centre[0] + radii[0], centre[1] + radii[1]
        )
        x, y = (patch.x - centre[0]) / radii[0], (patch.y - centre[1]) / radii[1]
        self.paint(patch, (np.sqrt(x * x + y * y) - 1.0) * min(radii), colour)

    def block(self, top: Point, bottom: Point, halves: Point, colour: Colour) -> None:
        """A plain trapezoid; see `trapezoid`."""
        patch, distance, _, _ = self.trapezoid(top, bottom, halves)
        self.paint(patch, distance, colour)

    def trapezoid(
        self, top: Point, bottom: Point, halves: Point
    ) -> tuple[Patch, FloatArray, FloatArray, FloatArray]:
        """A trapezoid with level ends, not yet painted, and the cloth's own coordinates on it.

        Args:
            top: the middle of the upper end, in picture heights.
            bottom: the middle of the lower end.
            halves: half the width at the upper and at the lower end.

        Returns:
            The patch; the signed distance (h, w); across (h, w), -1 at the left edge and 1 at the
            right; down (h, 1), 0 at the upper end and 1 at the lower.
        """
        widest = max(halves)
        patch = self.patch(
            min(top[0], bottom[0]) - widest, top[1], max(top[0], bottom[0]) + widest, bottom[1]
        )
        down = (patch.y - top[1]) / max(bottom[1] - top[1], 1e-6)
        half = np.maximum(halves[0] + down * (halves[1] - halves[0]), 1e-6)
        x = patch.x - (top[0] + down * (bottom[0] - top[0]))
        sides = np.abs(x) - half
        ends = np.maximum(top[1] - patch.y, patch.y - bottom[1])
        return patch, np.maximum(sides, ends), x / half, down


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """The first colour with this share of the second in it."""
    return (
        first[0] + (second[0] - first[0]) * share,
        first[1] + (second[1] - first[1]) * share,
        first[2] + (second[2] - first[2]) * share,
    )


def shade(colour: Colour, factor: float) -> Colour:
    """The colour made darker (factor < 1) or lighter, kept within [0, 1]."""
    return (
        min(colour[0] * factor, 1.0),
        min(colour[1] * factor, 1.0),
        min(colour[2] * factor, 1.0),
    )


def saw(values: FloatArray) -> FloatArray:
    """What is left after the whole number below: a ramp from 0 to 1 in every unit."""
    return values - np.floor(values)
