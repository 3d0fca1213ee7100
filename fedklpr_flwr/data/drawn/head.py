"""Painting a head: neck, hair, face and hat."""

from __future__ import annotations

from fedklpr_flwr.data.drawn.canvas import Canvas, Point, shade
from fedklpr_flwr.data.drawn.person import PersonLook
from fedklpr_flwr.data.drawn.pose import Pose

_CHIN, _THROAT = 0.135, 0.168  # shares of the height, below the crown


def paint_head(canvas: Canvas, look: PersonLook, pose: Pose) -> None:
    """Neck, hair, face and hat."""
    size = pose.size(0.05)
    axis = 0.012 * pose.aside
    middle = pose.place(axis, 0.070)
    chin = pose.place(axis * 0.5, _CHIN)
    fall = pose.place(-0.018 * pose.aside, 0.185)
    width = pose.breadth(0.060, 0.046) * size
    if look.haircut == "long" and pose.toward > 0.0:
        canvas.capsule((middle[0] - 0.4 * axis, middle[1]), fall, (width, width), look.hair)
    throat = (0.026 * size, 0.032 * size)
    canvas.capsule(chin, pose.place(0.0, _THROAT + 0.012), throat, shade(look.skin, 0.9))
    if look.haircut == "long" and pose.toward <= 0.0:
        canvas.capsule((middle[0] - 0.4 * axis, middle[1]), fall, (width, width), look.hair)
    canvas.ellipse(middle, (0.052 * size, 0.070 * size), look.skin)
    if look.haircut != "bald":
        _paint_hair(canvas, look, pose, middle, size)
    if look.hat != "none":
        _paint_hat(canvas, look, pose, middle, size)


def _paint_hair(canvas: Canvas, look: PersonLook, pose: Pose, middle: Point, size: float) -> None:
    """Hair covers the crown, and the face's place as the person turns away."""
    away = 0.5 - 0.5 * pose.toward
    back = (middle[0] - 0.022 * pose.aside * size, middle[1] - 0.034 * size * (1.0 - away))
    canvas.ellipse(back, (0.057 * size, (0.042 + 0.034 * away) * size), look.hair)
    if look.haircut == "bun":
        knot = (middle[0] - 0.05 * pose.aside * size, middle[1] - 0.062 * size)
        canvas.ellipse(knot, (0.028 * size, 0.028 * size), look.hair)


def _paint_hat(canvas: Canvas, look: PersonLook, pose: Pose, middle: Point, size: float) -> None:
    """A cap with a peak, a beanie, or a hat with a brim all round."""
    crown = (middle[0], middle[1] - 0.040 * size)
    canvas.ellipse(crown, (0.061 * size, 0.044 * size), look.hat_colour)
    if look.hat == "cap":
        peak = (middle[0] + 0.050 * pose.aside * size, middle[1] - 0.022 * size)
        canvas.ellipse(peak, (0.046 * size, 0.013 * size), shade(look.hat_colour, 0.8))
    elif look.hat == "brim":
        brim = (middle[0], middle[1] - 0.020 * size)
        canvas.ellipse(brim, (0.098 * size, 0.017 * size), shade(look.hat_colour, 0.9))
    else:
        canvas.block(
            (middle[0], middle[1] - 0.030 * size), (middle[0], middle[1] - 0.008 * size),
            (0.058 * size, 0.058 * size), shade(look.hat_colour, 0.8),
        )  # fmt: skip
