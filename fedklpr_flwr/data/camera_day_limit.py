"""A camera that sees very many people a day does not outweigh the others."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime

import numpy as np

from fedklpr_flwr.data.cached_files import file_state
from fedklpr_flwr.data.person_image import ReidDataset
from fedklpr_flwr.wording import counted

OVER_LIMIT = "more than a camera's day may have"
"""What a note says of pictures that were left out by the limit."""


def limited_pictures(dataset: ReidDataset, most: int | None) -> ReidDataset:
    """Leave training pictures out where a camera has more than so many of one day.

    The day is the one in which the file was last changed, by this machine's calendar. Those kept
    are spread evenly over the time from the day's first picture to its last.

    Args:
        dataset: a site's pictures on disk; those to search with and to search in all stay.
        most: at least 1; None keeps everything.

    Returns:
        The data set, with a note where something was left out. A file that is gone stays listed, so
        that whoever opens it says so.
    """
    if most is None:
        return dataset
    groups: dict[tuple[int, date], list[tuple[int, str, int]]] = {}
    for place, image in enumerate(dataset.train):
        if (state := file_state(image.path)) is not None:
            day = datetime.fromtimestamp(state[1] / 1e9).date()
            moment = state[1], image.picture, place
            groups.setdefault((image.camera_id, day), []).append(moment)
    dropped = {place for group in groups.values() for place in _beyond(sorted(group), most)}
    if not dropped:
        return dataset
    over = sum(len(group) > most for group in groups.values())
    note = (
        f"{OVER_LIMIT}: {counted(len(dropped), 'picture')} of {len(dataset.train):,}, of "
        f"{counted(over, 'day')} of cameras with more than {most:,} (data.most_per_camera_day)"
    )
    kept = tuple(image for place, image in enumerate(dataset.train) if place not in dropped)
    return replace(dataset, train=kept, notes=(*dataset.notes, note))


def evenly_spaced(times: Sequence[int], count: int) -> list[int]:
    """Choose moments that lie as evenly as may be between the first and the last.

    Each of `count` points in time, at equal distances from the first moment to the last, takes the
    moment nearest to it that is not taken; of moments as near, the one nearest in order to its
    share of the list, so that moments that are all one are spread over the list.

    Args:
        times: N moments in ascending order, in nanoseconds.
        count: how many, from 1 to N; of one the middle is chosen.

    Returns:
        Their places in the list, in ascending order.
    """
    since = np.asarray(times, np.int64) - times[0]
    shares = np.linspace(0.0, 1.0, count) if count > 1 else np.array([0.5])
    order, free, chosen = np.arange(len(since)), np.ones(len(since), bool), []
    for share in shares:
        far = np.where(free, np.abs(since - share * float(since[-1])), np.inf)
        nearest = np.flatnonzero(far == far.min())
        place = int(nearest[np.abs(order[nearest] - share * (len(since) - 1)).argmin()])
        free[place] = False
        chosen.append(place)
    return sorted(chosen)


def _beyond(group: Sequence[tuple[int, str, int]], most: int) -> set[int]:
    """The places of a day's pictures that are not kept."""
    if len(group) <= most:
        return set()
    kept = {*evenly_spaced([changed for changed, _, _ in group], most)}
    return {place for number, (_, _, place) in enumerate(group) if number not in kept}
