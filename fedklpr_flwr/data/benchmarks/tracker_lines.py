"""The lines of a tracker's text file (MOT Challenge): a box each."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from pathlib import Path
from statistics import median

from fedklpr_flwr.data.person_image import Box
from fedklpr_flwr.errors import DataError
from fedklpr_flwr.wording import counted

COLUMNS = "frame, track, left, top, width, height"

_NEEDED = ("frame", "track", "left", "top", "width", "height")
_IN_ORDER = {name: place for place, name in enumerate((*_NEEDED, "confidence"))}
"""The columns of a file that does not name them."""
# x and y are no names of a corner: MOT Challenge has them for places on the ground.
_ALSO_CALLED = {
    "frame": ("frame_id", "frameid", "frame_no", "frame_number", "frame_index"),
    "track": ("id", "track_id", "trackid", "tracklet", "obj_id", "object_id"),
    "left": ("bb_left", "bbox_left", "box_left", "xmin", "x1"),
    "top": ("bb_top", "bbox_top", "box_top", "ymin", "y1"),
    "width": ("bb_width", "bbox_width", "box_width", "w"),
    "height": ("bb_height", "bbox_height", "box_height", "h"),
    "confidence": ("conf", "score"),
    "class": ("class_id", "cls", "category"),
}
_CLASS_OF_NINE = 7
"""Where a true MOT Challenge file (gt.txt) of nine columns has a box's class; 1 = a pedestrian."""

_LARGEST_NUMBER = 2**63 - 1  # int64
_LARGEST_PLACE = 1e6
# A file in another order moves by the distance of one person to the next, from frame to frame.
_FEWEST_STEPS, _FAR_LESS = 8, 4


@dataclass(frozen=True, slots=True)
class TrackedBox:
    """One line of a text file.

    Attributes:
        number: The line, from 1.
        frame: The frame, from 1.
        track: The track, from 1.
        box: Where in the frame it is.
        confident: False where the tracker, or who checked it, says that it does not count.
        pedestrian: False where a class is given and is another.
    """

    number: int
    frame: int
    track: int
    box: Box
    confident: bool
    pedestrian: bool


@dataclass(frozen=True)
class TrackerLines:
    """What a text file says.

    Attributes:
        boxes: Its right lines.
        faults: The numbers of the others, and what is wrong with each.
        names: The columns as its first line calls them; empty where it has numbers at once.
    """

    boxes: tuple[TrackedBox, ...]
    faults: tuple[tuple[int, str], ...]
    names: tuple[str, ...] = ()

    @property
    def tells_classes(self) -> bool:
        """Whether a column is called class."""
        return "class" in _places(self.names)


def read_lines(file: Path, *, classes: bool) -> TrackerLines:
    """Read a text file; empty lines are passed over.

    Args:
        file: The text file; its first line may hold the columns' names, in any order.
        classes: Whether it is a true file (gt.txt), whose eighth column of nine, or the one called
            class, is a box's class.

    Returns:
        Its lines; where its names lack a column, that fault and no more.

    Raises:
        DataError: The file cannot be read.
    """
    lines = _texts(file)
    names = _names_in(lines[0][1]) if lines else ()
    columns = _places(names) if names else _IN_ORDER
    if missing := [name for name in _NEEDED if name not in columns]:
        fault = f"expected names of the columns {COLUMNS}, got {', '.join(names)}"
        fault = f"{fault}: {', '.join(missing)} missing, or there twice"
        return TrackerLines((), ((lines[0][0], fault),), names)
    parsed = [_parsed(*line, columns, classes=classes) for line in lines[bool(names) :]]
    return TrackerLines(
        tuple(one for one in parsed if isinstance(one, TrackedBox)),
        tuple(one for one in parsed if not isinstance(one, TrackedBox)),
        names,
    )


def another_order(boxes: Sequence[TrackedBox]) -> str:
    """Say why frame and track seem to have changed places; empty if they do not.

    A track moves little from frame to frame, two people of one frame stand apart. Where it is so
    only with the two columns exchanged, they are. Which of them falls along the file says nothing:
    a right one may be in order of frames or of tracks.

    Args:
        boxes: All boxes of a file whose columns have no names.
    """
    tracks = _steps([(one.track, one.frame, one.box) for one in boxes])
    frames = _steps([(one.frame, one.track, one.box) for one in boxes])
    if min(len(tracks), len(frames)) < _FEWEST_STEPS:
        return ""
    moved, exchanged = median(tracks), median(frames)
    if moved <= _FAR_LESS * exchanged:
        return ""
    return (
        f"expected {COLUMNS} in this order, got boxes that move by {moved:g} pixels from frame to "
        f"frame, and by {exchanged:g} if the first column is the track: exchange the two, or, if "
        "the order is right, write the columns' names above the first line"
    )


