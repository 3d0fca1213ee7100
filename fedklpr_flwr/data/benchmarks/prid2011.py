"""PRID2011: 200 persons in both of two street cameras, and 734 in one of them.

Paper: M. Hirzer, C. Beleznai, P. M. Roth, H. Bischof, "Person re-identification by descriptive and
    discriminative classification", SCIA 2011.
Had from: Graz University of Technology, Institute of Computer Graphics and Vision (prid_2011.zip).
Terms: research only.
Holds: camera A 385 persons, camera B 749; single_shot has one picture of each (1,134 in all),
    multi_shot a track of at least five.
Names: single_shot/cam_a/person_NNNN.png, multi_shot/cam_a/person_NNNN/FFFF.png, and cam_b alike.
    Numbers 1 to 200 are the same person in both cameras; above 200 the same number is a different
    person in each.
Split: as in the FedReID benchmark, which took it from Xiao et al. (CVPR 2016). Of the 200 persons,
    100 are tested (by the seed; the benchmark's choice was not published): query camera A; the
    gallery is camera B with these 100 and the 549 that B alone saw. The other 100 and the 185 that
    A alone saw train. Training takes at most ten frames of a track, evenly apart (the benchmark
    draws ten: 3,744 pictures in all); query and gallery take the single-shot picture.
Person ids: as in the names; 10,000 more for the persons that camera B alone saw.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from fedklpr_flwr.data.benchmarks.card import Counts, DatasetCard, SplitCounts
from fedklpr_flwr.data.benchmarks.picture_tree import PictureTree
from fedklpr_flwr.data.benchmarks.seeded_split import training_persons
from fedklpr_flwr.data.benchmarks.tracks import evenly_apart, read_tracks
from fedklpr_flwr.data.person_image import PersonImage, ReidDataset
from fedklpr_flwr.errors import DataError

_QUERY, _GALLERY = Counts(100, 100, 1), Counts(649, 649, 1)

CARD = DatasetCard(
    title="PRID2011",
    layout="folders single_shot and multi_shot (or one of them), each with cam_a and cam_b",
    words=__doc__ or "",
    expected=(
        SplitCounts(Counts(4493, 934, 2), Counts(3744, 285, 2), _QUERY, _GALLERY),
        SplitCounts(Counts(None, 934, 2), Counts(None, 285, 2), _QUERY, _GALLERY),
        SplitCounts(Counts(1134, 934, 2), Counts(385, 285, 2), _QUERY, _GALLERY),
    ),
)

_PERSON = re.compile(r"person_(\d{4})")
_LAST_SHARED = 200
_ONLY_CAMERA_B = 10_000


def read(tree: PictureTree, seed: int) -> ReidDataset:
    """Read PRID2011.

    Args:
        tree: The folder with single_shot and multi_shot, the one above it, or one of the two.
        seed: Chooses the tested persons.

    Returns:
        The set, single-shot; its training tracks if multi_shot is there.
    """
    singles, tracks = _shots(tree, "single_shot"), _shots(tree, "multi_shot")
    if not singles and not tracks:
        singles = _cameras(tree, tree.need(CARD.layout, "cam_a", "cam_b"))
    if not singles and not tracks:
        raise DataError(f"{tree.root}: expected {CARD.layout}, got no picture in them")
    shots = tracks or singles
    one_each = {
        **{key: frames[0] for key, frames in tracks.items()},
        **{key: frames[0] for key, frames in singles.items()},
    }
    in_a, in_b = ({person for at, person in one_each if at == camera} for camera in (0, 1))
    shared = in_a & in_b
    chosen = training_persons(shared, seed)
    trained = sorted((in_a - shared) | chosen)
    train = [
        PersonImage(path, person, camera)
        for camera in (0, 1)
        for person in trained
        for path in evenly_apart(shots.get((camera, person), []))
    ]
    query = _one_each(one_each, 0, shared - chosen)
    gallery = _one_each(one_each, 1, in_b - chosen)
    note = f"no official split: {len(shared - chosen)} tested persons chosen by seed {seed}"
    return ReidDataset(
        "prid2011",
        tuple(train),
        query,
        gallery,
        single_shot=True,
        notes=(note,),
        split_seed=seed,
    )


def _shots(tree: PictureTree, kind: str) -> dict[tuple[int, int], list[Path]]:
    """Read single_shot or multi_shot: pictures by (camera, person); nothing if it is not there."""
    base = tree.root if tree.root.name == kind else tree.find(kind)
    if base is None:
        return {}
    return _cameras(tree, base if base.name == kind else base / kind)


def _cameras(tree: PictureTree, folder: Path) -> dict[tuple[int, int], list[Path]]:
    """Read cam_a and cam_b of a folder: pictures by (camera, person)."""
    return {
        (camera, _person(camera, number)): frames
        for camera, part in enumerate(("cam_a", "cam_b"))
        for number, frames in read_tracks(tree, folder / part, _PERSON, "person_0001").items()
    }


def _person(camera: int, number: int) -> int:
    """Tell who a number means: above 200, somebody else in camera B than in camera A."""
    return number + _ONLY_CAMERA_B if camera == 1 and number > _LAST_SHARED else number


def _one_each(
    pictures: dict[tuple[int, int], Path], camera: int, persons: Iterable[int]
) -> tuple[PersonImage, ...]:
    return tuple(
        PersonImage(pictures[camera, person], person, camera) for person in sorted(persons)
    )
