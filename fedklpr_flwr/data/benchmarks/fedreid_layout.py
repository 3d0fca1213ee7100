"""The layout into which the FedReID benchmark processes a set: pytorch/{train_all,query,gallery}.

Source: W. Zhuang et al., "Performance optimization for federated person re-identification via
    benchmark analysis", ACM MM 2020; its processed sets are given on request by e-mail.
"""

import re
from dataclasses import replace
from pathlib import Path

from fedklpr_flwr.data.benchmarks.bounding_boxes import without_junk
from fedklpr_flwr.data.benchmarks.picture_tree import PictureTree
from fedklpr_flwr.data.person_image import PersonImage, ReidDataset

# The big sets keep their names; the small ones are renamed, with persons and cameras from 0.
_BIG = re.compile(r"(-1|\d+)_c(\d+)(?:s\d+)?[_.].*")
_SMALL = re.compile(r"cam_(\d)_(\d{5})_\d{5}\.\w+")
_EXAMPLE = "0002_c1s1_000451_03.jpg or cam_0_00012_00003.png"


def find_processed(tree: PictureTree) -> Path | None:
    """Find the processed layout of a set.

    Args:
        tree: The folder that holds a folder called pytorch, or that one.

    Returns:
        The folder with train (or train_all), query and gallery; None if there is none.
    """
    folder = tree.root if tree.root.name == "pytorch" else tree.root / "pytorch"
    trained = (folder / "train_all").is_dir() or (folder / "train").is_dir()
    return folder if trained and (folder / "query").is_dir() else None


def read_processed(tree: PictureTree, folder: Path, name: str) -> ReidDataset:
    """Read a set in the processed layout, with the benchmark's own split.

    Args:
        tree: The folder that a user pointed at.
        folder: The one with train (or train_all), query and gallery; each holds a folder for each
            person.
        name: The set's name.

    Returns:
        The set. train_all is trained on if it is there, else train and val together, which are the
        same. Persons as in the names; in renamed sets the number plus 1.
    """
    whole = (folder / "train_all").is_dir()
    parts = ("train_all",) if whole else ("train", "val")
    train = [image for part in parts for image in _images(tree, folder / part)]
    query, gallery = _images(tree, folder / "query"), _images(tree, folder / "gallery")
    dataset = without_junk(name, train, query, gallery)
    persons = {image.person_id for image in dataset.gallery}
    return replace(
        dataset,
        single_shot=len(persons) == len(dataset.gallery) > 0,
        notes=(*dataset.notes, "the FedReID benchmark's split"),
    )


def _images(tree: PictureTree, folder: Path) -> list[PersonImage]:
    """Read a folder of persons' folders; nothing if it is not there."""
    images = []
    for person in tree.folders(folder) if folder.is_dir() else ():
        for path in tree.pictures(person):
            if small := _SMALL.fullmatch(path.name):
                images.append(PersonImage(path, int(small[2]) + 1, int(small[1])))
            elif big := _BIG.fullmatch(path.name):
                images.append(PersonImage(path, int(big[1]), int(big[2]) - 1))
            else:
                tree.note(path, f"expected a name such as {_EXAMPLE}, got {path.name}")
    return images
