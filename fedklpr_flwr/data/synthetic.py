"""Drawn people: eight small re-identification sets made from a seed, the embedded default.

Nothing is downloaded and nobody is shown: people, clothes, cameras and backgrounds are shapes that
arithmetic puts on a grid, the same to the byte on every machine (see drawn_canvas). A person keeps
build, clothes, hair and belongings from camera to camera; a camera keeps its colour cast, light,
sharpness, viewpoint and background; a picture adds pose, occlusion and a sloppy crop.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedklpr_flwr.data.drawn_body import Pose, paint_person
from fedklpr_flwr.data.drawn_camera import (
    SCENE_WIDTHS,
    CameraLook,
    develop,
    draw_camera,
    draw_scene,
    turned,
)
from fedklpr_flwr.data.drawn_canvas import Canvas, Dice, FloatArray
from fedklpr_flwr.data.drawn_person import PersonLook, draw_look
from fedklpr_flwr.data.drawn_site import SITES, SiteStyle
from fedklpr_flwr.data.person_image import PersonImage, ReidDataset
from fedklpr_flwr.errors import DataError

__all__ = ["SITES", "VERSION", "draw_site", "picture"]

VERSION = 1  # raised whenever a pixel changes; part of the seeds and of the folder's name

# The first number of a stream's name: what the dice are thrown for.
_PERSON, _CAMERA, _PLACE, _SCENE, _PASSAGE, _SHOT, _PLAN = range(7)
_STRETCH = 1.3


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
        height: in pixels.
        width: in pixels.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        DataError: the site, the person, the camera or the size does not exist.
    """
    style = _style(site)
    if not (person >= 1 and 0 <= camera < style.cameras and shot >= 0 and seed >= 0):
        raise DataError(
            f"drawn site {site!r}: expected person >= 1, camera in 0..{style.cameras - 1}, "
            f"shot >= 0 and seed >= 0; got person {person}, camera {camera}, shot {shot}, "
            f"seed {seed}"
        )
    passage = _passage(site, person, camera, seed)
    dice = Dice(VERSION, seed, style.number, _SHOT, person, camera, shot)
    canvas = Canvas(_background(site, camera, seed, height, width, passage, dice), _STRETCH)
    pose = _pose(style, passage, dice, canvas.breadth)
    if dice.chance(0.4 * style.filming.occlusion):
        _paint_passer_by(canvas, site, seed, pose, dice)
    paint_person(canvas, _person(site, person, seed), pose)
    if dice.chance(style.filming.occlusion):
        _paint_obstacle(canvas, dice)
    return develop(canvas.pixels, passage.camera, passage.light * dice.between(0.95, 1.05), dice)


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
    style = _style(site)
    return draw_look(Dice(VERSION, seed, style.number, _PERSON, person), style.fashion)


@lru_cache(maxsize=256)
def _camera(site: str, camera: int, seed: int) -> CameraLook:
    style = _style(site)
    return draw_camera(Dice(VERSION, seed, style.number, _CAMERA, camera), style.filming)


@lru_cache(maxsize=64)
def _scene(site: str, camera: int, seed: int, height: int, width: int) -> FloatArray:
    style = _style(site)
    return draw_scene(
        Dice(VERSION, seed, style.number, _PLACE),
        Dice(VERSION, seed, style.number, _SCENE, camera),
        style.filming.strangeness, height, width,
    )  # fmt: skip


@lru_cache(maxsize=1024)
def _passage(site: str, person: int, camera: int, seed: int) -> _Passage:
    look = _camera(site, camera, seed)
    dice = Dice(VERSION, seed, _style(site).number, _PASSAGE, person, camera)
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
    paint_person(canvas, _person(site, 100_000 + dice.whole(0, 999), seed), stranger)


def _paint_obstacle(canvas: Canvas, dice: Dice) -> None:
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


def _style(site: str) -> SiteStyle:
    """The style of a site, or a DataError that names the sites there are."""
    if site not in SITES:
        raise DataError(f"no drawn site {site!r}; choose one of {', '.join(SITES)}")
    return SITES[site]


