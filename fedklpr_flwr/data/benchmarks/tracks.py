"""What PRID2011 and iLIDS-VID have in common: a folder, or a single picture, for each person."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from fedklpr_flwr.data.benchmarks.picture_tree import PictureTree

# The FedReID benchmark, after Xiao et al. (CVPR 2016), trains on at most ten frames of a track.
FRAMES_OF_A_TRACK = 10

Frame = TypeVar("Frame")


def read_tracks(
    tree: PictureTree, camera: Path, person: re.Pattern[str], example: str
) -> dict[int, list[Path]]:
    """Read the pictures that a camera took of each person.

    Args:
        tree: The folder that a user pointed at.
        camera: The camera's folder; it holds pictures named after persons, or folders named after
            persons with pictures in them.
        person: A person's name, with the number as first group.
        example: A right name.

    Returns:
        Person number to pictures in order of name. No such folder gives an empty dict.
    """
    if not camera.is_dir():
        return {}
    tracks: dict[int, list[Path]] = {}
    for path in [*tree.folders(camera), *tree.pictures(camera)]:
        match = person.fullmatch(path.name if path.is_dir() else path.stem)
        if match is None:
            tree.note(path, f"expected a name such as {example}, got {path.name}")
        elif frames := tree.pictures(path) if path.is_dir() else [path]:
            tracks[int(match[1])] = frames
    return tracks


def evenly_apart(frames: Sequence[Frame]) -> list[Frame]:
    """Take up to ten frames of a track, evenly apart, first and last included.

    Args:
        frames: The frames in order of time.

    Returns:
        All of them if there are no more than ten.
    """
    last, steps = len(frames) - 1, FRAMES_OF_A_TRACK - 1
    if last <= steps:
        return list(frames)
    return [frames[step * last // steps] for step in range(FRAMES_OF_A_TRACK)]
