"""A user's own pictures in folders: with persons known, or without.

Layout with persons: ROOT/{train,query,gallery}/PERSON/CAMERA_anything.jpg.
Layout without: ROOT/train/CAMERA/anything.jpg; every person is unknown (-1).
query and gallery, always with persons, may be missing: a site without them trains, and its ranks
stay empty. train may be missing: such a site is searched in alone.
train is read as without persons if half of its pictures or more have names without CAMERA_ in
front, if all its folders are called after cameras (cam1, camera_b, c3), or if all its pictures are
called after one and the same word (frame_0001.jpg). A note says how it was read; read with persons,
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

CARD = DatasetCard(
    title="folder",
    layout="folders train, query and gallery with PERSON/CAMERA_anything.jpg, or train with "
    "CAMERA/anything.jpg",
    words=__doc__ or "",
)

_CAMERA_NAME = re.compile(r"(?:c|cam|camera)[-_ ]?(?:\d+|[a-z])", re.IGNORECASE)
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
    for part in there:
        _note_strays(tree, tree.root / part)
    rows = [row for part in there if part != "train" for row in _known(tree, part)]
    if "train" not in there:
        return numbered_dataset("folder", rows, ())
    if _has_persons(tree):
        train = _known(tree, "train")
        persons, cameras = ({getattr(row, of) for row in train} for of in ("person", "camera"))
        note = (
            f"train read as train/PERSON/CAMERA_anything.jpg: {len(persons)} persons, "
            f"{len(cameras)} cameras"
        )
        return numbered_dataset("folder", [*train, *rows], (note,))
    train = [
        PictureRow(path, "", camera.name, "train")
        for camera in tree.folders(tree.root / "train")
        for path in tree.pictures(camera)
    ]
    note = (
        f"train read as train/CAMERA/anything.jpg: {len({row.camera for row in train})} cameras, "
        "its persons are unknown"
    )
    return numbered_dataset("folder", [*train, *rows], (note,))


def _known(tree: PictureTree, part: str) -> list[PictureRow]:
    """Read a part laid out as PERSON/CAMERA_anything.jpg."""
    return [
        PictureRow(path, person.name, match[1], part)
        for person in tree.folders(tree.root / part)
        for path, match in tree.named_pictures(person, _PREFIX, "cam1_0001.jpg (CAMERA_anything)")
    ]


def _note_strays(tree: PictureTree, part: Path) -> None:
    """Note pictures one level too high and folders one level too low, which nobody would read."""
    for path in tree.pictures(part):
        tree.note(path, f"expected folders of pictures in {part.name}, got a picture")
    for folder in tree.folders(part):
        for path in tree.folders(folder):
            tree.note(path, f"expected pictures in {part.name}/{folder.name}, got a folder")


def _has_persons(tree: PictureTree) -> bool:
    """Tell whether train's folders are persons; see the module's rule."""
    folders = tree.folders(tree.root / "train")
    if all(_CAMERA_NAME.fullmatch(folder.name) for folder in folders):
        return False
    # A second look at the same files must not note their faults twice.
    look = PictureTree(tree.root)
    names = [path.name for folder in folders for path in look.pictures(folder)]
    matches = [match for name in names if (match := _PREFIX.fullmatch(name))]
    if names and 2 * len(matches) <= len(names):
        return False
    prefixes = {match[1] for match in matches}
    return len(prefixes) != 1 or any(_is_camera(prefix) for prefix in prefixes)


def _is_camera(word: str) -> bool:
    return word.isdecimal() or _CAMERA_NAME.fullmatch(word) is not None
