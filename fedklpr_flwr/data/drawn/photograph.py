"""One drawn picture: a person, as a camera saw them in one moment of walking past."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fedklpr_flwr.data.drawn.body import paint_person
from fedklpr_flwr.data.drawn.camera import CameraLook, develop, draw_camera
from fedklpr_flwr.data.drawn.canvas import Canvas, Dice, FloatArray
from fedklpr_flwr.data.drawn.person import PersonLook, draw_look
from fedklpr_flwr.data.drawn.pose import Pose, turned
from fedklpr_flwr.data.drawn.scene import SCENE_WIDTHS, draw_scene, paint_obstacle
from fedklpr_flwr.data.drawn.site import SITES, SiteStyle, crowd
from fedklpr_flwr.errors import DataError

VERSION = 1  # raised whenever a pixel changes; part of the seeds and of the folder's name

# Networks are fed 2 : 1 pictures, crops of people are narrower: resizing makes people stout.
_STRETCH = 1.3

_CROWD = re.compile(r"crowd-([1-9]\d{0,4})")

# What the dice are thrown for: part of a stream's name.
_PERSON, _CAMERA, _PLACE, _SCENE, _PASSAGE, _SHOT, _PLAN = range(7)
_STRANGERS, _FIRST_STRANGER = 1000, 100_000  # passers-by have person ids that no data set has


def picture(
    site: str, person: int, camera: int, shot: int, seed: int, *, height: int = 64, width: int = 32
) -> NDArray[np.uint8]:
    """Draw one picture of one person: a pure function of its arguments.

    Args:
        site: one of SITES.
        person: person id, >= 1.
        camera: 0-based.
        shot: which picture of the person's passage through the camera, >= 0.
        seed: another seed is another site of the same style.
        height: in pixels, >= 16. Blur and noise are counted in pixels: larger pictures are those
            of sharper cameras.
        width: in pixels, >= 8.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        DataError: there is no such site, person, camera, shot, seed or size.
    """
    style = site_style(site)
    check_drawable(seed, height, width)
    if not (person >= 1 and 0 <= camera < style.cameras and shot >= 0):
        raise DataError(
            f"drawn site {site!r}: expected person >= 1, camera in 0..{style.cameras - 1} and "
            f"shot >= 0; got person {person}, camera {camera}, shot {shot}"
        )
    passage = _passage(site, person, camera, seed)
    dice = Dice(VERSION, seed, style.number, _SHOT, person, camera, shot)
    canvas = Canvas(_background(site, camera, seed, height, width, passage, dice), _STRETCH)
    pose = _pose(style, passage, dice, canvas.breadth)
    if dice.chance(0.4 * style.filming.occlusion):
        _paint_passer_by(canvas, site, seed, pose, dice)
    paint_person(canvas, _person(site, person, seed), pose)
    if dice.chance(style.filming.occlusion):
        paint_obstacle(canvas, dice)
    return develop(canvas.pixels, passage.camera, passage.light * dice.between(0.95, 1.05), dice)


@lru_cache(maxsize=32)
def site_style(site: str) -> SiteStyle:
    """The style of a site, or a DataError that names the sites there are."""
    if site in SITES:
        return SITES[site]
    if match := _CROWD.fullmatch(site):
        return crowd(int(match[1]))
    raise DataError(
        f"no drawn site {site!r}; choose one of {', '.join(SITES)}, or crowd-N (people for N "
        "clients, N up to 99999)"
    )


def check_drawable(seed: int, height: int, width: int) -> None:
    """Refuse a seed or a size that no picture can have."""
    if seed < 0 or height < 16 or width < 8:
        raise DataError(
            "drawn pictures need a seed >= 0, a height >= 16 and a width >= 8; "
            f"got seed {seed}, height {height}, width {width}"
        )


def stream_of_plan(site: str, seed: int, person: int) -> Dice:
    """The dice that decide which cameras see a person, and how often."""
    return Dice(VERSION, seed, site_style(site).number, _PLAN, person)


@dataclass(frozen=True, slots=True)
class _Passage:
    """What the pictures of one person by one camera share: they were taken within seconds."""

    camera: CameraLook
    toward: float
    aside: float
    light: float
    place: float
    step: float


@lru_cache(maxsize=4096)
def _person(site: str, person: int, seed: int) -> PersonLook:
    style = site_style(site)
    return draw_look(Dice(VERSION, seed, style.number, _PERSON, person), style.fashion)


@lru_cache(maxsize=256)
def _camera(site: str, camera: int, seed: int) -> CameraLook:
    style = site_style(site)
    return draw_camera(Dice(VERSION, seed, style.number, _CAMERA, camera), style.filming)


@lru_cache(maxsize=64)
def _scene(site: str, camera: int, seed: int, height: int, width: int) -> FloatArray:
    style = site_style(site)
    return draw_scene(
        Dice(VERSION, seed, style.number, _PLACE),
        Dice(VERSION, seed, style.number, _SCENE, camera),
        style.filming.strangeness, height, width,
    )  # fmt: skip


@lru_cache(maxsize=1024)
def _passage(site: str, person: int, camera: int, seed: int) -> _Passage:
    look = _camera(site, camera, seed)
    dice = Dice(VERSION, seed, site_style(site).number, _PASSAGE, person, camera)
    toward, aside = turned(look.toward, look.aside, dice.around(0.5))
    if dice.chance(0.25):
        toward, aside = -toward, -aside
    return _Passage(
        look, toward, aside, dice.between(0.9, 1.1), dice.uniform(), dice.between(-1.0, 1.0)
    )


def _background(
    site: str, camera: int, seed: int, height: int, width: int, passage: _Passage, dice: Dice
) -> FloatArray:
    """A window of the camera's scene, near where the person passes."""
    scene = _scene(site, camera, seed, height, width)
    room = (SCENE_WIDTHS - 1) * width
    place = min(max(passage.place + dice.around(0.15), 0.0), 1.0)
    first = int(place * room)
    return scene[:, first : first + width].copy()


def _pose(style: SiteStyle, passage: _Passage, dice: Dice, breadth: float) -> Pose:
    """How the person stands in this picture, and how the crop was cut around them."""
    crop = style.filming.crop
    toward, aside = turned(passage.toward, passage.aside, dice.around(0.2))
    stride = passage.step + dice.between(-1.0, 1.0)
    scale = dice.between(0.90 - crop, 0.92 + crop)
    return Pose(
        centre=0.5 * breadth + dice.around(0.8 * crop),
        top=0.5 * (1.0 - scale) + dice.around(crop),
        scale=scale,
        toward=toward,
        aside=aside,
        stride=min(max(stride, -1.0), 1.0),
        elevation=passage.camera.elevation,
    )


def _paint_passer_by(canvas: Canvas, site: str, seed: int, pose: Pose, dice: Dice) -> None:
    """Somebody else, partly in the picture and a little further away."""
    side = 1.0 if dice.chance(0.5) else -1.0
    stranger = Pose(
        centre=pose.centre + side * dice.between(0.2, 0.3),
        top=pose.top + 0.03,
        scale=pose.scale * 0.92,
        toward=pose.toward,
        aside=-pose.aside,
        stride=-pose.stride,
        elevation=pose.elevation,
    )
    paint_person(
        canvas, _person(site, _FIRST_STRANGER + dice.whole(0, _STRANGERS - 1), seed), stranger
    )
