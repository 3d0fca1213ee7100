"""What VIPeR and PRID450S have in common: two folders, a picture of each person in each."""

import re

from fedklpr_flwr.data.benchmarks.picture_tree import PictureTree
from fedklpr_flwr.data.benchmarks.seeded_split import separate, training_persons
from fedklpr_flwr.data.person_image import PersonImage, ReidDataset


def read_two_cameras(
    tree: PictureTree,
    seed: int,
    *,
    name: str,
    layout: str,
    pattern: re.Pattern[str],
    example: str,
) -> ReidDataset:
    """Read cam_a and cam_b; half of the persons train, the rest are searched for in camera B.

    Args:
        tree: The folder with cam_a and cam_b, or the one above it.
        seed: Chooses the training persons.
        name: The set's name.
        layout: The layout in words, for a message.
        pattern: File names, with the person's number, from 0, as first group.
        example: A right file name.

    Returns:
        A single-shot set; persons that only one camera has train (if chosen) or are left out of
        the query. Person ids are the numbers in the names plus 1, as 0 means a distractor.
    """
    folder = tree.need(layout, "cam_a", "cam_b")
    images = [
        PersonImage(path, int(match[1]) + 1, camera)
        for camera, part in enumerate(("cam_a", "cam_b"))
        for path, match in tree.named_pictures(folder / part, pattern, example)
    ]
    chosen = training_persons((image.person_id for image in images), seed)
    train, test = separate(images, lambda image: image.person_id in chosen)
    seen_by_a, gallery = separate(test, lambda image: image.camera_id == 0)
    found = {image.person_id for image in gallery}
    query, alone = separate(seen_by_a, lambda image: image.person_id in found)
    notes = [f"no official split: {len(chosen)} training persons chosen by seed {seed}"]
    if alone:
        notes.append(f"{len(alone)} test pictures left out: camera B lacks their persons")
    return ReidDataset(
        name, train, query, gallery, single_shot=True, notes=tuple(notes), split_seed=seed
    )