def draw_site(
    site: str, root: Path, *, seed: int = 0, height: int = 64, width: int = 32
) -> ReidDataset:
    """Draw a site into a folder once, and list its pictures.

    The folder is root/v<VERSION>-<height>x<width>/<site>-<seed>/{train,query,gallery}; a picture is
    p<person>_c<camera>_s<shot>.png. Persons of train and of query and gallery are disjoint. A query
    is the first picture of a person by a camera, the others of that camera are in the gallery; a
    site with one picture a camera searches camera 1 for what camera 0 saw (single shot).

    Args:
        site: one of SITES.
        root: where drawn sites are kept; made where it does not exist.
        seed: another seed is other people and cameras of the same style, >= 0.
        height: of the pictures, in pixels.
        width: of the pictures, in pixels.

    Returns:
        The data set; person ids from 1, cameras from 0, sorted by name.

    Raises:
        DataError: the site does not exist, or its folder is damaged or cannot be written.
    """
    style = _style(site)
    folder = Path(root) / f"v{VERSION}-{height}x{width}" / f"{site}-{seed}"
    if not folder.is_dir():
        _draw_folder(site, seed, folder, height, width)
    parts: dict[str, list[PersonImage]] = {"train": [], "query": [], "gallery": []}
    for shot in _plan(site, seed):
        parts[shot.split].append(PersonImage(folder / shot.file, shot.person, shot.camera))
    _check_complete(folder, parts)
    return ReidDataset(
        name=f"drawn:{site}",
        train=tuple(parts["train"]),
        query=tuple(parts["query"]),
        gallery=tuple(parts["gallery"]),
        single_shot=style.shots == (1, 1),
        notes=(f"drawn people, version {VERSION}, seed {seed}, in the style of {style.imitates}",),
    )


@dataclass(frozen=True, slots=True)
class _Shot:
    """One picture that a site consists of."""

    split: str
    person: int
    camera: int
    shot: int

    @property
    def file(self) -> str:
        """Its path inside the site's folder."""
        return f"{self.split}/p{self.person:04d}_c{self.camera}_s{self.shot:02d}.png"


def _plan(site: str, seed: int) -> Iterator[_Shot]:
    """Every picture of a site, sorted: which cameras see whom, and how often."""
    style = _style(site)
    for person in range(1, style.train_persons + style.test_persons + 1):
        dice = Dice(VERSION, seed, style.number, _PLAN, person)
        order = np.argsort(dice.field(style.cameras), kind="stable")
        seen_by = sorted(int(camera) for camera in order[: dice.whole(*style.cameras_per_person)])
        for camera in seen_by:
            for shot in range(dice.whole(*style.shots)):
                split = "train"
                if person > style.train_persons:
                    first = camera == 0 if style.shots == (1, 1) else shot == 0
                    split = "query" if first else "gallery"
                yield _Shot(split, person, camera, shot)


def _draw_folder(site: str, seed: int, folder: Path, height: int, width: int) -> None:
    """Draw into a folder of our own, then rename it, so that nobody ever sees half a site."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        own = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        for split in ("train", "query", "gallery"):
            (own / split).mkdir()
        for shot in _plan(site, seed):
            pixels = picture(
                site, shot.person, shot.camera, shot.shot, seed, height=height, width=width
            )
            Image.fromarray(pixels).save(own / shot.file, compress_level=1)
        own.chmod(0o755)
        os.rename(own, folder)
    except OSError as error:
        if not folder.is_dir():
            raise DataError(
                f"cannot draw site {site!r} into {folder}: {error}; choose a data.root that can be "
                "written to"
            ) from error
    finally:
        # Another process was faster: its pictures are the same to the byte, ours go.
        if "own" in locals() and own.is_dir():
            shutil.rmtree(own, ignore_errors=True)


def _check_complete(folder: Path, parts: dict[str, list[PersonImage]]) -> None:
    """A file that somebody removed is noticed here, not as a shorter data set."""
    for split, images in parts.items():
        there = set(os.listdir(folder / split)) if (folder / split).is_dir() else set()
        missing = [image.path.name for image in images if image.path.name not in there]
        if missing:
            raise DataError(
                f"drawn site {folder}: expected {len(images)} pictures in {split}/, "
                f"{len(missing)} are missing (the first: {missing[0]}); remove {folder} and it is "
                "drawn again"
            )
