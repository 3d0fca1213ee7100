"""Painting a person: limbs, clothes and belongings, from the far side to the near side."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fedklpr_flwr.data.drawn_canvas import (
    Canvas,
    FloatArray,
    Point,
    mix,
    saw,
    shade,
)
from fedklpr_flwr.data.drawn_person import Cloth, PersonLook

_SHOULDER, _CHIN, _ANKLE = 0.168, 0.135, 0.955


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


def paint_person(canvas: Canvas, look: PersonLook, pose: Pose) -> None:
    """Draw one person on the picture.

    Args:
        canvas: the picture; what is already there stays behind the person.
        look: who it is.
        pose: where, how large, from which side.
    """
    behind = pose.toward > 0.0
    far = -1.0 if pose.aside > 0.0 else 1.0
    if behind:
        _paint_backpack(canvas, look, pose)
    _paint_arm(canvas, look, pose, far)
    _paint_leg(canvas, look, pose, far)
    _paint_leg(canvas, look, pose, -far)
    _paint_skirt(canvas, look, pose)
    _paint_torso(canvas, look, pose)
    if not behind:
        _paint_backpack(canvas, look, pose)
    _paint_straps(canvas, look, pose)
    _paint_head(canvas, look, pose)
    _paint_arm(canvas, look, pose, -far)
    _paint_carried_bag(canvas, look, pose)


def _hip(look: PersonLook) -> float:
    return 1.0 - look.leg


def _paint_leg(canvas: Canvas, look: PersonLook, pose: Pose, side: float) -> None:
    """One leg and its shoe; `side` is -1 for the person's right leg as seen from behind."""
    hip = _hip(look)
    apart = 0.5 * look.hip * pose.toward * side
    swing = pose.stride * side
    reach = swing * 0.11 * pose.aside
    lift = 0.02 * max(swing * pose.toward, 0.0)
    knee_y = hip + 0.52 * look.leg
    thigh, calf, ankle = 0.46 * look.hip, 0.36 * look.hip, 0.027
    hip_point = pose.place(apart, hip)
    knee = pose.place(apart * 0.9 + reach * 0.6 + 0.02 * pose.aside, knee_y - lift)
    foot = pose.place(apart * 0.8 + reach, _ANKLE - lift)
    cloth = shade(look.lower.colour, 0.82 if side * pose.aside < 0.0 else 1.0)
    bare = look.legwear != "trousers"
    skin = look.stockings if look.legwear == "skirt" else look.skin
    size = pose.size(0.75)
    canvas.capsule(
        hip_point, knee, (thigh * size, calf * size), skin if look.legwear == "skirt" else cloth
    )
    slim = 0.80 if bare else 1.0
    canvas.capsule(knee, foot, (calf * slim * size, ankle * size), skin if bare else cloth)
    if look.lower.pattern == "two_blocks" and not bare:
        edge = 0.25 * side * look.hip * size
        canvas.capsule(
            (hip_point[0] + edge, hip_point[1]), (foot[0] + 0.4 * edge, foot[1] - 0.02),
            (0.009, 0.009), look.lower.second,
        )  # fmt: skip
    toe = (foot[0] + 0.035 * pose.aside * size, foot[1] + 0.014 * size)
    canvas.ellipse(toe, (0.030 * size + 0.012 * abs(pose.aside), 0.021 * size), look.shoes)


def _paint_skirt(canvas: Canvas, look: PersonLook, pose: Pose) -> None:
    """A skirt, or the legs of shorts, over the thighs."""
    if look.legwear == "trousers":
        return
    hip, size = _hip(look), pose.size(0.6)
    half = pose.breadth(look.hip, 0.75 * look.hip)
    flare = 1.35 if look.legwear == "skirt" else 1.1
    stride = 0.03 * abs(pose.stride * pose.aside)
    length = look.legwear_length * look.leg
    patch, distance, across, down = canvas.trapezoid(
        pose.place(0.0, hip - 0.03),
        pose.place(0.0, hip + length),
        (half * 0.95 * size, (half * flare + stride) * size),
    )
    if look.legwear == "shorts":
        # Shorts part between the thighs.
        gap = np.abs(across) - 0.22 * pose.toward * pose.toward
        distance = np.where((down > 0.45) & (gap < 0.0), 1.0, distance)
    canvas.paint(patch, distance, _woven(look.lower, across, down, pose))


