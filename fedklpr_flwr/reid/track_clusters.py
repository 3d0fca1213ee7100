"""Clusters of tracks: pictures that a tracker followed stay together, and count together."""

from bisect import bisect_right, insort
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Tracks:
    """Which pictures a tracker followed as one person, and when.

    Attributes:
        of_picture: (N,) int64, each picture's track, -1 = none: it stands for itself.
        first: (N,) int64, the frame by its camera's clock from which on it, or its track, was seen,
            -1 = unknown.
        last: (N,) int64, the last such frame; None = the first.
    """

    of_picture: Tensor
    first: Tensor
    last: Tensor | None = None

    @property
    def until(self) -> Tensor:
        """(N,) int64, the last frame, also where `last` does not say it."""
        return self.first if self.last is None else self.last

    def subset(self, indices: Tensor) -> "Tracks":
        """What is known of the pictures at these indices."""
        return Tracks(self.of_picture[indices], self.first[indices], self.until[indices])


@dataclass(frozen=True)
class TrackUnits:
    """What is clustered in place of pictures: each track once, each other picture once.

    Attributes:
        of_picture: (N,) int64, each picture's unit.
        features: (U,D) float32, unit rows: the mean of a unit's pictures.
        cameras: (U,) int64.
        sizes: (U,) int64, pictures of each.
        seen: (U,3) int64, each unit's camera, first frame and last frame, -1 where the time is not
            known. Two that one camera sees at the same time are not one person.
    """

    of_picture: Tensor
    features: Tensor
    cameras: Tensor
    sizes: Tensor
    seen: Indices


def track_units(features: Tensor, cameras: Tensor, tracks: Tracks) -> TrackUnits:
    """Average each track's features, which match far better than one picture's.

    Args:
        features: (N,D) float32, rows of unit length.
        cameras: (N,) int64; all pictures of a track are by one.
        tracks: who was followed.

    Returns:
        The units, numbered by their first picture.
    """
    count = len(features)
    key = torch.where(tracks.of_picture >= 0, tracks.of_picture + count, torch.arange(count))
    _, unit = torch.unique(key, return_inverse=True)
    first = torch.full((int(unit.max()) + 1 if count else 0,), count)
    first = first.scatter_reduce(0, unit, torch.arange(count), "amin")
    rank = first.argsort().argsort()
    unit, first = rank[unit], first.sort().values
    sums = features.new_zeros(len(first), features.shape[1])
    sums.index_add_(0, unit.to(features.device), features)
    low = torch.full((len(first),), -1).scatter_reduce(
        0, unit, tracks.first, "amin", include_self=False
    )
    high = torch.full((len(first),), -1).scatter_reduce(0, unit, tracks.until, "amax")
    return TrackUnits(
        unit,
        functional.normalize(sums, dim=1),
        cameras[first],
        torch.bincount(unit, minlength=len(first)),
        torch.stack([cameras[first], low, high], dim=1).numpy(),
    )


def count_units(tracks: Tracks) -> int:
    """Count the tracks and the pictures without one."""
    followed = tracks.of_picture[tracks.of_picture >= 0]
    return len(torch.unique(followed)) + len(tracks.of_picture) - len(followed)


def constrained_labels(
    near: "csr_matrix", weights: Indices, min_samples: int, seen: Indices
) -> Indices:
    """Run DBSCAN that never joins two units that one camera sees at the same time.

    Those are apart: nobody is in two places. The nearest cores are joined first; a join that would
    bring two units together that are apart is not made. A unit that is no core joins the nearest
    core whose cluster it is not apart from.

    Args:
        near: (U,U) float32 CSR, symmetric, the distances within the radius, each row with its own.
        weights: (U,) int64, how many pictures each counts for.
        min_samples: weights within the radius, its own included, that make a core.
        seen: (U,3) int64, camera, first and last frame; a unit of unknown time (first = -1) is
            apart from nothing.

    Returns:
        (U,) int64, clusters numbered by their first unit, -1 for outliers. Where nobody is apart
        the cores are clustered as by DBSCAN.
    """
    count = near.shape[0]
    row = np.repeat(np.arange(count), np.diff(near.indptr))
    column, distance = near.indices.astype(np.int64), near.data
    core = np.bincount(row, weights[column], minlength=count) >= min_samples
    groups = _Groups(seen)
    order = np.lexsort((column, row, distance))
    between = core[row] & core[column] & (row < column)
    for edge in order[between[order]]:
        groups.join(int(row[edge]), int(column[edge]))
    joined = core.copy()
    reaching = ~core[row] & core[column]
    for edge in order[reaching[order]]:
        unit = int(row[edge])
        joined[unit] = joined[unit] or groups.join(unit, int(column[edge]))
    roots = np.array([groups.root(unit) for unit in range(count)], np.int64)
    _, first, label = np.unique(roots[joined], return_index=True, return_inverse=True)
    labels = np.full(count, -1)
    labels[joined] = np.argsort(np.argsort(first))[label]
    return labels


class _Groups:
    """Sets of units that grow together, and when each camera sees something of a set.

    The times of a set in one camera never overlap, so that there are as many as units, where pairs
    that are apart grow with their square (a table may have thousands of pictures of one moment).
    """

    def __init__(self, seen: Indices) -> None:
        self._above = list(range(len(seen)))
        self._sizes = [1] * len(seen)
        self._times: list[dict[int, list[tuple[int, int]]]] = [
            {camera: [(first, last)]} if first >= 0 else {} for camera, first, last in seen.tolist()
        ]

    def root(self, unit: int) -> int:
        """The unit that stands for the set."""
        while self._above[unit] != unit:
            self._above[unit] = self._above[self._above[unit]]
            unit = self._above[unit]
        return unit

    def join(self, one: int, other: int) -> bool:
        """Make two sets one, unless something in them is apart; tell whether they are one now."""
        small, large = sorted((self.root(one), self.root(other)), key=self._sizes.__getitem__)
        if small == large:
            return True
        into = self._times[large]
        if any(_meet(times, into.get(camera, [])) for camera, times in self._times[small].items()):
            return False
        self._above[small] = large
        self._sizes[large] += self._sizes[small]
        for camera, times in self._times[small].items():
            own = into.setdefault(camera, [])
            for time in times:
                insort(own, time)
        self._times[small] = {}
        return True


def _meet(some: list[tuple[int, int]], others: list[tuple[int, int]]) -> bool:
    """Whether two lists of times (first and last frame), each in order and apart, overlap."""
    few, many = sorted((some, others), key=len)
    for first, last in few:
        # Of those that begin in time the latest ends last.
        before = bisect_right(many, last, key=itemgetter(0))
        if before and many[before - 1][1] >= first:
            return True
    return False
