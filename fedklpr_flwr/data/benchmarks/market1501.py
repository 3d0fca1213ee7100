"""Market-1501: 1,501 persons, 6 cameras before a supermarket, boxes from a detector.

Paper: L. Zheng, L. Shen, L. Tian, S. Wang, J. Wang, Q. Tian, "Scalable person re-identification: a
    benchmark", ICCV 2015.
Had from: zheng-lab.cecs.anu.edu.au/Project/project_reid.html (Market-1501-v15.09.15.zip).
Terms: research only; not to be passed on.
Holds: 12,936 training pictures of 751 persons; 3,368 queries of 750 others; 19,732 gallery files,
    of which 13,115 of those 750, 2,798 distractors and 3,819 junk; 64 x 128; 6 cameras.
Names: bounding_box_train, query, bounding_box_test / PPPP_cCsS_FFFFFF_BB.jpg: person, camera,
    sequence, frame, box. -1 is junk (dropped: the benchmark ranks it neither right nor wrong),
    0000 a distractor (kept in the gallery, never a query, never trained on).
Split: official. The FedReID benchmark counts all 19,732 files as gallery; 15,913 can be used.
Person ids: as in the names. Cameras: the name's number less 1.
"""

import re

from fedklpr_flwr.data.benchmarks.bounding_boxes import ANY_NAMES, BOX_FOLDERS, read_bounding_boxes
from fedklpr_flwr.data.benchmarks.card import Counts, DatasetCard, SplitCounts
from fedklpr_flwr.data.benchmarks.picture_tree import PictureTree
from fedklpr_flwr.data.person_image import ReidDataset

CARD = DatasetCard(
    title="Market-1501",
    layout="folders bounding_box_train, query and bounding_box_test (0002_c1s1_000451_03.jpg)",
    words=__doc__ or "",
    expected=(
        SplitCounts(
            total=Counts(32217, 1501, 6),
            train=Counts(12936, 751, 6),
            query=Counts(3368, 750, 6),
            gallery=Counts(15913, 750, 6),
        ),
    ),
)

# The official archive has two dozen names that end in .jpg.jpg.
_NAME = re.compile(r"(-1|\d{4})_c([1-6])s\d_\d+_\d+(?:\.\w+){1,2}")


def read(tree: PictureTree, seed: int) -> ReidDataset:
    """Read Market-1501.

    Args:
        tree: The folder with the three bounding-box folders, or the one above it.
        seed: Not used; the split is official.

    Returns:
        The set with its official split.
    """
    folder = tree.need(CARD.layout, *BOX_FOLDERS)
    return read_bounding_boxes(
        tree,
        folder,
        name="market1501",
        pattern=_NAME,
        example="0002_c1s1_000451_03.jpg" + ANY_NAMES,
    )