def _paint_torso(canvas: Canvas, look: PersonLook, pose: Pose) -> None:
    """Shoulders to hip, and a coat's tail below."""
    hem = _hip(look) + (0.42 * look.leg if look.coat else 0.03)
    upper = pose.breadth(look.shoulder, 0.62 * look.shoulder)
    lower = pose.breadth(look.hip, 0.72 * look.hip) * (1.12 if look.coat else 1.02)
    top = pose.place(0.0, _SHOULDER - 0.012)
    bottom = pose.place(0.0, hem)
    size = pose.size(0.3)
    round_top = 0.5 * upper * size
    canvas.capsule(
        (top[0] - round_top, top[1] + 0.030 * size), (top[0] + round_top, top[1] + 0.030 * size),
        (0.036 * size, 0.036 * size), shade(look.upper.colour, 0.95),
    )  # fmt: skip
    patch, distance, across, down = canvas.trapezoid(
        (top[0], top[1] + 0.012 * size), bottom, (upper * 0.94 * size, lower * size)
    )
    canvas.paint(patch, distance, _woven(look.upper, across, down, pose))


def _woven(cloth: Cloth, across: FloatArray, down: FloatArray, pose: Pose) -> FloatArray:
    """The colour of a cloth at every point of a garment, darker towards its outline.

    Args:
        cloth: colours and pattern.
        across: (h, w), -1 at the left outline, 1 at the right.
        down: (h, 1), 0 at the top, 1 at the hem.
        pose: a print or an open front shows only from the front.

    Returns:
        (h, w, 3) float64 colours.
    """
    second = _pattern(cloth, across, down + 0.0 * across, pose)
    share = second[:, :, None]
    ground = np.asarray(cloth.colour, dtype=np.float64)
    colours = ground + (np.asarray(cloth.second, dtype=np.float64) - ground) * share
    folds = 1.0 - 0.22 * across * across + 0.06 * pose.aside * across
    shaded: FloatArray = colours * folds[:, :, None]
    return shaded


def _pattern(cloth: Cloth, across: FloatArray, down: FloatArray, pose: Pose) -> FloatArray:
    """Where the second colour of a cloth shows: 0 or 1 at every point."""
    hoops = saw(down * cloth.repeats) < 0.45
    stripes = saw(across * 0.5 * cloth.repeats + 0.25) < 0.42
    front = pose.toward > -0.2
    middle = across - 0.55 * pose.aside
    shows = {
        "plain": np.zeros_like(hoops),
        "hoops": hoops,
        "stripes": stripes,
        "checks": hoops ^ stripes,
        "two_blocks": down < 0.42,
        "open_jacket": (np.abs(middle) < 0.34) & front,
        "print": (np.abs(middle) < 0.5) & (down > 0.22) & (down < 0.55) & front,
        "sash": np.abs(across * 0.5 + 0.5 - down) < 0.16,
    }
    return shows[cloth.pattern].astype(np.float64)


def _paint_arm(canvas: Canvas, look: PersonLook, pose: Pose, side: float) -> None:
    """One arm, swinging against the leg of its side."""
    swing = -pose.stride * side
    apart = look.shoulder * 0.98 * pose.toward * side
    reach = 0.085 * swing * pose.aside
    sway = 0.018 * (1.0 if pose.toward * side > 0.0 else -1.0) * abs(pose.toward)
    shoulder = pose.place(apart, _SHOULDER + 0.035)
    elbow = pose.place(apart + sway + 0.4 * reach, 0.325)
    hand = pose.place(apart + sway + reach + 0.03 * pose.aside, 0.455)
    size = pose.size(0.3)
    sleeve = shade(look.upper.colour, 0.80 if side * pose.aside < 0.0 else 0.90)
    lower_sleeve = sleeve if look.long_sleeves else look.skin
    canvas.capsule(elbow, hand, (0.026 * size, 0.020 * size), lower_sleeve)
    canvas.capsule(shoulder, elbow, (0.036 * size, 0.028 * size), sleeve)
    canvas.ellipse(hand, (0.021 * size, 0.023 * size), look.skin)


