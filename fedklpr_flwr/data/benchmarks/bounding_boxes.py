"""What Market-1501, DukeMTMC-reID and CUHK03-NP have in common: the bounding_box folders."""

import re
from pathlib import Path

from fedklpr_flwr.data.benchmarks.picture_tree import PictureTree
from fedklpr_flwr.data.benchmarks.seeded_split import separate
from fedklpr_flwr.data.person_image import PersonImage, ReidDataset
from fedklpr_flwr.wording import counted

BOX_FOLDERS = ("bounding_box_train", "query", "bounding_box_test")

ANY_NAMES = (
    " (the benchmark's persons have four digits, its cameras one, and no others; the reader "
    "pytorch takes any)"
)
"""Ends the example of a right name: who has pictures of their own has other numbers."""


def read_bounding_boxes(
    tree: PictureTree, folder: Path, *, name: str, pattern: re.Pattern[str], example: str
) -> ReidDataset:
    """Read bounding_box_train, query and bounding_box_test.

    Args:
        tree: The folder that a user pointed at.
        folder: The folder that holds the three.
        name: The set's name.
        pattern: File names, with person and 1-based camera as the first two groups.
        example: A right file name.

    Returns:
        The set without junk; persons as in the names.
    """
    train, query, gallery = (
        [
            PersonImage(path, int(match[1]), int(match[2]) - 1)
            for path, match in tree.named_pictures(folder / part, pattern, example)
        ]
        for part in BOX_FOLDERS
    )
    return without_junk(name, train, query, gallery)


def without_junk(
    name: str, train: list[PersonImage], query: list[PersonImage], gallery: list[PersonImage]
) -> ReidDataset:
    """Drop junk (-1) everywhere, and distractors (0) everywhere but in the gallery.

    Junk is neither right nor wrong (a bad detection of somebody), so it is not ranked at all; a
    distractor is nobody who is searched for, and makes the search harder.

    Args:
        name: The set's name.
        train: Training pictures.
        query: Query pictures.
        gallery: Gallery pictures.

    Returns:
        The set, with a note on what was dropped.
    """
    trained, train_dropped = separate(train, lambda image: image.person_id > 0)
    asked, query_dropped = separate(query, lambda image: image.person_id > 0)
    searched, junk = separate(gallery, lambda image: image.person_id >= 0)
    notes = []
    if junk:
        notes.append(f"{counted(len(junk), 'junk picture')} (-1) dropped from the gallery")
    if train_dropped or query_dropped:
        dropped = len(train_dropped) + len(query_dropped)
        notes.append(
            f"{counted(dropped, 'picture')} of nobody (-1 or 0) dropped from train and query"
        )
    return ReidDataset(name, trained, asked, searched, notes=tuple(notes))
