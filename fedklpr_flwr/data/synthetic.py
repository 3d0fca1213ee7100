"""Drawn people: eight small re-identification sets made from a seed, the embedded default.

Nothing is downloaded and nobody is shown: people, clothes, cameras and backgrounds are shapes that
arithmetic puts on a grid, the same to the byte on every machine (see drawn/canvas.py). A person
keeps build, clothes, hair and belongings from camera to camera; a camera keeps its colour cast,
light, sharpness, viewpoint and background; a picture adds pose, occlusion and a sloppy crop.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fedklpr_flwr.data.drawn.photograph import (
    VERSION,
    check_drawable,
    picture,
    site_style,
    stream_of_plan,
)
from fedklpr_flwr.data.drawn.site import SITES
from fedklpr_flwr.data.person_image import PersonImage, ReidDataset
from fedklpr_flwr.errors import DataError

__all__ = ["DRAWN", "SITES", "VERSION", "draw_site", "list_site", "picture", "site_style"]

DRAWN = "drawn:"
"""What a reader's name begins with that means a drawn site: drawn:campus, drawn:crowd-64."""


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
        DataError: there is no such site, seed or size, or its folder is damaged or cannot be
            written.
    """
    check_drawable(seed, height, width)
    folder = Path(root) / f"v{VERSION}-{height}x{width}" / f"{site}-{seed}"
    dataset = list_site(site, folder, seed=seed)
    if not folder.is_dir():
        _draw_folder(site, seed, folder, height, width)
    for split in (dataset.train, dataset.query, dataset.gallery):
        _check_complete(folder, split)
    return dataset


def list_site(site: str, folder: Path, *, seed: int = 0) -> ReidDataset:
    """Tell what a drawn site consists of, without drawing it or looking at the disk.

    Args:
        site: one of SITES.
        folder: the folder that holds, or is to hold, this site's train, query and gallery.
        seed: the site's seed, >= 0.

    Returns:
        The data set that `draw_site` draws.

    Raises:
        DataError: there is no such site.
    """
    style = site_style(site)
    parts: dict[str, list[PersonImage]] = {"train": [], "query": [], "gallery": []}
    for shot in _plan(site, seed):
        parts[shot.split].append(PersonImage(folder / shot.file, shot.person, shot.camera))
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
    style = site_style(site)
    for person in range(1, style.train_persons + style.test_persons + 1):
        dice = stream_of_plan(site, seed, person)
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
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as own:
            drawn = Path(own) / folder.name
            for split in ("train", "query", "gallery"):
                (drawn / split).mkdir(parents=True)
            for shot in _plan(site, seed):
                pixels = picture(
                    site, shot.person, shot.camera, shot.shot, seed, height=height, width=width
                )
                Image.fromarray(pixels).save(drawn / shot.file, compress_level=1)
            os.rename(drawn, folder)
    except OSError as error:
        # Another process may have been faster; its pictures are the same to the byte.
        if not folder.is_dir():
            raise DataError(
                f"cannot draw site {site!r} into {folder}: {error}; choose a folder that can be "
                "written to (FEDKLPR_CACHE is where people are drawn that have no folder)"
            ) from error


def _check_complete(folder: Path, images: tuple[PersonImage, ...]) -> None:
    """A file that somebody removed is noticed here, not as a shorter data set."""
    split = images[0].path.parent
    there = set(os.listdir(split)) if split.is_dir() else set()
    missing = [image.path.name for image in images if image.path.name not in there]
    if missing:
        raise DataError(
            f"drawn site {folder}: expected {len(images)} pictures in {split.name}/, "
            f"{len(missing)} are missing (the first: {missing[0]}); remove {folder} and it is "
            "drawn again"
        )
