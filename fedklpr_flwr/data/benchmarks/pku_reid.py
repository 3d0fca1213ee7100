"""PKU-Reid: 114 persons, two cameras, eight orientations of each person in each.

Paper: L. Ma, H. Liu, L. Hu, C. Wang, Q. Sun, "Orientation driven bag of appearances for person
    re-identification", arXiv 1605.02464, 2016.
Had from: github.com/charliememory/PKU-Reid-Dataset.
Terms: CC BY-NC-SA 4.0.
Holds: 1,824 pictures (48 x 128) of 114 persons, 16 of each.
Names: PPP/CC_O.jpg: a folder for each person, camera 01 or 02, orientation 1 to 8.
Split: none is official. Made from the seed: half of the persons train; of the others one picture a
    camera is a query, the rest the gallery.
Person ids: as the folders are called. Cameras: the name's number less 1.
"""

import re
from pathlib import Path

from fedklpr_flwr.data.benchmarks.card import Counts, DatasetCard, SplitCounts
from fedklpr_flwr.data.benchmarks.picture_tree import PictureTree
from fedklpr_flwr.data.benchmarks.seeded_split import (
    one_query_per_camera,
    separate,
    training_persons,
)
from fedklpr_flwr.data.person_image import PersonImage, ReidDataset

CARD = DatasetCard(
    title="PKU-Reid",
    layout="a folder for each person, called 001 and so on, with pictures called 01_1.jpg",
    words=__doc__ or "",
    expected=(
        SplitCounts(
            total=Counts(1824, 114, 2),
            train=Counts(912, 57, 2),
            query=Counts(114, 57, 2),
            gallery=Counts(798, 57, 2),
        ),
    ),
)

_NAME = re.compile(r"0([12])_[1-8]\.\w+")


def read(tree: PictureTree, seed: int) -> ReidDataset:
    """Read PKU-Reid.

    Args:
        tree: The folder with a folder for each person.
        seed: Chooses training persons and queries.

    Returns:
        The set, its split made from the seed.
    """
    folders = tree.folders(tree.root)
    for path in (*(one for one in folders if not _is_person(one)), *tree.pictures(tree.root)):
        tree.pass_over(path)
    images = [
        PersonImage(path, int(person.name), int(name[1]) - 1)
        for person in filter(_is_person, folders)
        for path, name in tree.named_pictures(person, _NAME, "01_1.jpg")
    ]
    chosen = training_persons((image.person_id for image in images), seed)
    train, test = separate(images, lambda image: image.person_id in chosen)
    query, gallery = one_query_per_camera(test, seed)
    note = f"no official split: {len(chosen)} training persons chosen by seed {seed}"
    return ReidDataset("pku_reid", train, query, gallery, notes=(note,), split_seed=seed)


def _is_person(folder: Path) -> bool:
    return folder.name.isdecimal()
