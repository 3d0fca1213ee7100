"""A user's own pictures in folders: with persons known, or without.

Layout with persons: ROOT/{train,query,gallery}/PERSON/CAMERA_anything.jpg, or with a folder for
each camera, if it is called after one (cam1, c2): PERSON/CAMERA/anything.jpg.
Layout without: ROOT/train/CAMERA/anything.jpg, or ROOT/CAMERA/anything.jpg, the folder that a
search takes, all of which is then train; every person is unknown (-1). Where a tracker has
told who is who within a camera: ROOT/train/CAMERA/TRACK/anything.jpg, a folder for each track.
query and gallery, always with persons, may be missing: a site without them trains, and its ranks
stay empty. train may be missing: such a site is searched in alone.
train is read as without persons if most of its pictures lie in folders of folders (tracks) that are
not called after cameras, if half of its pictures or more have names without CAMERA_ in front, if
all its folders are called after cameras (cam1, camera_b, c3), or if all its pictures are called
after one and the same word (frame_0001.jpg). Folders that are days (2026-01-31, 31.1.26) are
no persons: train/DAY/CAMERA_anything.jpg is without persons, too, and a day among persons a
problem. A note says how it was read; read with
persons, a picture without CAMERA_ is a problem, and so are persons who have cameras of their own,
and cameras that took a picture each. So it is where train, read without persons, has none of the
cameras of query and gallery. Other folders of pictures (test, val) are passed over, and told.
CAMERA is told as a benchmark's name tells it (0013_c1s1_000451_03.jpg, also PERSON_c1_..., and
those of MSMT17, LTCC, MARS and VC-Clothes), by a camera's own word (cam_1_x.jpg, cam1-x.jpg,
lobby_cam1_x.jpg), by a word and a short second one (north_1_x.jpg, gate_a_x.jpg), or by the first
word; a day or a moment (20260131_101500.jpg) is none. Second words that may be of cameras or not
are a problem that lists both readings. Cam_01, cam1 and c1 are one camera; Anna and anna are one
person, and so are 1 and 0001.
-1 (junk, unknown, nobody, unknown_1) is junk and dropped; 0000 (0, distractors) in a gallery,
where no query is called so, is a distractor.
Person ids: 1, 2, ... in order of the folders' names over all three parts, so that a name means the
    same person everywhere. Cameras: 0, 1, ... in order of their names over all three parts.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from fedklpr_flwr.data.benchmarks.camera_names import (
    CamerasTold,
    cameras_in_names,
    market_name,
    of_two_places,
    person_and_camera,
)
from fedklpr_flwr.data.benchmarks.card import DatasetCard
from fedklpr_flwr.data.benchmarks.numbering import (
    PictureRow,
    meant_persons,
    numbered_dataset,
    spelled_alike,
)
from fedklpr_flwr.data.benchmarks.own_names import without_days
from fedklpr_flwr.data.benchmarks.picture_tree import PictureTree
from fedklpr_flwr.data.benchmarks.spoken_names import (
    camera_key,
    is_camera,
    is_date,
    person_key,
    track_called,
)
from fedklpr_flwr.data.person_image import ReidDataset
from fedklpr_flwr.errors import DataError
from fedklpr_flwr.wording import counted

CARD = DatasetCard(
    title="folder",
    layout="folders train, query and gallery with PERSON/CAMERA_anything.jpg, or train with "
    "CAMERA/anything.jpg, or CAMERA/anything.jpg alone",
    words=__doc__ or "",
)

_PARTS = ("train", "query", "gallery")
_CALLED_AS_A_PART = re.compile(
    r"(?:bounding_box_)?(?:train(?:_all)?|test|val(?:id(?:ation)?)?|query|gallery)", re.IGNORECASE
)
_PART_OF_A_SET = re.compile("train|test|query|gallery|valid", re.IGNORECASE)
_EXAMPLE = "cam1_0001.jpg (CAMERA_anything)"


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
    there = [part for part in _PARTS if (tree.root / part).is_dir()]
    for gone in (tree.root / name for name in _PARTS if name not in there):
        if gone.is_symlink():
            tree.note(gone, "expected a folder of pictures, got a link to none: mend or remove it")
    if not there:
        return _of_cameras(tree)
    if ("query" in there) != ("gallery" in there):
        raise DataError(f"{tree.root}: expected both query and gallery, or neither; got {there}")
    for folder in tree.folders(tree.root):
        if folder.name not in there:
            tree.pass_over(folder)
    unnamed = "train" in there and not _has_persons(tree, tree.root / "train")
    for part in there:
        _note_strays(tree, tree.root / part, tracks=unnamed and part == "train")
    tested = tuple(part for part in there if part != "train")
    if "train" not in there:
        return numbered_dataset("folder", without_days(tree, _known(tree, tested)), ())
    dated = _all_dates(tree, "train")
    if not unnamed and not dated:
        # All parts together: a name means the same camera everywhere.
        rows = without_days(tree, _known(tree, ("train", *tested)))
        train = [row for row in rows if row.part == "train"]
        layout = "PERSON/CAMERA_anything.jpg"
    else:
        train = _dated(tree) if dated else _by_camera(tree, tree.root / "train")
        searched = without_days(tree, _known(tree, tested))
        rows = [*train, *searched]
        _note_strangers(tree, {row.camera for row in train}, {row.camera for row in searched})
        layout = "DAY/CAMERA_anything.jpg" if dated else "CAMERA/anything.jpg"
    dataset = numbered_dataset("folder", rows, ())
    persons = {one.person_id for one in dataset.train} - {-1}
    who = counted(len(persons), "person") + ", " if not (unnamed or dated) else ""
    seen = counted(len({one.camera_id for one in dataset.train}), "camera")
    unknown = "" if who else ", its persons are unknown"
    note = f"train read as train/{layout}: {who}{seen}{unknown}"
    return replace(dataset, notes=(note + _of_tracks(train), *dataset.notes))


def _of_tracks(rows: Sequence[PictureRow]) -> str:
    """What to say of folders in cameras' folders; empty where there are none.

    PERSON/SESSION/anything.jpg looks alike.
    """
    tracks = len({(row.camera, row.track) for row in rows if row.track})
    if not tracks:
        return ""
    told = f"{counted(tracks, 'track')} in folders of cameras (CAMERA/TRACK/anything.jpg)"
    return f"; {told}, the pictures of each taken for one person"


def _note_strangers(tree: PictureTree, trained: Collection[str], searched: Collection[str]) -> None:
    """Note folders of train that are no camera's of query and gallery: they may be persons'."""
    there = {camera_key(camera) for camera in searched}
    if not trained or not there or there & {camera_key(camera) for camera in trained}:
        return
    some, others = (", ".join(sorted(names)[:3]) for names in (trained, searched))
    tree.note(
        tree.root / "train",
        f"expected cameras that query and gallery have ({others}), got folders called {some}, and "
        "names that tell no camera: if they are persons, call their pictures CAMERA_anything.jpg; "
        "if they are cameras, call them the same everywhere",
    )


def _of_cameras(tree: PictureTree) -> ReidDataset:
    """Read ROOT/CAMERA/anything.jpg, or tracks in folders of cameras, as pictures to train on.

    Raises:
        DataError: there is another layout: a plain picture, say, which no folder names a camera of,
            or a folder that is called as a part of a set.
    """
    rows = _by_camera(tree, tree.root)
    cameras = {row.camera for row in rows}
    if not rows or tree.pictures(tree.root) or any(map(_PART_OF_A_SET.search, cameras)):
        raise tree.layout_error(CARD.layout)
    if _has_persons(tree, tree.root):
        raise DataError(
            f"{tree.root}: its folders look like persons, PERSON/CAMERA_anything.jpg; put those to "
            "train on into a folder train, and others, if you want accuracies, into query and "
            "gallery"
        )
    seen = counted(len(cameras), "camera")
    _note_strays(tree, tree.root, tracks=True)
    note = f"read as CAMERA/anything.jpg, all of it to train on: {seen}, its persons are unknown"
    return numbered_dataset("folder", rows, (note + _of_tracks(rows),))


def searched_rows(tree: PictureTree) -> list[PictureRow]:
    """Read what is there to search in, in whatever way people keep it.

    Args:
        tree: A folder with `gallery`, or else with `train`, as this reader takes it. Or one of
            CAMERA/anything.jpg; of PERSON/CAMERA_anything.jpg where that word is a camera's (cam1,
            c3) and the folder's name is none; of pictures alone, whose cameras are told by such a
            word or as Market-1501 and DukeMTMC tell them (0002_c1s1_..., anna0002_c1_...); or of
            all these together. Folders called after parts of a set (bounding_box_test) tell neither
            person nor camera, and days no person.

    Returns:
        The pictures (their part says nothing), in folders before plain ones; person and camera are
        empty where unknown, and each is spelled in one way.
    """
    part = next((name for name in ("gallery", "train") if (tree.root / name).is_dir()), None)
    if part is not None:
        known = part == "gallery" or _has_persons(tree, tree.root / part)
        _note_strays(tree, tree.root / part, tracks=not known)
        if not known:
            return _by_camera(tree, tree.root / part)
        dated = part == "train" and _all_dates(tree, part)
        return _named(_dated(tree) if dated else _known(tree, (part,)), _queried(tree))
    rows = []
    told = _told_of_folders(tree)
    for folder in tree.folders(tree.root):
        inner = _camera_folders(tree, folder)
        for path in tree.folders(folder):
            if path not in inner:
                tree.note(path, f"expected pictures in {folder.name}, got a folder")
        rows += _in_folder(tree.pictures(folder), folder.name, told)
        rows += [
            PictureRow(path, folder.name, camera.name, "gallery")
            for camera in inner
            for path in tree.pictures(camera)
        ]
    plain = tree.pictures(tree.root)
    if doubt := of_two_places(path.name for path in plain):
        tree.doubt(doubt)
    return _named([*rows, *map(_alone, plain)], _queried(tree))


def _queried(tree: PictureTree) -> set[str]:
    """The persons' folders of the query beside a gallery, where there is one."""
    above = tree.root.parent if tree.root.name == "gallery" else tree.root
    beside = above / "query"
    return (
        {folder.name for folder in PictureTree(above).folders(beside)} if beside.is_dir() else set()
    )


