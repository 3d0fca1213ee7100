"""Small trees with official names."""

import io
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def some_pictures() -> dict[str, list[bytes]]:
    """A few generated pictures of every kind, to be planted under many names."""
    made: dict[str, list[bytes]] = {}
    for suffix, kind in ((".jpg", "JPEG"), (".png", "PNG"), (".bmp", "BMP")):
        made[suffix] = []
        for seed in range(7):
            pixels = np.random.default_rng(seed).integers(0, 256, (8, 4, 3), dtype=np.uint8)
            stream = io.BytesIO()
            Image.fromarray(pixels).save(stream, kind)
            made[suffix].append(stream.getvalue())
    return made


@pytest.fixture
def plant(some_pictures) -> Callable[[Path, Iterable[str]], Path]:
    """Write generated pictures under the given names; returns the root."""

    def write(root: Path, names: Iterable[str]) -> Path:
        folders = set()
        for number, name in enumerate(names):
            path = root / name
            if path.parent not in folders:
                path.parent.mkdir(parents=True, exist_ok=True)
                folders.add(path.parent)
            choice = some_pictures[path.suffix if path.suffix in some_pictures else ".png"]
            path.write_bytes(choice[number % len(choice)])
        return root

    return write
