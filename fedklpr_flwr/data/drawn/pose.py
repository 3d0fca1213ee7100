"""Where a person stands and which way they face: body points become picture points."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fedklpr_flwr.data.drawn.canvas import Point


@dataclass(frozen=True, slots=True)
class Pose:
    """Where and how a person stands in one picture.

    Attributes:
        centre: the body's axis, in picture heights from the left edge.
        top: the crown of the head, in picture heights from the upper edge.
        scale: the person's height in picture heights.
        toward: cosine of the facing direction; 1 = looks at the camera, -1 = walks away.
        aside: its sine; 1 = walks to the right of the picture.
        stride: -1 to 1, how far and which leg is ahead.
        elevation: 0 = seen level, 0.4 = from well above (legs foreshortened, head larger).
    """

    centre: float
    top: float
    scale: float
    toward: float
    aside: float
    stride: float
    elevation: float

    def place(self, x: float, y: float) -> Point:
        """The picture point of a point of the body (x from its axis, y from its crown)."""
        lowered = y + self.elevation * y * (1.0 - y)
        return self.centre + x * self.size(y), self.top + lowered * self.scale

    def size(self, y: float) -> float:
        """How large a length of the body is drawn at this depth below the crown."""
        return self.scale * (1.0 + 0.6 * self.elevation * (0.5 - y))

    def breadth(self, across: float, deep: float) -> float:
        """Half the width that a body part of these half widths shows from this side."""
        wide, narrow = across * self.toward, deep * self.aside
        return math.sqrt(wide * wide + narrow * narrow)


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
