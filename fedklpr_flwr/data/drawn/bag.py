"""Painting what a person carries: a backpack, a shoulder bag, a bag in the hand."""

from __future__ import annotations

from fedklpr_flwr.data.drawn.canvas import Canvas, mix, shade
from fedklpr_flwr.data.drawn.person import PersonLook
from fedklpr_flwr.data.drawn.pose import Pose

_SHOULDER = 0.168  # share of the height, below the crown


def paint_backpack(canvas: Canvas, look: PersonLook, pose: Pose) -> None:
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


def paint_straps(canvas: Canvas, look: PersonLook, pose: Pose) -> None:
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


def paint_carried_bag(canvas: Canvas, look: PersonLook, pose: Pose) -> None:
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
