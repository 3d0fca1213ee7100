"""A measuring set of drawn people, as the reader `folder` wants it, to be changed in one thing.

Six persons to search for and six to train on, three cameras, two pictures each.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from fedklpr_flwr.data.drawn.site import SITES
from fedklpr_flwr.data.synthetic import picture

PERSONS, CAMERAS, PICTURES = 6, 3, 2
HEIGHT, WIDTH = 64, 32

Name = Callable[[str, str, int, int], str]
"""Part, person's folder, camera (0-based) and number give a path below the root."""
Save = Callable[[Image.Image, Path], None]


def plain_name(part: str, person: str, camera: int, number: int) -> str:
    """The documented layout."""
    return f"{part}/{person}/cam{camera + 1}_{number:04d}.png"


def plain_save(shown: Image.Image, path: Path) -> None:
    """As it is."""
    shown.save(path)


@cache
def drawn(person: int, camera: int, number: int) -> np.ndarray:
    """A drawn person as a camera sees them: uint8 (HEIGHT, WIDTH, 3)."""
    site = next(iter(SITES))
    return picture(site, person, camera, number, 0, height=HEIGHT, width=WIDTH)


def write_measuring_set(root: Path, name: Name = plain_name, save: Save = plain_save) -> Path:
    """Draw the set into a folder.

    Args:
        root: the folder, made if need be.
        name: how a picture is called.
        save: how a picture is written.

    Returns:
        The root.
    """
    for person in range(1, 2 * PERSONS + 1):
        for camera in range(CAMERAS):
            for number in range(PICTURES):
                part = "train" if person <= PERSONS else ("gallery", "query")[number == 0]
                path = root / name(part, f"{person:04d}", camera, number)
                path.parent.mkdir(parents=True, exist_ok=True)
                save(Image.fromarray(drawn(person, camera, number)), path)
    return root
