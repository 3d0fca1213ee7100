"""3DPeS: 193 persons on a campus, a few snapshots of each from several sequences.

Paper: D. Baltieri, R. Vezzani, R. Cucchiara, "3DPes: 3D people dataset for surveillance and
    forensics", ACM Workshop on Human Gesture and Behavior Understanding 2011.
Had from: www.openvisor.org/3dpes.asp (3DPeS_ReId_Snap).
Terms: research only.
Holds: 1,012 pictures of 193 persons; 8 cameras, which the names do not tell.
Names: RGB/P_S_FRAME_F_RGB.bmp: person, sequence, frame.
Split: 93 persons train, 100 test. As in the FedReID benchmark, which took it from Xiao et al. (CVPR
    2016), it counts as two cameras: of each person's sequences a half, rounded down, is camera 0,
    the others camera 1; query camera 0, gallery camera 1. All choices by the seed, so that a person
    with one sequence trains or is in the gallery, never a query. The benchmark's own choice was not
    published; it comes to 450 training pictures, 246 queries of 86 persons, 316 gallery pictures.
Person ids: as in the names.
"""

import re
from collections import defaultdict

from fedklpr_flwr.data.benchmarks.card import Counts, DatasetCard, SplitCounts
from fedklpr_flwr.data.benchmarks.picture_tree import PictureTree
from fedklpr_flwr.data.benchmarks.seeded_split import seeded_order, separate, training_persons
from fedklpr_flwr.data.person_image import PersonImage, ReidDataset

CARD = DatasetCard(
    title="3DPeS",
    layout="a folder RGB with pictures called P_S_FRAME_F_RGB.bmp (person, sequence, frame)",
    words=__doc__ or "",
    expected=(
        SplitCounts(
            total=Counts(1012, 193, 2),
            train=Counts(450, 93, 2),
            query=Counts(246, 86, 1),
            gallery=Counts(316, 100, 1),
        ),
        SplitCounts(
            total=Counts(1012, 193, 2),
            train=Counts(None, 93, 2),
            query=Counts(None, None, 1),
            gallery=Counts(None, 100, 1),
        ),
    ),
)

_NAME = re.compile(r"(\d+)_(\d+)_FRAME_\d+_RGB\.\w+")
_TRAINING_SHARE = 93 / 193


def read(tree: PictureTree, seed: int) -> ReidDataset:
    """Read 3DPeS.

    Args:
        tree: The folder RGB, or one of the two above it.
        seed: Chooses the training persons and the sequences of camera 0.

    Returns:
        The set as two cameras, its split made from the seed.
    """
    base = tree.find("RGB")
    folder = tree.root if base is None else base / "RGB"
    named = [
        (path, int(name[1]), int(name[2]))
        for path, name in tree.named_pictures(folder, _NAME, "1_2_FRAME_61_RGB.bmp")
    ]
    sequences = defaultdict(set)
    for _, person, sequence in named:
        sequences[person].add(f"{person}/{sequence}")
    first_camera: set[str] = set()
    for names in sequences.values():
        first_camera.update(seeded_order(names, seed)[: len(names) // 2])
    images = [
        PersonImage(path, person, 0 if f"{person}/{sequence}" in first_camera else 1)
        for path, person, sequence in named
    ]
    chosen = training_persons(sequences, seed, share=_TRAINING_SHARE)
    train, test = separate(images, lambda image: image.person_id in chosen)
    query, gallery = separate(test, lambda image: image.camera_id == 0)
    note = f"no official split: {len(chosen)} training persons and cameras chosen by seed {seed}"
    return ReidDataset("3dpes", train, query, gallery, notes=(note,), split_seed=seed)
