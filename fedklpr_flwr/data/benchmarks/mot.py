"""What a tracker wrote of a user's own cameras: MOT Challenge text files, and the frames.

Layout: for each camera a text file ROOT/CAMERA.txt with its frames in ROOT/CAMERA/, or, as the MOT
Challenge has it, ROOT/CAMERA/gt/gt.txt with the frames in ROOT/CAMERA/img1/. A frame's name ends in
its number (000001.jpg).
A line: frame, track, left, top, width, height, and where there is more, a confidence; 0 means that
the line does not count. Frames, tracks and the corner's coordinates count from 1, in pixels of
the frame as it is shown: upright by EXIF.
Every box is cut out of its frame when pictures are decoded; persons are unknown (-1), all of it is
to train on. Of a track at most ten pictures are taken, evenly apart. Boxes that are tiny (under 16
x 32 pixels) or reach over the frame's border are left out and counted; lines that cannot be right
are problems.
Cameras: 0, 1, ... in order of their names.
"""

import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from fedklpr_flwr.data.benchmarks.card import DatasetCard
from fedklpr_flwr.data.benchmarks.numbering import PictureRow, numbered_dataset
from fedklpr_flwr.data.benchmarks.picture_tree import PictureTree
from fedklpr_flwr.data.benchmarks.tracks import evenly_apart
from fedklpr_flwr.data.person_image import Box, ReidDataset
from fedklpr_flwr.data.picture_file import shown_size
from fedklpr_flwr.errors import DataError
from fedklpr_flwr.wording import counted

CARD = DatasetCard(
    title="mot",
    layout="for each camera CAMERA.txt with a folder CAMERA of frames, or CAMERA/gt/gt.txt with "
    "CAMERA/img1",
    words=__doc__ or "",
)

_TINY_WIDTH, _TINY_HEIGHT = 16, 32
_COLUMNS = "frame, track, left, top, width, height"


@dataclass(frozen=True)
class _Camera:
    """A camera's text file and its frames by number."""

    name: str
    file: Path
    frames: dict[int, Path]


@dataclass(frozen=True)
class _Line:
    """One box of a text file."""

    frame: int
    track: int
    box: Box
    counts: bool


def read(tree: PictureTree, seed: int) -> ReidDataset:
    """Read a user's own tracks.

    Args:
        tree: The folder with the text files and the frames.
        seed: Not used; everything is to train on.

    Returns:
        The set; it notes how many tracks there are, and how many boxes were left out.

    Raises:
        DataError: If there is no text file, or a camera has two.
    """
    cameras = _cameras(tree)
    if not cameras and not tree.problems:
        raise tree.layout_error(CARD.layout)
    left_out: Counter[str] = Counter()
    rows = [row for camera in cameras for row in _rows(tree, camera, left_out)]
    tracks = len({(row.camera, row.track) for row in rows})
    found = f"{counted(tracks, 'track')} by {counted(len(cameras), 'camera')}, persons are unknown"
    notes = [found]
    if left_out:
        told = ", ".join(f"{number} {why}" for why, number in sorted(left_out.items()))
        notes.append(f"boxes not used: {told}")
    return numbered_dataset("mot", rows, tuple(notes))


def _cameras(tree: PictureTree) -> list[_Camera]:
    """Find each camera's text file and frames."""
    found: dict[str, tuple[Path, Path]] = {}
    for folder in tree.folders(tree.root):
        if (folder / "gt" / "gt.txt").is_file():
            found[folder.name] = folder / "gt" / "gt.txt", folder / "img1"
    for file in sorted(tree.root.glob("*.txt")):
        if file.stem in found:
            raise DataError(
                f"{file}: expected one text file for camera {file.stem}, got {found[file.stem][0]} "
                "as well: remove one, or give the cameras two names"
            )
        found[file.stem] = file, tree.root / file.stem
    cameras = []
    for name, (file, folder) in sorted(found.items()):
        frames = _numbered(tree, folder) if folder.is_dir() else {}
        if frames:
            cameras.append(_Camera(name, file, frames))
        else:
            tree.note(file, f"expected frames of camera {name} in {folder}, got none")
    return cameras


