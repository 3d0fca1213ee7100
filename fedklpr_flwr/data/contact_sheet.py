"""Contact sheets: who is in the data sets, how differently cameras see them, and who was found."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from fedklpr_flwr.data.person_image import PersonImage, ReidDataset
from fedklpr_flwr.data.picture_file import read_bytes, shown_picture
from fedklpr_flwr.errors import DataError, RunError
from fedklpr_flwr.system.atomic_file import PRIVATE, write_atomically
from fedklpr_flwr.wording import counted

_TILE = (64, 128)  # width and height of a picture on the sheet, in pixels
_FOUND = (96, 192)  # the same on a sheet of what was found
_MARGIN, _CAPTION, _TITLE = 8, 14, 150
_PAPER, _INK, _FAINT = (250, 250, 248), (30, 30, 30), (120, 120, 120)


def contact_sheet(datasets: Sequence[ReidDataset], path: Path, *, persons: int = 9) -> Path:
    """Make one PNG with a row for each data set and a pair of pictures for each person.

    A pair shows one person by two cameras, the first and the last that saw them; the persons are
    spread evenly over the training set (over query and gallery where nobody trains).

    Args:
        datasets: at least one.
        path: the PNG to write; its folder is made where it does not exist.
        persons: pairs in a row, >= 1. A smaller set has a shorter row.

    Returns:
        The path.

    Raises:
        DataError: there is nothing to show, a picture cannot be read, or the sheet not written.
    """
    if not datasets or persons < 1:
        raise DataError(
            "a contact sheet needs at least one data set and one person; "
            f"got {len(datasets)} data sets and persons={persons}"
        )
    row_height = _TILE[1] + _CAPTION + _MARGIN
    size = (_TITLE + persons * (2 * _TILE[0] + _MARGIN) + _MARGIN, len(datasets) * row_height)
    sheet = Image.new("RGB", (size[0], size[1] + _MARGIN), _PAPER)
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default()
    for row, dataset in enumerate(datasets):
        top = _MARGIN + row * row_height
        _write_title(pen, font, dataset, top)
        for column, pair in enumerate(_pairs(dataset, persons)):
            left = _TITLE + column * (2 * _TILE[0] + _MARGIN)
            _paste_pair(sheet, pair, left, top)
            first, second = pair
            caption = f"person {first.person_id}  cameras {first.camera_id}, {second.camera_id}"
            pen.text((left, top + _TILE[1] + 1), caption, fill=_FAINT, font=font)
    return _saved(sheet, Path(path))


@dataclass(frozen=True)
class SheetRow:
    """A picture that was searched with, and what was found.

    Attributes:
        query: The picture file.
        found: Picture files, the nearest first.
        captions: A short line for each of `found`.
    """

    query: Path
    found: Sequence[Path]
    captions: Sequence[str]


def search_sheet(rows: Sequence[SheetRow], path: Path) -> Path:
    """Make one PNG with a row for each query: the query in a frame, then what was found.

    Args:
        rows: At least one.
        path: The PNG to write; its folder is made where it does not exist.

    Returns:
        The path.

    Raises:
        DataError: A picture cannot be read, or the sheet not written.
    """
    longest = max(len(row.found) for row in rows)
    step, row_height = _FOUND[0] + _MARGIN, _FOUND[1] + _CAPTION + 2 * _MARGIN
    size = (step * (longest + 1) + 3 * _MARGIN, row_height * len(rows) + _MARGIN)
    sheet = Image.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default()
    for number, row in enumerate(rows):
        top = _MARGIN + number * row_height
        for place, (file, caption) in enumerate(
            zip([row.query, *row.found], ["query", *row.captions], strict=True)
        ):
            left = _MARGIN + place * step + (_MARGIN if place else 0)
            sheet.paste(_tile(file, _FOUND, Image.Resampling.BICUBIC), (left, top))
            below = (left, top + _FOUND[1] + 1)
            pen.text(below, _printable(caption), fill=_INK, font=font)
        frame = (_MARGIN - 3, top - 3, _MARGIN + _FOUND[0] + 2, top + _FOUND[1] + 2)
        pen.rectangle(frame, outline=_INK, width=2)
    return _saved(sheet, Path(path))


def _printable(caption: str) -> str:
    """What the small font can write: a camera may be called anything."""
    return caption.encode("ascii", "replace").decode("ascii")[:18]


def _pairs(dataset: ReidDataset, persons: int) -> list[tuple[PersonImage, PersonImage]]:
    """Two pictures each of a few persons, from the first and the last camera that saw them."""
    seen: dict[int, list[PersonImage]] = {}
    for image in dataset.train or dataset.query + dataset.gallery:
        seen.setdefault(image.person_id, []).append(image)
    people = [sorted(images, key=lambda image: image.camera_id) for images in seen.values()]
    # People seen by one camera alone come last: a pair is to show two views.
    people.sort(key=lambda images: images[0].camera_id == images[-1].camera_id)
    step = max(len(people) // persons, 1)
    return [(images[0], images[-1]) for images in people[::step][:persons]]


def _write_title(
    pen: ImageDraw.ImageDraw,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    dataset: ReidDataset,
    top: int,
) -> None:
    """The name of a data set and how large it is, to the left of its row."""
    images = dataset.train + dataset.query + dataset.gallery
    cameras = len({image.camera_id for image in images})
    people = len({image.person_id for image in dataset.train})
    lines = (
        counted(cameras, "camera"),
        f"{counted(people, 'person')} to train on",
        f"{counted(len(dataset.train), 'picture')} to train on",
        counted(len(dataset.query), "query", some="queries"),
        f"{len(dataset.gallery)} in the gallery",
    )
    pen.text((_MARGIN, top + 6), dataset.name, fill=_INK, font=font)
    pen.multiline_text((_MARGIN, top + 24), "\n".join(lines), fill=_FAINT, font=font, spacing=5)


def _paste_pair(
    sheet: Image.Image, pair: tuple[PersonImage, PersonImage], left: int, top: int
) -> None:
    """Put two pictures side by side, enlarged without smoothing so that pixels stay visible."""
    for place, image in enumerate(pair):
        tile = _tile(image.path, _TILE, Image.Resampling.NEAREST)
        sheet.paste(tile, (left + place * _TILE[0], top))


def _tile(path: Path, size: tuple[int, int], how: Image.Resampling) -> Image.Image:
    """Read a picture at the size it has on a sheet."""
    width, height = size
    return shown_picture(read_bytes(path), path, height=height, width=width).resize(size, how)


def _saved(sheet: Image.Image, path: Path) -> Path:
    """Write the sheet as a PNG, for its user alone: there are people on it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        png = io.BytesIO()
        sheet.save(png, format="PNG")
        write_atomically(path, png.getbuffer(), mode=PRIVATE)
    except (OSError, RunError) as error:
        why = error.__cause__ or error
        raise DataError(
            f"cannot write the contact sheet to {path}: {why}; choose another file"
        ) from error
    return path
