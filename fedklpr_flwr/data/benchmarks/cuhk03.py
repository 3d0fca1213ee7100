"""CUHK03: 1,467 students, five pairs of campus cameras; boxes by hand (labeled) or by a detector.

Papers: W. Li, R. Zhao, T. Xiao, X. Wang, "DeepReID: Deep filter pairing neural network for person
    re-identification", CVPR 2014; Z. Zhong, L. Zheng, D. Cao, S. Li, "Re-ranking person
    re-identification with k-reciprocal encoding", CVPR 2017 (CUHK03-NP, the 767/700 protocol).
Had from: www.ee.cuhk.edu.hk/~xgwang/CUHK_identification.html (cuhk-03.mat, on request);
    github.com/zhunzhong07/person-re-ranking (the protocol's .mat files, and CUHK03-NP).
Terms: research only; not to be passed on.
Holds: detected 7,365 training pictures of 767 persons, 1,400 queries and 5,332 gallery pictures of
    700 others; labeled 7,368, 1,400 and 5,328; every person in the two cameras of one pair.
Layouts, each with detected read first where both kinds are there (point at labeled for the other):
    1. CUHK03-NP: detected|labeled/{bounding_box_train,query,bounding_box_test}/PPPP_cC_N.png.
    2. The official files: cuhk-03.mat and cuhk03_new_protocol_config_detected|labeled.mat; see
       `read_release`.
    3. Plain folders detected|labeled/{train,val}/PPPP_II.jpg: 00 to 04 are camera A, 05 to 09
       camera B; val's numbers restart at 0 but mean other people, who are tested: one picture a
       camera, chosen by the seed, is a query.
Split: official, but for the plain folders (743 and 100 persons of the first camera pair, a user's
    own split).
Person ids: as in the names; plain folders: the number plus 1, and 10,000 more in val. Cameras: the
    name's number less 1.
"""

import re
from pathlib import Path

from fedklpr_flwr.data.benchmarks.bounding_boxes import BOX_FOLDERS, read_bounding_boxes
from fedklpr_flwr.data.benchmarks.card import Counts, DatasetCard, SplitCounts
from fedklpr_flwr.data.benchmarks.cuhk03_release import find_release, read_release
from fedklpr_flwr.data.benchmarks.picture_tree import PictureTree
from fedklpr_flwr.data.benchmarks.seeded_split import one_query_per_camera
from fedklpr_flwr.data.person_image import PersonImage, ReidDataset

CARD = DatasetCard(
    title="CUHK03-NP",
    layout="folders detected or labeled with bounding_box_train, query and bounding_box_test (or "
    "train and val), or cuhk-03.mat and cuhk03_new_protocol_config_detected.mat",
    words=__doc__ or "",
    expected=(
        SplitCounts(
            total=Counts(14097, 1467, 2),
            train=Counts(7365, 767, 2),
            query=Counts(1400, 700, 2),
            gallery=Counts(5332, 700, 2),
        ),
        SplitCounts(
            total=Counts(14096, 1467, 2),
            train=Counts(7368, 767, 2),
            query=Counts(1400, 700, 2),
            gallery=Counts(5328, 700, 2),
        ),
    ),
)

_NAME = re.compile(r"(-1|\d{4})_c([12])_\d+\.\w+")
_PLAIN = re.compile(r"(\d{4})_(\d{2})\.\w+")
_CAMERA_B = 5
_VAL_PERSONS = 10_000


def read(tree: PictureTree, seed: int) -> ReidDataset:
    """Read CUHK03 from any of its layouts.

    Args:
        tree: The folder with detected and labeled, one of the two, or the one above them.
        seed: Chooses the queries of the plain folders; else not used.

    Returns:
        The set with the 767/700 protocol, or the plain folders' own split.
    """
    for base in (tree.root, *tree.folders(tree.root)):
        for folder in (base / "detected", base / "labeled", base):
            if all((folder / part).is_dir() for part in BOX_FOLDERS):
                return read_bounding_boxes(
                    tree, folder, name="cuhk03", pattern=_NAME, example="0003_c1_21.png"
                )
            if (folder / "train").is_dir() and (folder / "val").is_dir():
                return _read_plain(tree, folder, seed)
    if config := find_release(tree.root):
        return read_release(tree, config)
    raise tree.layout_error(CARD.layout)


def _read_plain(tree: PictureTree, folder: Path, seed: int) -> ReidDataset:
    """Read train and val of one kind."""
    train = _plain_pictures(tree, folder / "train", 1)
    val = _plain_pictures(tree, folder / "val", _VAL_PERSONS + 1)
    query, gallery = one_query_per_camera(val, seed)
    note = f"plain folders: queries of the val persons chosen by seed {seed}"
    return ReidDataset("cuhk03", tuple(train), query, gallery, notes=(note,), split_seed=seed)


def _plain_pictures(tree: PictureTree, folder: Path, first_person: int) -> list[PersonImage]:
    """Read pictures called PPPP_II: person from 0, picture 00 to 09."""
    return [
        PersonImage(path, int(name[1]) + first_person, int(int(name[2]) >= _CAMERA_B))
        for path, name in tree.named_pictures(folder, _PLAIN, "0000_00.jpg")
        if _is_picture_number(tree, path, int(name[2]))
    ]


def _is_picture_number(tree: PictureTree, path: Path, number: int) -> bool:
    if number < 2 * _CAMERA_B:
        return True
    tree.note(path, f"expected a picture number 00 to 09, got {number}")
    return False
