"""PRID450S: 450 persons, a picture of each from each of two cameras.

Paper: P. M. Roth, M. Hirzer, M. Koestinger, C. Beleznai, H. Bischof, "Mahalanobis distance learning
    for person re-identification", in Person Re-Identification, Springer 2014.
Had from: Graz University of Technology, Institute of Computer Graphics and Vision.
Terms: research only.
Holds: 900 pictures of 450 persons from 2 cameras.
Names: cam_a/img_NNN.png, cam_b/img_NNN.png.
Split: 225 persons train, 225 test, chosen by the seed. Query camera A, gallery camera B,
    single-shot.
Person ids: the number in the name plus 1. Cameras: A = 0, B = 1.
"""

import re

from fedklpr_flwr.data.benchmarks.card import Counts, DatasetCard, SplitCounts
from fedklpr_flwr.data.benchmarks.picture_tree import PictureTree
from fedklpr_flwr.data.benchmarks.two_cameras import read_two_cameras
from fedklpr_flwr.data.person_image import ReidDataset

CARD = DatasetCard(
    title="PRID450S",
    layout="folders cam_a and cam_b with pictures called img_NNN.png",
    words=__doc__ or "",
    expected=(
        SplitCounts(
            total=Counts(900, 450, 2),
            train=Counts(450, 225, 2),
            query=Counts(225, 225, 1),
            gallery=Counts(225, 225, 1),
        ),
    ),
)

_NAME = re.compile(r"img_(\d+)\.\w+")


def read(tree: PictureTree, seed: int) -> ReidDataset:
    """Read PRID450S.

    Args:
        tree: The folder with cam_a and cam_b, or the one above it.
        seed: Chooses the training persons.

    Returns:
        The set, single-shot.
    """
    return read_two_cameras(
        tree, seed, name="prid450s", layout=CARD.layout, pattern=_NAME, example="img_001.png"
    )
