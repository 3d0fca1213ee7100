"""Old training pictures are left out by their age."""

from dataclasses import replace

from fedklpr_flwr.data.person_image import ReidDataset
from fedklpr_flwr.data.unfinished_pictures import changed_at
from fedklpr_flwr.wording import counted

TOO_OLD = "too old to be trained on"
"""What a note says of pictures that were left out by their age."""

_DAY = 86_400.0


def newest_pictures(dataset: ReidDataset, days: float | None) -> ReidDataset:
    """Leave training pictures out that are more than so many days older than the newest one.

    The age is by the date of change of the picture's file and counted from the site's newest
    training picture, not from today: a run sees the same pictures from its first round to its last.

    Args:
        dataset: a site's pictures on disk; those to search with and to search in all stay.
        days: at least 0; None keeps everything.

    Returns:
        The data set, with a note where something was left out. A file that is gone stays listed, so
        that whoever opens it says so.
    """
    if days is None or not dataset.train:
        return dataset
    dates = [changed_at(image.path) for image in dataset.train]
    oldest = max(dates) - days * _DAY
    kept = tuple(
        image
        for image, date in zip(dataset.train, dates, strict=True)
        if not date or date >= oldest
    )
    gone = len(dataset.train) - len(kept)
    if not gone:
        return dataset
    note = (
        f"{TOO_OLD}: {counted(gone, 'picture')} of {len(dataset.train):,}, more than {days:g} days "
        "older than the newest (data.newest_days)"
    )
    return replace(dataset, train=kept, notes=(*dataset.notes, note))
