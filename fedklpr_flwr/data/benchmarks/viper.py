"""VIPeR (Viewpoint Invariant Pedestrian Recognition): 632 persons, two pictures of each.

Paper: D. Gray, S. Brennan, H. Tao, "Evaluating appearance models for recognition, reacquisition,
    and tracking", PETS 2007.
Had from: vision.soe.ucsc.edu/node/178 (VIPeR.v1.0.zip).
Terms: free for research; its README asks for the citation.
Holds: 1,264 pictures (48 x 128) of 632 persons, one from each of 2 cameras, strongly different in
    viewpoint and light.
Names: cam_a/NNN_ANGLE.bmp, cam_b/NNN_ANGLE.bmp; the numbers begin at 0 and have gaps.
Split: 316 persons train, 316 test, chosen by the seed; the usual protocol averages ten splits:
    seeds 0 to 9. Query camera A, gallery camera B, single-shot.
Person ids: the number in the name plus 1. Cameras: A = 0, B = 1.
"""

import re

from fedklpr_flwr.data.benchmarks.card import Counts, DatasetCard, SplitCounts
from fedklpr_flwr.data.benchmarks.picture_tree import PictureTree
from fedklpr_flwr.data.benchmarks.two_cameras import read_two_cameras
from fedklpr_flwr.data.person_image import ReidDataset

CARD = DatasetCard(
    title="VIPeR",
    layout="folders cam_a and cam_b with pictures called NNN_ANGLE.bmp",
    words=__doc__ or "",
    expected=(
        SplitCounts(
            total=Counts(1264, 632, 2),
            train=Counts(632, 316, 2),
            query=Counts(316, 316, 1),
            gallery=Counts(316, 316, 1),
        ),
    ),
    splits=10,
)

_NAME = re.compile(r"(\d{3,4})_\d+\.\w+")


def read(tree: PictureTree, seed: int) -> ReidDataset:
    """Read VIPeR.

    Args:
        tree: The folder with cam_a and cam_b, or the one above it.
        seed: Chooses the training persons; 0 to 9 for the usual ten splits.

    Returns:
        The set, single-shot.
    """
    return read_two_cameras(
        tree, seed, name="viper", layout=CARD.layout, pattern=_NAME, example="000_45.bmp"
    )
