"""A user's own pictures, laid out and named as a benchmark's: any persons, any number of cameras.

Layouts: pytorch/{train_all or train and val, query, gallery}/PERSON/NAME, as the widespread PyTorch
    baselines and the FedReID benchmark lay a set out; or bounding_box_train, query and
    bounding_box_test with NAME alone.
Names: PERSON_cCAMERA..., PERSON of digits (0013_c7s1_000451_03.jpg, 20113_c12_f0046302.jpg), or
    cam_CAMERA_PERSON_NUMBER.png. -1 is junk (dropped), 0000 a distractor (kept in the gallery).
Split: the folders. Person ids: as in the names (cam_...: plus 1). Cameras: the number less 1
    (cam_...: as it is).
"""

import re

from fedklpr_flwr.data.benchmarks.bounding_boxes import BOX_FOLDERS, read_bounding_boxes
from fedklpr_flwr.data.benchmarks.card import DatasetCard
from fedklpr_flwr.data.benchmarks.fedreid_layout import find_processed, read_processed
from fedklpr_flwr.data.benchmarks.picture_tree import PictureTree
from fedklpr_flwr.data.person_image import ReidDataset

CARD = DatasetCard(
    title="pytorch",
    layout="a folder pytorch with train_all (or train), query and gallery, each "
    "PERSON/0013_c1s1_000451_03.jpg, or bounding_box_train, query and bounding_box_test",
    words=__doc__ or "",
)

_NAME = re.compile(r"(-1|\d+)_c(\d+)(?:s\d+)?[_.].*")


def read(tree: PictureTree, seed: int) -> ReidDataset:
    """Read a set that is laid out and named as a benchmark's.

    Args:
        tree: The folder that holds pytorch, that one, or the one with its parts.
        seed: Not used; the folders are the split.

    Returns:
        The set.
    """
    folder = find_processed(tree)
    if folder is None and (tree.root / "gallery").is_dir() and (tree.root / "query").is_dir():
        folder = tree.root
    if folder is not None:
        return read_processed(tree, folder, "pytorch")
    return read_bounding_boxes(
        tree,
        tree.need(CARD.layout, *BOX_FOLDERS),
        name="pytorch",
        pattern=_NAME,
        example="0013_c7s1_000451_03.jpg",
    )
