"""A user's own pictures in folders: with persons known, or without.

Layout with persons: ROOT/{train,query,gallery}/PERSON/CAMERA_anything.jpg.
Layout without: ROOT/train/CAMERA/anything.jpg; every person is unknown (-1). Where a tracker has
told who is who within a camera: ROOT/train/CAMERA/TRACK/anything.jpg, a folder for each track.
query and gallery, always with persons, may be missing: a site without them trains, and its ranks
stay empty. train may be missing: such a site is searched in alone.
train is read as without persons if most of its pictures lie in folders of folders (tracks), if half
of its pictures or more have names without CAMERA_ in front, if all its folders are called after
cameras (cam1, camera_b, c3), or if all its pictures are called after one and the same word
(frame_0001.jpg). A note says how it was read; read with persons,
a picture without CAMERA_ is a problem.
Person ids: 1, 2, ... in order of the folders' names over all three parts, so that a name means the
    same person everywhere. Cameras: 0, 1, ... in order of their names over all three parts.
"""

import re
from pathlib import Path

from fedklpr_flwr.data.benchmarks.card import DatasetCard
from fedklpr_flwr.data.benchmarks.numbering import PictureRow, numbered_dataset
from fedklpr_flwr.data.benchmarks.picture_tree import PictureTree
from fedklpr_flwr.data.person_image import ReidDataset
from fedklpr_flwr.errors import DataError
from fedklpr_flwr.wording import counted

CARD = DatasetCard(
    title="folder",
    layout="folders train, query and gallery with PERSON/CAMERA_anything.jpg, or train with "
    "CAMERA/anything.jpg",
    words=__doc__ or "",
)

_CAMERA_NAME = re.compile(r"(?:c|cam|camera)[-_ ]?(?:\d+|[a-z])", re.IGNORECASE)
_MARKET = re.compile(r"(-1|\d{4})_(c\d+)s\d+_")
_PREFIX = re.compile(r"([^_]+)_.+")


def read(tree: PictureTree, seed: int) -> ReidDataset:
    """Read a user's own pictures.

    Args:
        tree: The folder with train, query and gallery.
        seed: Not used; the folders are the split.

    Returns:
        The set; it notes how train was read.

    Raises:
        DataError: If there is neither train nor gallery, or only one of query and gallery.
    """
    there = [part for part in ("train", "query", "gallery") if (tree.root / part).is_dir()]
    if not there:
        raise tree.layout_error(CARD.layout)
    if ("query" in there) != ("gallery" in there):
        raise DataError(f"{tree.root}: expected both query and gallery, or neither; got {there}")
    unnamed = "train" in there and not _has_persons(tree)
    for part in there:
        _note_strays(tree, tree.root / part, tracks=unnamed and part == "train")
    rows = [row for part in there if part != "train" for row in _known(tree, part)]
    if "train" not in there:
        return numbered_dataset("folder", rows, ())
    if not unnamed:
        train = _known(tree, "train")
        persons, cameras = ({getattr(row, of) for row in train} for of in ("person", "camera"))
        note = (
            f"train read as train/PERSON/CAMERA_anything.jpg: {counted(len(persons), 'person')}, "
            f"{counted(len(cameras), 'camera')}"
        )
        return numbered_dataset("folder", [*train, *rows], (note,))
    train = _by_camera(tree)
    note = (
        f"train read as train/CAMERA/anything.jpg: "
        f"{counted(len({row.camera for row in train}), 'camera')}, its persons are unknown"
    )
    if tracks := len({(row.camera, row.track) for row in train if row.track}):
        note += f"; {counted(tracks, 'track')} in folders of cameras"
    return numbered_dataset("folder", [*train, *rows], (note,))