def _paint_head(canvas: Canvas, look: PersonLook, pose: Pose) -> None:
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
    canvas.capsule(chin, pose.place(0.0, _SHOULDER + 0.012), throat, shade(look.skin, 0.9))
    if look.haircut == "long" and pose.toward <= 0.0:
        canvas.capsule((middle[0] - 0.4 * axis, middle[1]), fall, (width, width), look.hair)
    canvas.ellipse(middle, (0.052 * size, 0.070 * size), look.skin)
    if look.haircut != "bald":
        _paint_hair(canvas, look, pose, middle, size)
    if look.hat != "none":
        _paint_hat(canvas, look, pose, middle, size)


def _paint_hair(
    canvas: Canvas, look: PersonLook, pose: Pose, middle: Point, size: float
) -> None:  # fmt: skip
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


def _paint_backpack(canvas: Canvas, look: PersonLook, pose: Pose) -> None:
    """A backpack: whole from behind, a bulge from the side, two edges from the front."""
    if look.bag != "backpack":
        return
    size = pose.size(0.3)
    half = pose.breadth(0.086, 0.052) * look.bag_size * size
    shift = -0.085 * pose.aside
    top, bottom = 0.185, 0.185 + 0.225 * look.bag_size
    canvas.block(
        pose.place(shift, top), pose.place(shift, bottom), (half * 0.88, half), look.bag_colour
    )
    if pose.toward < 0.3:
        pocket = shade(look.bag_colour, 0.72)
        low, high = pose.place(shift, bottom - 0.02), pose.place(shift, bottom - 0.09)
        canvas.block(high, low, (half * 0.6, half * 0.6), pocket)


def _paint_straps(canvas: Canvas, look: PersonLook, pose: Pose) -> None:
    """The straps of a backpack seen from the front, or the belt of a shoulder bag."""
    size = pose.size(0.3)
    dark = mix(look.bag_colour, (0.0, 0.0, 0.0), 0.15)
    if look.bag == "backpack" and pose.toward > 0.1:
        for side in (-1.0, 1.0):
            x = side * 0.055 * pose.toward + 0.02 * pose.aside
            start, end = pose.place(x, _SHOULDER), pose.place(x * 1.25, 0.34)
            canvas.capsule(start, end, (0.013 * size, 0.012 * size), dark)
    if look.bag == "shoulder":
        lean = 1.0 if pose.toward > 0.0 else -1.0
        start = pose.place(-0.06 * lean * abs(pose.toward), _SHOULDER)
        end = pose.place(0.085 * lean * abs(pose.toward), 0.43)
        canvas.capsule(start, end, (0.012 * size, 0.012 * size), dark)


def _paint_carried_bag(canvas: Canvas, look: PersonLook, pose: Pose) -> None:
    """A shoulder bag at the hip or a bag in the hand."""
    size = pose.size(0.5)
    if look.bag == "shoulder":
        x = (0.105 if pose.toward > 0.0 else -0.105) * abs(pose.toward)
        half = pose.breadth(0.048, 0.075) * look.bag_size * size
        canvas.block(pose.place(x, 0.42), pose.place(x, 0.54), (half, half), look.bag_colour)
    elif look.bag == "hand":
        x = (0.135 if pose.toward > 0.0 else -0.135) * abs(pose.toward) + 0.04 * pose.aside
        half = pose.breadth(0.040, 0.070) * look.bag_size * size
        canvas.block(
            pose.place(x, 0.475), pose.place(x, 0.475 + 0.12 * look.bag_size),
            (half * 0.85, half), look.bag_colour,
        )  # fmt: skip
