"""A picture that somebody is still writing is left for the next time."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fedklpr_flwr.data.person_image import PersonImage, ReidDataset
from fedklpr_flwr.data.picture_file import why_unreadable
from fedklpr_flwr.wording import counted

UNFINISHED = "still being written"
"""What a note says of pictures that are left for the next time."""


def finished_pictures(dataset: ReidDataset, settle_seconds: float) -> ReidDataset:
    """Leave pictures out that were changed just now and cannot be decoded to their end yet.

    A young picture that is whole is used at once, and an old one that is not stays: whoever opens
    it says what is wrong with it. Only young files are read here.

    Args:
        dataset: a site's pictures on disk.
        settle_seconds: a file changed within so many seconds is young; 0 looks at none.

    Returns:
        The data set, with a note where something was left out.
    """
    if not settle_seconds:
        return dataset
    paths = {image.path for images in dataset.lists.values() for image in images}
    young = {path for path in paths if is_young(path, settle_seconds)}
    unfinished = {path for path in young if why_unreadable(path)}
    if not unfinished:
        return dataset

    def finished(images: Sequence[PersonImage]) -> tuple[PersonImage, ...]:
        return tuple(image for image in images if image.path not in unfinished)

    note = (
        f"{UNFINISHED}: {counted(len(unfinished), 'picture')} of {len(paths):,}, younger than "
        f"{settle_seconds:g} s and not whole (data.settle_seconds), left for the next round"
    )
    return replace(
        dataset,
        train=finished(dataset.train),
        query=finished(dataset.query),
        gallery=finished(dataset.gallery),
        notes=(*dataset.notes, note),
    )


def is_young(path: Path, settle_seconds: float) -> bool:
    """Whether a file was changed within so many seconds; nothing is with 0."""
    return bool(settle_seconds) and changed_at(path) > time.time() - settle_seconds


def changed_at(path: Path) -> float:
    """When a file was last changed, in seconds; 0 where there is none.

    A date to come, of a copy from a camera whose clock is fast, says nothing: then it is when the
    file was last touched here.
    """
    try:
        state = path.stat()
    except OSError:
        return 0.0
    return state.st_mtime if state.st_mtime <= time.time() else state.st_ctime
