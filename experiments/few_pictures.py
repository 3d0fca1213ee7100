"""A folder of a few pictures of nobody: enough for a client to work on, too few to learn from."""

from pathlib import Path

import numpy as np
from PIL import Image

PERSONS, CAMERAS, PICTURES = 16, 2, 2
"""64 pictures to train on: one batch of 16 x 4."""


def write_few_pictures(root: Path, *, height: int = 256, width: int = 128) -> None:
    """Write noise as the reader `folder` wants it: train, query and gallery, two cameras.

    Args:
        root: an absolute folder, made if it does not exist.
        height: of each picture, in pixels.
        width: of each picture, in pixels.
    """
    dice = np.random.default_rng(0)
    for part, persons, pictures in (
        ("train", range(PERSONS), PICTURES),
        ("query", range(50, 54), 1),
        ("gallery", range(50, 54), 1),
    ):
        for person in persons:
            folder = root / part / f"p{person}"
            folder.mkdir(parents=True)
            for name in (f"c{c}_{n}.png" for c in range(CAMERAS) for n in range(pictures)):
                pixels = dice.integers(0, 256, (height, width, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / name)