def _named(rows: Sequence[PictureRow], asked: Collection[str]) -> list[PictureRow]:
    """Rows to search in: nobody, a day or a part has no name, and a name has one spelling.

    0000 that a query asks for is a person, as `numbered_dataset` has it.
    """
    meant = meant_persons({row.person for row in rows}, asked)
    nobody = {"-1"} if "0000" in meant_persons(asked, asked).values() else {"-1", "0000"}
    persons, cameras = (
        spelled_alike((getattr(row, of) for row in rows), key_of)
        for of, key_of in (("person", person_key), ("camera", camera_key))
    )
    return [
        replace(
            row,
            person=""
            if meant[row.person] in nobody or _no_name(row.person)
            else persons[row.person],
            camera=cameras[row.camera],
        )
        for row in rows
    ]


def _no_name(folder: str) -> bool:
    """Whether a folder's name is no person's and no camera's: a day, or a part of a set."""
    return is_date(folder) or _CALLED_AS_A_PART.fullmatch(folder) is not None


def _camera_folders(tree: PictureTree, person: Path) -> list[Path]:
    """The folders of a person's folder that are called after cameras."""
    if is_camera(person.name):
        return []
    return [folder for folder in tree.folders(person) if is_camera(folder.name)]


def _told_of_folders(tree: PictureTree) -> CamerasTold:
    """What the pictures in folders of either persons or cameras tell; doubts are noted."""
    look = PictureTree(tree.root)
    told = cameras_in_names(
        (folder.name, path.name)
        for folder in look.folders(tree.root)
        if not is_camera(folder.name) and not _CALLED_AS_A_PART.fullmatch(folder.name)
        for path in look.pictures(folder)
    )
    _note_told(tree, told)
    return told