def in_kinds(faults: Sequence[tuple[int, str]]) -> list[str]:
    """Put faults that differ in numbers alone into one sentence: the first, and how many more.

    Args:
        faults: Lines' numbers and what is wrong with each, in order.

    Returns:
        A sentence for each kind, in the order of their first lines.
    """
    kinds: dict[str, list[tuple[int, str]]] = {}
    for number, fault in faults:
        expected = fault.partition(", got")[0]
        kinds.setdefault(re.sub(r"[-\d.]+", "#", expected), []).append((number, fault))
    told = []
    for alike in kinds.values():
        number, fault = alike[0]
        more = counted(len(alike) - 1, "more line")
        rest = f" (and {more} like it, up to line {alike[-1][0]})" if len(alike) > 1 else ""
        told.append(f"line {number}: {fault}{rest}")
    return told


def _texts(file: Path) -> list[tuple[int, str]]:
    """Read the lines that are not empty, with their numbers."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: expected a text file with {COLUMNS}, got: {error}") from error
    return [(number, line) for number, line in enumerate(lines, 1) if line.strip()]


def _cells(text: str) -> list[str]:
    """Cut a line at its commas, or at spaces where it has none; an empty cell keeps its place."""
    text = text.strip().rstrip(",")
    return [cell.strip() for cell in text.split(",")] if "," in text else text.split()


def _names_in(text: str) -> tuple[str, ...]:
    """The columns' names, where a first line has such in place of numbers."""
    cells = tuple(cell.strip("\"' ").casefold() for cell in _cells(text.lstrip("# ")))
    words = [cell for cell in cells if cell]
    named = all(word[0].isalpha() and not _is_number(word) for word in words)
    return cells if words and named else ()


def _places(names: Sequence[str]) -> dict[str, int]:
    """Where each column is by its name; what is there twice is nowhere."""
    places = {}
    for column, others in _ALSO_CALLED.items():
        found = [place for place, name in enumerate(names) if name in (column, *others)]
        if len(found) == 1:
            places[column] = found[0]
    return places


def _parsed(
    number: int, text: str, columns: Mapping[str, int], *, classes: bool
) -> TrackedBox | tuple[int, str]:
    """Read a line; or say what is wrong with it."""
    cells = _cells(text)
    told = {name: cells[place] for name, place in columns.items() if place < len(cells)}
    frame, track = (_whole(told.get(name, "")) for name in _NEEDED[:2])
    left, top, width, height = (_place(told.get(name, "")) for name in _NEEDED[2:])
    confidence = _place(told.get("confidence", "1"))
    if not frame or not track or math.isnan(left + top + width + height + confidence):
        order = ", ".join(sorted(_NEEDED, key=columns.__getitem__))
        return number, (
            f"expected {order} in this order, frame and track from 1, got {text[:60]!r}"
        )
    if width <= 0 or height <= 0:
        return number, f"expected a box of a width and a height above 0, got {width:g} x {height:g}"
    # The format counts pixels from 1.
    box = round(left - 1), round(top - 1), round(left - 1 + width), round(top - 1 + height)
    nine = cells[_CLASS_OF_NINE] if len(cells) == 9 and columns is _IN_ORDER else "1"
    other = classes and _whole(told.get("class", nine)) != 1
    return TrackedBox(number, frame, track, box, confidence != 0, not other)


def _whole(cell: str) -> int:
    """A whole number from 1, exact however large (as float two would become one); 0 = none."""
    try:
        value = Decimal(cell)
        whole = 1 <= value <= _LARGEST_NUMBER and value == value.to_integral_value()
    except InvalidOperation:
        return 0
    return int(value) if whole else 0


def _place(cell: str) -> float:
    """A number of pixels, or NaN."""
    number = float(cell) if _is_number(cell) else math.nan
    return number if abs(number) <= _LARGEST_PLACE else math.nan


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _steps(ordered: Sequence[tuple[int, int, Box]]) -> list[int]:
    """How far the corner moves from each box to the next of its group, in order."""
    boxes = sorted(ordered)
    return [
        abs(after[2][0] - before[2][0]) + abs(after[2][1] - before[2][1])
        for before, after in pairwise(boxes)
        if before[0] == after[0]
    ]
