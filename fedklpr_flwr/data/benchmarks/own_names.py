"""What of a user's own persons and cameras cannot be as it was meant, whatever reader read them."""

from collections.abc import Sequence

from fedklpr_flwr.data.benchmarks.numbering import PictureRow
from fedklpr_flwr.data.benchmarks.picture_tree import PictureTree
from fedklpr_flwr.data.benchmarks.spoken_names import days_in
from fedklpr_flwr.data.person_image import PersonImage, ReidDataset

# Fewer persons may each have one camera by chance, and fewer cameras one picture.
_TOO_MANY_PAIRS = 3
_TOO_MANY_CAMERAS = 8
_LISTED = 8


def note_own_names(tree: PictureTree, dataset: ReidDataset) -> None:
    """Note what cannot be right of the persons and cameras of a user's own pictures.

    Noted as problems are persons who have cameras of their own, and cameras that took a picture
    each; as a doubt, queries by cameras that the gallery does not have.

    Args:
        tree: The folder; what is found is noted there.
        dataset: What was read of it.
    """
    trained = {one.camera_id for one in dataset.train}
    tested = [one for one in (*dataset.query, *dataset.gallery) if one.camera_id not in trained]
    for part, images in (("train", dataset.train), ("query and gallery", tested)):
        known = [one for one in images if one.person_id > 0]
        _note_moments(tree, dataset, part, known)
        _note_pairs(tree, dataset, part, known)
    if strange := strange_queries(dataset):
        tree.doubt(strange)


def strange_queries(dataset: ReidDataset) -> str:
    """What to say of queries by cameras that the gallery does not have; empty where all are known.

    A gallery by one camera alone is searched for what others saw, and cameras that train has beside
    the gallery's are others than those.

    Args:
        dataset: A user's own pictures.
    """
    trained, asked, searched = (
        {one.camera_id for one in part} for part in (dataset.train, dataset.query, dataset.gallery)
    )
    lost = asked - searched - (trained if trained & searched else set())
    if len(searched) < 2 or not lost:
        return ""
    names, there = (_called(dataset, cameras) for cameras in (lost, searched))
    return (
        f"expected queries by cameras of the gallery ({there}), got queries by {names}: is that "
        "another name for one of them? Then call it the same: as it is, pictures by a query's own "
        "camera count, and accuracies flatter. If they are other cameras, all is well"
    )


def without_days(tree: PictureTree, rows: Sequence[PictureRow]) -> list[PictureRow]:
    """Leave out pictures whose person is a day, and note each such day.

    Args:
        tree: The folder.
        rows: Its pictures, with persons as they are written.

    Returns:
        The others.
    """
    days = days_in({row.person for row in rows})
    for part, day in sorted({(row.part, row.person) for row in rows if row.person in days}):
        folder = tree.root / part / day
        tree.note(
            folder if folder.is_dir() else tree.root,
            f"expected a person in {part}, got the day {day}: if its pictures are of nobody known, "
            "have them in a set without persons; if somebody is called so, call them otherwise",
        )
    return [row for row in rows if row.person not in days]


def _note_moments(
    tree: PictureTree, dataset: ReidDataset, part: str, images: Sequence[PersonImage]
) -> None:
    """Note cameras that took a picture each: their names tell moments, or the pictures' numbers."""
    cameras = {one.camera_id for one in images}
    if len(cameras) >= _TOO_MANY_CAMERAS and 2 * len(cameras) > len(images):
        some = _called(dataset, set(sorted(cameras)[:3]))
        tree.note(
            tree.root,
            f"expected cameras with several pictures each, got {len(cameras)} cameras for "
            f"{len(images)} pictures in {part} ({some}, ...): are its names others than "
            "CAMERA_anything.jpg, or is the camera's column another?",
        )


def _note_pairs(
    tree: PictureTree, dataset: ReidDataset, part: str, images: Sequence[PersonImage]
) -> None:
    """Note persons who have cameras of their own: most cameras are seen by one person alone."""
    seen: dict[int, set[int]] = {}
    cameras_of: dict[int, set[int]] = {}
    for one in images:
        seen.setdefault(one.camera_id, set()).add(one.person_id)
        cameras_of.setdefault(one.person_id, set()).add(one.camera_id)
    own = [
        person
        for persons in seen.values()
        for person in persons
        # Where nothing is trained on, several cameras of a person's own can be searched.
        if len(persons) == 1 and (part == "train" or len(cameras_of[person]) == 1)
    ]
    if min(len(cameras_of), len(seen)) >= _TOO_MANY_PAIRS and 4 * len(own) >= 3 * len(seen):
        some = _called(dataset, set(sorted(seen)[:3]))
        tree.note(
            tree.root,
            f"expected persons seen by several cameras, got {len(set(own))} persons with a camera "
            f"of their own each in {part} ({some}, ...): are its folders cameras, its names others "
            "than CAMERA_anything.jpg, or columns of a table mixed up?",
        )


def _called(dataset: ReidDataset, cameras: set[int]) -> str:
    """Cameras as the user calls them, or by a picture of theirs where they have numbers alone."""
    listed = sorted(cameras)[:_LISTED]
    if dataset.camera_names:
        return ", ".join(dataset.camera_names[camera] for camera in listed)
    images = [one for part in dataset.lists.values() for one in part]
    example = {one.camera_id: one.path.name for one in reversed(images)}
    return ", ".join(f"{camera} ({example[camera]})" for camera in listed)