def _note_told(tree: PictureTree, told: CamerasTold) -> None:
    """Note names that tell cameras in two ways: as problems, or as doubts where one is likelier."""
    for doubt in told.doubts:
        tree.note(tree.root, doubt)
    if told.unsure:
        tree.doubt(told.unsure)


def _in_folder(pictures: Sequence[Path], folder: str, told: CamerasTold) -> list[PictureRow]:
    """Tell person and camera of the pictures in a folder of either."""
    rows = []
    persons = told.of_persons()
    for path in pictures:
        camera = told.cameras.get((folder, path.name), "")
        if market_name(path.name) or _CALLED_AS_A_PART.fullmatch(folder):
            rows.append(_alone(path))
        elif camera and (persons or (folder, path.name) in told.sure):
            rows.append(PictureRow(path, folder, camera, "gallery"))
        else:
            rows.append(PictureRow(path, "", folder, "gallery"))
    return rows


def _alone(path: Path) -> PictureRow:
    """Tell what the name of a picture outside of any folder says."""
    if both := person_and_camera(path.name):
        return PictureRow(path, *both, "gallery")
    told = cameras_in_names([("", path.name)])
    sure = told.cameras["", path.name] if told.sure else ""
    return PictureRow(path, "", sure, "gallery")


def _by_camera(tree: PictureTree, part: Path) -> list[PictureRow]:
    """Read a folder laid out as CAMERA/anything.jpg, or CAMERA/TRACK/anything.jpg."""
    rows = []
    for camera in tree.folders(part):
        rows += [PictureRow(path, "", camera.name, "train") for path in tree.pictures(camera)]
        for track in tree.folders(camera):
            rows += [
                PictureRow(path, "", camera.name, "train", track_called(track.name))
                for path in tree.pictures(track)
            ]
    return rows


