"""Painting a person: limbs, clothes and belongings, from the far side to the near side."""

from __future__ import annotations

import numpy as np

from fedklpr_flwr.data.drawn.bag import paint_backpack, paint_carried_bag, paint_straps
from fedklpr_flwr.data.drawn.canvas import Canvas, FloatArray, saw, shade
from fedklpr_flwr.data.drawn.head import paint_head
from fedklpr_flwr.data.drawn.person import Cloth, PersonLook
from fedklpr_flwr.data.drawn.pose import Pose

_SHOULDER, _ANKLE = 0.168, 0.955  # shares of the height, below the crown


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
        paint_backpack(canvas, look, pose)
    _paint_arm(canvas, look, pose, far)
    _paint_leg(canvas, look, pose, far)
    _paint_leg(canvas, look, pose, -far)
    _paint_skirt(canvas, look, pose)
    _paint_torso(canvas, look, pose)
    if not behind:
        paint_backpack(canvas, look, pose)
    paint_straps(canvas, look, pose)
    paint_head(canvas, look, pose)
    _paint_arm(canvas, look, pose, -far)
    paint_carried_bag(canvas, look, pose)


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
