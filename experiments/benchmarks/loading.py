"""How fast picture files become batches, beside torchvision's ImageFolder with a DataLoader."""

import os
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from experiments.benchmarks.rows import Row, make_row, median_seconds, ratio_at_least
from fedklpr_flwr.data.loaders import image_loader
from fedklpr_flwr.data.person_image import PersonImage
from fedklpr_flwr.data.picture_cache import load_pictures
from fedklpr_flwr.data.synthetic import picture

HEIGHT, WIDTH, BATCH = 128, 64, 64
LARGE = 4
"""How many times as high and wide the large pictures are: JPEG decodes those at reduced scale."""

_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def loading_rows(*, pictures: int = 3000, large: int = 600, repeats: int = 3) -> list[Row]:
    """Measure the rows `loading` of the benchmarks: normalised batches of JPEG files, in order.

    Both sides have as many workers as the machine has cores, and end with the same batches but for
    the last bits of the resize. `first` decodes every file and writes the cache, the other rows
    read it.

    Args:
        pictures: JPEG files of the size that the network sees.
        large: JPEG files of four times that height and width.
        repeats: timings taken, the median counts.

    Returns:
        Rows {name, value, unit, anchor, ratio, must, ok}; the anchor is ImageFolder + DataLoader.
    """
    with tempfile.TemporaryDirectory() as place:
        usual, big = Path(place, "usual"), Path(place, "large")
        _write(usual, pictures, 1)
        _write(big, large, LARGE)
        first, again, anchor = _seconds(usual, repeats)
        first_large, again_large, anchor_large = _seconds(big, repeats)
    return [
        _row("loading_first_speedup", pictures, first, anchor),
        _row("loading_speedup", pictures, again, anchor, 5.0),
        _row("loading_large_first_speedup", large, first_large, anchor_large),
        _row("loading_large_speedup", large, again_large, anchor_large, 5.0),
    ]


def _row(name: str, count: int, ours: float, anchor: float, must: float | None = None) -> Row:
    return make_row(name, count / ours, "pictures/s", count / anchor, must, ratio_at_least)


def _seconds(folder: Path, repeats: int) -> list[float]:
    """Seconds of our first pass, of our later ones, and of ImageFolder + DataLoader."""
    files = sorted(folder.rglob("*.jpg"))
    images = [PersonImage(path, 1, 0) for path in files]
    cores = os.cpu_count() or 1

    def ours(cache: Path) -> int:
        pixels, _ = load_pictures(images, height=HEIGHT, width=WIDTH, cache=cache, workers=cores)
        return _consumed(image_loader(pixels, BATCH))

    def anew() -> int:
        with tempfile.TemporaryDirectory(dir=folder.parent) as empty:
            return ours(Path(empty))

    look = transforms.Compose(
        [
            transforms.Resize((HEIGHT, WIDTH)),
            transforms.ToTensor(),
            transforms.Normalize(_MEAN, _SPREAD),
        ]
    )
    loader = DataLoader(ImageFolder(str(folder), look), batch_size=BATCH, num_workers=cores)
    works: list[Callable[[], object]] = [
        anew,
        partial(ours, folder.parent / f"{folder.name}-cache"),
        lambda: _consumed(batch for batch, _ in loader),
    ]
    return median_seconds(repeats, *works)


def _consumed(batches: Iterable[torch.Tensor]) -> int:
    """Take every batch, as training would."""
    return sum(len(batch) for batch in batches)


def _write(folder: Path, count: int, times: int) -> None:
    """Write drawn people as JPEG files, a folder a person."""
    for number in range(count):
        person = 1 + number // 10
        path = folder / f"{person:04d}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn = Image.fromarray(picture("campus", 1 + person % 50, number % 8, number % 3, 0))
        drawn.resize((WIDTH * times, HEIGHT * times)).save(path, quality=92)
