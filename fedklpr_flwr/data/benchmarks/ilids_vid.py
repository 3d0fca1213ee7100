"""iLIDS-VID: 300 travellers in an airport, a track of each from each of two cameras; and i-LIDS.

Papers: T. Wang, S. Gong, X. Zhu, S. Wang, "Person re-identification by video ranking", ECCV 2014
    (iLIDS-VID); W.-S. Zheng, S. Gong, T. Xiang, "Associating groups of people", BMVC 2009 (i-LIDS).
Had from: www.eecs.qmul.ac.uk/~xiatian/downloads_qmul_iLIDS-VID_ReID_dataset.html;
    www.eecs.qmul.ac.uk/~jason/data/i-LIDS_Pedestrian.tgz.
Terms: research only; the footage belongs to the UK Home Office.
Holds: iLIDS-VID 300 persons, 600 tracks of 23 to 192 frames; i-LIDS 476 pictures of 119 persons.
    The FedReID benchmark prints "iLIDS-VID" above counts (59 and 60 persons, 248 + 98 + 130
    pictures) that are those of i-LIDS, so both are read here.
Names: i-LIDS-VID/images/cam1/personNNN/cam1_personNNN.png and
    i-LIDS-VID/sequences/cam1/personNNN/*.png; i-LIDS: Persons/PPPPIII.jpg (person, picture).
Split: iLIDS-VID: train_test_splits_ilidsvid.mat if it is there (its row: seed mod 10; the first
    half is tested), else half of the persons by the seed. Training takes at most ten frames of a
    track; query camera 1, gallery camera 2, one picture of each person.
    i-LIDS: its names tell no camera; as in the FedReID benchmark, after Xiao et al. (CVPR 2016), of
    each person's pictures a half, rounded down, is camera 0, the others camera 1, by the seed; 59
    persons train, 60 test; query camera 0, gallery camera 1.
Person ids: as in the names.
"""

import re
from collections import defaultdict
from pathlib import Path

from fedklpr_flwr.data.benchmarks.card import Counts, DatasetCard, SplitCounts
from fedklpr_flwr.data.benchmarks.matlab_file import read_matlab
from fedklpr_flwr.data.benchmarks.picture_tree import PictureTree
from fedklpr_flwr.data.benchmarks.seeded_split import seeded_order, separate, training_persons
from fedklpr_flwr.data.benchmarks.tracks import evenly_apart, read_tracks
from fedklpr_flwr.data.person_image import PersonImage, ReidDataset

_VIDEO_TEST = Counts(150, 150, 1)

CARD = DatasetCard(
    title="iLIDS-VID",
    layout="folders images or sequences, each with cam1 and cam2, or (i-LIDS) a folder Persons",
    words=__doc__ or "",
    expected=(
        SplitCounts(Counts(476, 119, 2), Counts(248, 59, 2), Counts(98, 60, 1), Counts(130, 60, 1)),
        SplitCounts(
            Counts(476, 119, 2), Counts(None, 59, 2), Counts(None, 60, 1), Counts(None, 60, 1)
        ),
        SplitCounts(Counts(600, 300, 2), Counts(300, 150, 2), _VIDEO_TEST, _VIDEO_TEST),
        SplitCounts(Counts(None, 300, 2), Counts(None, 150, 2), _VIDEO_TEST, _VIDEO_TEST),
    ),
)

_TRACK = re.compile(r"(?:cam[12]_)?person(\d{3})")
_STILL = re.compile(r"(\d{4})(\d{3})\.\w+")
_SPLITS = "train_test_splits_ilidsvid.mat"


def read(tree: PictureTree, seed: int) -> ReidDataset:
    """Read iLIDS-VID, or i-LIDS where a folder called Persons is there.

    Args:
        tree: The folder with images and sequences, or with Persons, or the one above it.
        seed: Chooses the training persons (and, for i-LIDS, the cameras).

    Returns:
        The set as two cameras.
    """
    stills = tree.root.parent if tree.root.name == "Persons" else tree.find("Persons")
    if stills is not None:
        return _read_stills(tree, stills / "Persons", seed)
    folder = tree.find("sequences") or tree.need(CARD.layout, "images")
    singles, tracks = _cameras(tree, folder / "images"), _cameras(tree, folder / "sequences")
    shots = tracks or singles
    persons = sorted({person for camera, person in shots})
    chosen = _official_split(folder, persons, seed) or training_persons(persons, seed)
    train = [
        PersonImage(path, person, camera)
        for (camera, person), frames in shots.items()
        if person in chosen
        for path in evenly_apart(frames)
    ]
    both = {person for person in persons if (0, person) in shots and (1, person) in shots}
    query, gallery = (
        tuple(
            PersonImage(singles.get((camera, person), shots[camera, person])[0], person, camera)
            for person in persons
            if (camera, person) in shots and person in tested
        )
        for camera, tested in ((0, both - chosen), (1, set(persons) - chosen))
    )
    notes = [f"{len(chosen)} training persons, seed {seed}"]
    if alone := {person for camera, person in shots if camera == 0} - chosen - both:
        notes.append(f"{len(alone)} test persons left out: camera 2 lacks them")
    return ReidDataset(
        "ilids_vid",
        tuple(train),
        query,
        gallery,
        single_shot=True,
        notes=tuple(notes),
        split_seed=seed,
    )


def _cameras(tree: PictureTree, folder: Path) -> dict[tuple[int, int], list[Path]]:
    """Read cam1 and cam2 of a folder: pictures by (camera, person)."""
    return {
        (camera, person): frames
        for camera, part in enumerate(("cam1", "cam2"))
        for person, frames in read_tracks(tree, folder / part, _TRACK, "person001").items()
    }


def _official_split(folder: Path, persons: list[int], seed: int) -> frozenset[int]:
    """Read the training persons from the official file; none if it is not there or does not fit."""
    for base in (folder, folder.parent):
        for file in (base / _SPLITS, base / "train-test people splits" / _SPLITS):
            if file.is_file():
                order = read_matlab(file, ("ls_set",))["ls_set"][seed % 10]
                if len(order) == len(persons):
                    # Positions, from 1, in the list of persons.
                    return frozenset(persons[int(at) - 1] for at in order[len(order) // 2 :])
    return frozenset()


def _read_stills(tree: PictureTree, folder: Path, seed: int) -> ReidDataset:
    """Read i-LIDS: pictures without a camera, made into two by the seed."""
    names = defaultdict(list)
    for path, match in tree.named_pictures(folder, _STILL, "0001001.jpg"):
        names[int(match[1])].append(path)
    images = []
    for person, paths in names.items():
        first = set(seeded_order((path.name for path in paths), seed)[: len(paths) // 2])
        images += [PersonImage(path, person, 0 if path.name in first else 1) for path in paths]
    chosen = training_persons(names, seed)
    train, test = separate(images, lambda image: image.person_id in chosen)
    query, gallery = separate(test, lambda image: image.camera_id == 0)
    note = f"i-LIDS: {len(chosen)} training persons, and two cameras, chosen by seed {seed}"
    return ReidDataset("ilids_vid", train, query, gallery, notes=(note,), split_seed=seed)
