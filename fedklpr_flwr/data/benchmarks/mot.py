"""What a tracker wrote of a user's own cameras: MOT Challenge text files, and the frames.

Layout: for each camera a text file ROOT/CAMERA.txt with its frames in ROOT/CAMERA/, or, as the MOT
Challenge has it, ROOT/CAMERA/gt/gt.txt with the frames in ROOT/CAMERA/img1/ (or the folder that
seqinfo.ini calls imDir). A frame's name ends in its number (000001.jpg). A video is not
read; make frames of it: ffmpeg -i CAMERA.mp4 -fps_mode passthrough -qscale:v 2 CAMERA/%06d.jpg.
A line: frame, track, left, top, width, height, and where there is more, a confidence; 0 means that
the line does not count. A first line may name the columns (frame,id,bb_left,...), which may then
stand in any order. Of a gt.txt with nine columns, or one called class, class 1 (pedestrian) alone
is used. Frames, tracks and the corner's coordinates count from 1, in pixels of the frame as it is
shown: upright by EXIF.
Every box is cut out of its frame when pictures are decoded; persons are unknown (-1), all of it is
to train on. Of a track at most ten pictures are taken, evenly apart. Boxes that are tiny (under 16
x 32 pixels), reach over the frame's border or do not count are left out and counted; their track
was there all the same. Lines that cannot be right are problems, those of a kind told together.
Cameras: 0, 1, ... in order of their names; two that differ in spelling alone (gate and Gate, cam1
and Cam_01) are refused.
"""

import configparser
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fedklpr_flwr.data.benchmarks.card import DatasetCard
from fedklpr_flwr.data.benchmarks.numbering import PictureRow, numbered_dataset
from fedklpr_flwr.data.benchmarks.picture_tree import PictureTree
from fedklpr_flwr.data.benchmarks.spoken_names import camera_key
from fedklpr_flwr.data.benchmarks.tracker_lines import (
    TrackedBox,
    another_order,
    in_kinds,
    read_lines,
)
from fedklpr_flwr.data.benchmarks.tracks import evenly_apart
from fedklpr_flwr.data.person_image import ReidDataset
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
_VIDEOS = (".mp4", ".avi", ".mkv", ".mov", ".m4v", ".webm", ".mpg", ".mpeg", ".ts")


@dataclass(frozen=True)
class _Camera:
    """A camera's text file and its frames by number."""

    name: str
    file: Path
    frames: dict[int, Path]


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
    if not rows and not tree.problems:
        why = "; ".join([*notes[1:], *tree.doubts])
        tree.note(tree.root, f"expected boxes that can be used, got none: {why}")
    return numbered_dataset("mot", rows, tuple(notes))


def _cameras(tree: PictureTree) -> list[_Camera]:
    """Find each camera's text file and frames; folders that are no camera's are passed over."""
    found: dict[str, tuple[Path, Path]] = {}
    for folder in tree.folders(tree.root):
        if (folder / "gt" / "gt.txt").is_file():
            found[folder.name] = folder / "gt" / "gt.txt", folder / _frames_folder(tree, folder)
    for file in sorted(tree.root.glob("*.txt")):
        if file.stem in found:
            raise DataError(
                f"{file}: expected one text file for camera {file.stem}, got {found[file.stem][0]} "
                "as well: remove one, or give the cameras two names"
            )
        found[file.stem] = file, tree.root / file.stem
    _check_names({name: file for name, (file, _) in found.items()})
    others = [folder for folder in tree.folders(tree.root) if folder.name not in found]
    for path in [*others, *(video for video in _videos(tree.root) if video.stem not in found)]:
        tree.pass_over(path)
    cameras = []
    for name, (file, folder) in sorted(found.items()):
        frames = _numbered(tree, folder) if folder.is_dir() else {}
        if frames:
            cameras.append(_Camera(name, file, frames))
        else:
            why = f"expected frames of camera {name} in {folder}, got none"
            tree.note(file, why + _of_video(tree.root, name))
    return cameras


