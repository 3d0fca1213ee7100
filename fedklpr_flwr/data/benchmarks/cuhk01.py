"""CUHK01: 971 students on a campus, two pictures of each from each of two cameras.

Paper: W. Li, R. Zhao, X. Wang, "Human reidentification with transferred metric learning",
    ACCV 2012.
Had from: www.ee.cuhk.edu.hk/~xgwang/CUHK_identification.html (on request).
Terms: research only; not to be passed on.
Holds: 3,884 pictures (60 x 160) of 971 persons.
Names: campus/PPPPIII.png: person, then 001 and 002 for camera A, 003 and 004 for camera B.
Split: 485 persons train, 486 test, chosen by the seed. Query camera A, gallery camera B, as in the
    FedReID benchmark.
Person ids: as in the names. Cameras: A = 0, B = 1.
"""

import re

from fedklpr_flwr.data.benchmarks.card import Counts, DatasetCard, SplitCounts
from fedklpr_flwr.data.benchmarks.picture_tree import PictureTree
from fedklpr_flwr.data.benchmarks.seeded_split import separate, training_persons
from fedklpr_flwr.data.person_image import PersonImage, ReidDataset

CARD = DatasetCard(
    title="CUHK01",
    layout="a folder campus with pictures called PPPPIII.png (person, picture 001 to 004)",
    words=__doc__ or "",
    expected=(
        SplitCounts(
            total=Counts(3884, 971, 2),
            train=Counts(1940, 485, 2),
            query=Counts(972, 486, 1),
            gallery=Counts(972, 486, 1),
        ),
    ),
)

_NAME = re.compile(r"(\d{4})00([1-4])\.\w+")


def read(tree: PictureTree, seed: int) -> ReidDataset:
    """Read CUHK01.

    Args:
        tree: The folder campus, or one of the two above it.
        seed: Chooses the training persons.

    Returns:
        The set, its split made from the seed.
    """
    base = tree.find("campus")
    folder = tree.root if base is None else base / "campus"
    images = [
        PersonImage(path, int(name[1]), (int(name[2]) - 1) // 2)
        for path, name in tree.named_pictures(folder, _NAME, "0001001.png")
    ]
    chosen = training_persons((image.person_id for image in images), seed)
    train, test = separate(images, lambda image: image.person_id in chosen)
    query, gallery = separate(test, lambda image: image.camera_id == 0)
    note = f"no official split: {len(chosen)} training persons chosen by seed {seed}"
    return ReidDataset("cuhk01", train, query, gallery, notes=(note,), split_seed=seed)
