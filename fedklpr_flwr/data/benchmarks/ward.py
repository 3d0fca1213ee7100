"""WARD (Wide Area Re-identification Dataset): 70 persons, 3 cameras, outdoors, short tracks.

Paper: N. Martinel, C. Micheloni, "Re-identify people in wide area camera network", CVPR Workshops
    2012.
Had from: github.com/iN1k1/CVPR2012, the author's own repository.
Terms: BSD-3-Clause.
Holds: 4,786 pictures of 70 persons from 3 cameras, 16 on average of a person in a camera.
Names: PPPPCCCCFFFF.jpg: person, camera, frame, four digits each.
Split: none is official. Made from the seed: half of the persons train; of the others one picture a
    camera is a query, the rest the gallery. The literature compares pairs of cameras instead, so
    its figures are not comparable.
Person ids: as in the names. Cameras: the name's number less 1.
"""

import re

from fedklpr_flwr.data.benchmarks.card import Counts, DatasetCard, SplitCounts
from fedklpr_flwr.data.benchmarks.picture_tree import PictureTree
from fedklpr_flwr.data.benchmarks.seeded_split import (
    one_query_per_camera,
    separate,
    training_persons,
)
from fedklpr_flwr.data.person_image import PersonImage, ReidDataset

CARD = DatasetCard(
    title="WARD",
    layout="a folder of pictures called PPPPCCCCFFFF.jpg (person, camera, frame)",
    words=__doc__ or "",
    expected=(
        SplitCounts(
            total=Counts(4786, 70, 3),
            train=Counts(None, 35, 3),
            query=Counts(105, 35, 3),
            gallery=Counts(None, 35, 3),
        ),
    ),
)

_NAME = re.compile(r"(\d{4})(000[1-3])(\d{4})\.\w+")


def read(tree: PictureTree, seed: int) -> ReidDataset:
    """Read WARD.

    Args:
        tree: The folder with the pictures, or the one above it.
        seed: Chooses training persons and queries.

    Returns:
        The set, its split made from the seed.
    """
    folder = next(
        (path for path in [tree.root, *tree.folders(tree.root)] if tree.pictures(path)), tree.root
    )
    images = [
        PersonImage(path, int(name[1]), int(name[2]) - 1)
        for path, name in tree.named_pictures(folder, _NAME, "000100020003.jpg")
    ]
    chosen = training_persons((image.person_id for image in images), seed)
    train, test = separate(images, lambda image: image.person_id in chosen)
    query, gallery = one_query_per_camera(test, seed)
    note = f"no official split: {len(chosen)} training persons chosen by seed {seed}"
    return ReidDataset("ward", train, query, gallery, notes=(note,), split_seed=seed)