def _numbered(tree: PictureTree, folder: Path) -> dict[int, Path]:
    """Tell a camera's frames by the number that their names end in."""
    frames: dict[int, Path] = {}
    for path in tree.pictures(folder):
        digits = path.stem[len(path.stem.rstrip("0123456789")) :]
        if not digits:
            tree.note(path, "expected a name that ends in the frame's number, such as 000001.jpg")
        elif int(digits) in frames:
            tree.note(path, f"expected one frame {int(digits)}, got {frames[int(digits)].name} too")
        else:
            frames[int(digits)] = path
    return frames


def _rows(tree: PictureTree, camera: _Camera, left_out: Counter[str]) -> list[PictureRow]:
    """Read a camera's boxes, and take some of each track."""
    size = _size_of(camera)
    tracks: dict[int, list[_Line]] = defaultdict(list)
    latest: dict[int, int] = {}
    for number, text in _texts(camera.file):
        line = _parsed(text)
        fault = line if isinstance(line, str) else _fault(line, camera, size, latest)
        if fault or isinstance(line, str):
            tree.note(camera.file, f"line {number}: {fault}")
            continue
        latest[line.track] = line.frame
        if why := _unused(line, size):
            left_out[why] += 1
        else:
            tracks[line.track].append(line)
    return [
        PictureRow(
            camera.frames[one.frame], "", camera.name, "train", str(track), one.frame, one.box
        )
        for track, lines in sorted(tracks.items())
        for one in evenly_apart(lines)
    ]


def _texts(file: Path) -> list[tuple[int, str]]:
    """Read the lines that are not empty, with their numbers."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: expected a text file with {_COLUMNS}, got: {error}") from error
    return [(number, line) for number, line in enumerate(lines, 1) if line.strip()]


def _parsed(text: str) -> _Line | str:
    """Read a line; or say what is wrong with it."""
    cells = text.replace(",", " ").split()
    try:
        numbers = [float(cell) for cell in cells[:7]]
    except ValueError:
        numbers = []
    if not all(map(math.isfinite, numbers)):
        numbers = []
    whole = [number for number in numbers[:2] if number == int(number) and number >= 1]
    if len(numbers) < 6 or len(whole) < 2:
        return f"expected {_COLUMNS} in this order, frame and track from 1, got {text[:60]!r}"
    frame, track = map(int, whole)
    left, top, width, height = numbers[2:6]
    if width <= 0 or height <= 0:
        return f"expected a box of a width and a height above 0, got {width:g} x {height:g}"
    # The format counts pixels from 1.
    box = round(left - 1), round(top - 1), round(left - 1 + width), round(top - 1 + height)
    return _Line(frame, track, box, len(numbers) < 7 or numbers[6] != 0)


def _fault(line: _Line, camera: _Camera, size: tuple[int, int], latest: dict[int, int]) -> str:
    """Say why a box cannot be right; empty if it can."""
    before = latest.get(line.track)
    if before == line.frame:
        return f"expected track {line.track} once in frame {line.frame}, got it again"
    if before is not None and before > line.frame:
        return (
            f"expected track {line.track} after frame {before}, got frame {line.frame}: time goes "
            "backwards"
        )
    if line.frame not in camera.frames:
        return (
            f"expected a frame among {min(camera.frames)} to {max(camera.frames)}, got "
            f"{line.frame}: its picture is not there"
        )
    left, top, right, bottom = line.box
    if right <= 0 or bottom <= 0 or left >= size[0] or top >= size[1]:
        return f"expected a box in the frame of {size[0]} x {size[1]} pixels, got {line.box}"
    return ""


def _unused(line: _Line, size: tuple[int, int]) -> str:
    """Say why a right box is not used; empty if it is."""
    left, top, right, bottom = line.box
    if not line.counts:
        return "with confidence 0"
    if left < 0 or top < 0 or right > size[0] or bottom > size[1]:
        return "cut by the border"
    if right - left < _TINY_WIDTH or bottom - top < _TINY_HEIGHT:
        return "tiny"
    return ""


def _size_of(camera: _Camera) -> tuple[int, int]:
    """Width and height of a camera's frames as they are shown, by the first that can be read."""
    faults = []
    for frame in camera.frames.values():
        try:
            return shown_size(frame)
        except DataError as error:
            faults.append(error)
    raise DataError(
        f"{camera.file}: expected frames of camera {camera.name} that can be read, got none of "
        f"{len(faults)}; the first: {faults[0]}"
    )