def _frames_folder(tree: PictureTree, camera: Path) -> str:
    """The folder of frames in a MOT Challenge folder: img1, or what its seqinfo.ini says."""
    file = camera / "seqinfo.ini"
    if not file.is_file():
        return "img1"
    told = configparser.ConfigParser(interpolation=None)
    try:
        told.read(file, encoding="utf-8-sig")
    except (configparser.Error, UnicodeDecodeError, OSError) as error:
        tree.note(file, f"expected [Sequence] with imDir, got: {error}")
    name = told.get("Sequence", "imDir", fallback="img1")
    if Path(name).name != name or name == "..":
        tree.note(file, f"expected the name of a folder beside it as imDir, got {name!r}")
        return "img1"
    return name


def _check_names(files: dict[str, Path]) -> None:
    """Refuse cameras whose names are read as one.

    Raises:
        DataError: there are two.
    """
    known: dict[str, str] = {}
    for name, file in sorted(files.items()):
        other = known.setdefault(camera_key(name), name)
        if other != name:
            raise DataError(
                f"{file}: expected cameras of different names, got {name} beside {other} "
                f"({files[other]}), which are read as one name: rename the text file and the "
                "folder of one"
            )


def _videos(root: Path) -> list[Path]:
    """The videos beside the text files, sorted by name; they are not read."""
    return [path for path in sorted(root.glob("*")) if path.suffix.casefold() in _VIDEOS]


def _of_video(root: Path, name: str) -> str:
    """What to do where a video lies in place of frames; empty where there is none."""
    own = [path.name for path in _videos(root) if path.stem == name]
    if not own:
        return ""
    return (
        f" but the video {own[0]}, which is not read: make frames of it, mkdir {name}; ffmpeg -i "
        f"{own[0]} -fps_mode passthrough -qscale:v 2 {name}/%06d.jpg"
    )


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
    truth = camera.file.name == "gt.txt" and camera.file.parent.name == "gt"
    lines = read_lines(camera.file, classes=truth)
    if not lines.boxes and not lines.faults:
        tree.doubt(f"{camera.file} has no line: camera {camera.name} has no picture")
    if lines.tells_classes and not truth:
        tree.doubt(
            f"{camera.file} has a column of classes, which is looked at in CAMERA/gt/gt.txt alone: "
            "boxes of every class are taken for people; leave the others out of the file"
        )
    exchanged = "" if lines.names else another_order(lines.boxes)
    if exchanged:
        tree.note(camera.file, f"line {lines.boxes[0].number}: {exchanged}")
        return []
    right, faults = _right_boxes(lines.boxes, camera)
    for told in in_kinds(sorted([*lines.faults, *faults])):
        tree.note(camera.file, told)
    tracks: dict[int, list[TrackedBox]] = defaultdict(list)
    spans: dict[int, tuple[int, int]] = {}
    for one, unused in right:
        # Also a box that is not used says that its track was there.
        spans[one.track] = spans.get(one.track, (one.frame,))[0], one.frame
        if unused:
            left_out[unused] += 1
        else:
            tracks[one.track].append(one)
    return [
        PictureRow(
            camera.frames[one.frame],
            "",
            camera.name,
            "train",
            str(track),
            one.frame,
            one.box,
            spans[track],
        )
        for track, boxes in sorted(tracks.items())
        for one in evenly_apart(boxes)
    ]


def _right_boxes(
    boxes: Sequence[TrackedBox], camera: _Camera
) -> tuple[list[tuple[TrackedBox, str]], list[tuple[int, str]]]:
    """Tell boxes that can be right, each with why it is not used, from faults by line."""
    size = _size_of(camera)
    right, faults = [], []
    latest: dict[int, int] = {}
    for one in boxes:
        if fault := _fault(one, camera, size, latest):
            faults.append((one.number, fault))
        else:
            latest[one.track] = one.frame
            right.append((one, _unused(one, size)))
    return right, faults


def _fault(line: TrackedBox, camera: _Camera, size: tuple[int, int], latest: dict[int, int]) -> str:
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


def _unused(line: TrackedBox, size: tuple[int, int]) -> str:
    """Say why a right box is not used; empty if it is."""
    left, top, right, bottom = line.box
    if not line.pedestrian:
        return "of another class than 1 (pedestrian)"
    if not line.confident:
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