def searched_rows(tree: PictureTree) -> list[PictureRow]:
    """Read what is there to search in, in whatever way people keep it.

    Args:
        tree: A folder with `gallery`, or else with `train`, as this reader takes it. Or one of
            CAMERA/anything.jpg; of PERSON/CAMERA_anything.jpg where that word is a camera's (cam1,
            c3) and the folder's name is none; of pictures alone, whose cameras are told by such a
            word or as Market-1501 tells them (0002_c1s1_...); or of all these together.

    Returns:
        The pictures (their part says nothing), in folders before plain ones; person and camera are
        empty where unknown.
    """
    part = next((name for name in ("gallery", "train") if (tree.root / name).is_dir()), None)
    if part is not None:
        known = part == "gallery" or _has_persons(tree)
        _note_strays(tree, tree.root / part, tracks=not known)
        return _known(tree, part) if known else _by_camera(tree)
    rows = []
    for folder in tree.folders(tree.root):
        for path in tree.folders(folder):
            tree.note(path, f"expected pictures in {folder.name}, got a folder")
        rows += [_in_folder(path, folder.name) for path in tree.pictures(folder)]
    return [*rows, *(_alone(path) for path in tree.pictures(tree.root))]


def _in_folder(path: Path, folder: str) -> PictureRow:
    """Tell person and camera of a picture in a folder of either."""
    prefix = _PREFIX.fullmatch(path.name)
    if prefix and _CAMERA_NAME.fullmatch(prefix[1]) and not _CAMERA_NAME.fullmatch(folder):
        return PictureRow(path, folder, prefix[1], "gallery")
    return PictureRow(path, "", folder, "gallery")


def _alone(path: Path) -> PictureRow:
    """Tell what the name of a picture outside of any folder says."""
    if market := _MARKET.match(path.name):
        person = "" if market[1] == "-1" else market[1]
        return PictureRow(path, person, market[2], "gallery")
    prefix = _PREFIX.fullmatch(path.name)
    camera = prefix[1] if prefix and _CAMERA_NAME.fullmatch(prefix[1]) else ""
    return PictureRow(path, "", camera, "gallery")


def _by_camera(tree: PictureTree) -> list[PictureRow]:
    """Read train laid out as CAMERA/anything.jpg, or CAMERA/TRACK/anything.jpg."""
    rows = []
    for camera in tree.folders(tree.root / "train"):
        rows += [PictureRow(path, "", camera.name, "train") for path in tree.pictures(camera)]
        for track in tree.folders(camera):
            rows += [
                PictureRow(path, "", camera.name, "train", track.name)
                for path in tree.pictures(track)
            ]
    return rows


def _known(tree: PictureTree, part: str) -> list[PictureRow]:
    """Read a part laid out as PERSON/CAMERA_anything.jpg."""
    return [
        PictureRow(path, person.name, match[1], part)
        for person in tree.folders(tree.root / part)
        for path, match in tree.named_pictures(person, _PREFIX, "cam1_0001.jpg (CAMERA_anything)")
    ]


def _note_strays(tree: PictureTree, part: Path, *, tracks: bool = False) -> None:
    """Note pictures a level too high and folders a level too low, which nobody would read."""
    for path in tree.pictures(part):
        tree.note(path, f"expected folders of pictures in {part.name}, got a picture")
    for folder in tree.folders(part):
        for path in tree.folders(folder):
            if not tracks:
                tree.note(path, f"expected pictures in {part.name}/{folder.name}, got a folder")
                continue
            for below in tree.folders(path):
                tree.note(below, f"expected pictures in track {path.name}, got a folder")


def _has_persons(tree: PictureTree) -> bool:
    """Tell whether train's folders are persons; see the module's rule."""
    folders = tree.folders(tree.root / "train")
    if all(_CAMERA_NAME.fullmatch(folder.name) for folder in folders):
        return False
    # A second look at the same files must not note their faults twice.
    look = PictureTree(tree.root)
    names = [path.name for folder in folders for path in look.pictures(folder)]
    followed = (look.pictures(track) for folder in folders for track in look.folders(folder))
    if sum(len(pictures) for pictures in followed) > len(names):
        return False
    matches = [match for name in names if (match := _PREFIX.fullmatch(name))]
    if names and 2 * len(matches) <= len(names):
        return False
    prefixes = {match[1] for match in matches}
    return len(prefixes) != 1 or any(_is_camera(prefix) for prefix in prefixes)


def _is_camera(word: str) -> bool:
    return word.isdecimal() or _CAMERA_NAME.fullmatch(word) is not None
