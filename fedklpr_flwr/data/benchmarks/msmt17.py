"""MSMT17: 4,101 persons, 15 cameras in- and outdoors, four days of a month.

Paper: L. Wei, S. Zhang, W. Gao, Q. Tian, "Person transfer GAN to bridge domain gap for person
    re-identification", CVPR 2018.
Had from: www.pkuvmc.com/dataset.html (on request); V1, and V2 with faces blurred.
Terms: research only; not to be passed on.
Holds: 32,621 training pictures of 1,041 persons (30,248 in list_train, 2,373 in list_val); 11,659
    queries and 82,161 gallery pictures of 3,060 others; 15 cameras.
Names: train and test (V2: mask_train_v2, mask_test_v2) / PPPP/PPPP_III_CC_....jpg: person, picture,
    camera; the lists list_train.txt, list_val.txt, list_query.txt, list_gallery.txt say what is
    where, and who it is. Numbers begin at 0 in train and again in test, and mean other people.
Split: official, list_val trained on.
Person ids: the list's number plus 1; plus 10,001 in query and gallery. Cameras: the name's number
    less 1.
"""

import re
from pathlib import Path

from fedklpr_flwr.data.benchmarks.card import Counts, DatasetCard, SplitCounts
from fedklpr_flwr.data.benchmarks.picture_tree import PictureTree
from fedklpr_flwr.data.person_image import PersonImage, ReidDataset
from fedklpr_flwr.errors import DataError

CARD = DatasetCard(
    title="MSMT17",
    layout="folders train and test (or mask_train_v2 and mask_test_v2) and list_train.txt, "
    "list_query.txt, list_gallery.txt beside them",
    words=__doc__ or "",
    expected=(
        SplitCounts(
            total=Counts(126441, 4101, 15),
            train=Counts(32621, 1041, 15),
            query=Counts(11659, 3060, 15),
            gallery=Counts(82161, 3060, 15),
        ),
    ),
)

TEST_PERSONS = 10_000

_NAME = re.compile(r"\d{4}_\d{3}_(0[1-9]|1[0-5])_\w+\.\w+")
_LINE = re.compile(r"(\S.*\S)\s+(\d+)")


def read(tree: PictureTree, seed: int) -> ReidDataset:
    """Read MSMT17, version 1 or 2.

    Args:
        tree: The folder with the picture folders and the lists, or the one above it.
        seed: Not used; the split is official.

    Returns:
        The set with its official split.
    """
    if base := tree.find("mask_train_v2", "mask_test_v2"):
        train_folder, test_folder = base / "mask_train_v2", base / "mask_test_v2"
    else:
        base = tree.need(CARD.layout, "train", "test")
        train_folder, test_folder = base / "train", base / "test"
    train = _listed(tree, base / "list_train.txt", train_folder, 1)
    if (base / "list_val.txt").is_file():
        train += _listed(tree, base / "list_val.txt", train_folder, 1)
    query = _listed(tree, base / "list_query.txt", test_folder, TEST_PERSONS + 1)
    gallery = _listed(tree, base / "list_gallery.txt", test_folder, TEST_PERSONS + 1)
    return ReidDataset("msmt17", _by_name(train), _by_name(query), _by_name(gallery))


def _listed(tree: PictureTree, file: Path, folder: Path, first_person: int) -> list[PersonImage]:
    """Read a list: a picture's path in its folder and its person's number on each line."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: expected MSMT17's list, got: {error}; unpack it again") from error
    images = []
    for number, line in enumerate(filter(str.strip, lines), 1):
        match = _LINE.fullmatch(line.strip())
        if match is None:
            tree.note(file, f"line {number}: expected a path and a person's number, got {line!r}")
            continue
        path = folder / match[1]
        if tree.listed_picture(path):
            for _, name in tree.matches([path], _NAME, "0000_000_01_0303morning_0008_0.jpg"):
                images.append(PersonImage(path, int(match[2]) + first_person, int(name[1]) - 1))
    return images


def _by_name(images: list[PersonImage]) -> tuple[PersonImage, ...]:
    return tuple(sorted(images, key=lambda image: str(image.path)))