def _known(tree: PictureTree, parts: Sequence[str]) -> list[PictureRow]:
    """Read parts laid out as PERSON/CAMERA_anything.jpg or PERSON/CAMERA/anything.jpg."""
    pictures = [
        (part, person.name, path)
        for part in parts
        for person in tree.folders(tree.root / part)
        for path in tree.pictures(person)
    ]
    told = cameras_in_names((person, path.name) for _, person, path in pictures)
    _note_told(tree, told)
    rows = []
    for part, person, path in pictures:
        camera = told.cameras.get((person, path.name))
        if camera is None:
            tree.note(path, f"expected a name such as {_EXAMPLE}, got {path.name}")
        else:
            rows.append(PictureRow(path, person, camera, part))
    return rows + [
        PictureRow(path, person.name, camera.name, part)
        for part in parts
        for person in tree.folders(tree.root / part)
        for camera in _camera_folders(tree, person)
        for path in tree.pictures(camera)
    ]


def _dated(tree: PictureTree) -> list[PictureRow]:
    """Read train laid out as DAY/CAMERA_anything.jpg."""
    return [replace(row, person="") for row in _known(tree, ("train",))]


def _all_dates(tree: PictureTree, part: str) -> bool:
    """Whether all folders of a part are days."""
    folders = PictureTree(tree.root).folders(tree.root / part)
    return bool(folders) and all(is_date(folder.name) for folder in folders)


def _note_strays(tree: PictureTree, part: Path, *, tracks: bool = False) -> None:
    """Note pictures a level too high and folders a level too low, which nobody would read."""
    for path in tree.pictures(part):
        tree.note(path, f"expected folders of pictures in {part.name}, got a picture")
    for folder in tree.folders(part):
        inner = [] if tracks else _camera_folders(tree, folder)
        for path in tree.folders(folder):
            if path in inner:
                for below in tree.folders(path):
                    tree.note(below, f"expected pictures of camera {path.name}, got a folder")
                continue
            if not tracks:
                tree.note(path, f"expected pictures in {part.name}/{folder.name}, got a folder")
                continue
            for below in tree.folders(path):
                tree.note(below, f"expected pictures in track {path.name}, got a folder")


def _has_persons(tree: PictureTree, part: Path) -> bool:
    """Tell whether a part's folders are persons; see the module's rule."""
    folders = tree.folders(part)
    if all(is_camera(folder.name) for folder in folders):
        return False
    # A second look at the same files must not note their faults twice.
    look = PictureTree(tree.root)
    names = [(folder.name, path.name) for folder in folders for path in look.pictures(folder)]
    inner = [track for folder in folders for track in look.folders(folder)]
    if sum(len(look.pictures(track)) for track in inner) > len(names):
        return all(track in _camera_folders(look, track.parent) for track in inner)
    told = cameras_in_names(names)
    if told.doubts or told.differ_in_folders():
        return True
    if names and 2 * len(told.cameras) <= len(names):
        return False
    return (
        bool(told.sure) or len(found := set(told.cameras.values())) != 1 or found.pop().isdecimal()
    )
