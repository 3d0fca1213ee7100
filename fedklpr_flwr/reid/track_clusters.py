"""Clusters of tracks: pictures that a tracker followed stay together, and count together."""

from dataclasses import dataclass
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
        frames: (N,) int64, when it was taken by its camera's clock, -1 = unknown.
    """

    of_picture: Tensor
    frames: Tensor


@dataclass(frozen=True)
class TrackUnits:
    """What is clustered in place of pictures: each track once, each other picture once.

    Attributes:
        of_picture: (N,) int64, each picture's unit.
        features: (U,D) float32, unit rows: the mean of a unit's pictures.
        cameras: (U,) int64.
        sizes: (U,) int64, pictures of each.
        apart: (P,2) int64, pairs of units that are not one person: one camera sees both at the same
            time.
    """

    of_picture: Tensor
    features: Tensor
    cameras: Tensor
    sizes: Tensor
    apart: Indices


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
        0, unit, tracks.frames, "amin", include_self=False
    )
    high = torch.full((len(first),), -1).scatter_reduce(0, unit, tracks.frames, "amax")
    return TrackUnits(
        unit,
        functional.normalize(sums, dim=1),
        cameras[first],
        torch.bincount(unit, minlength=len(first)),
        overlapping(cameras[first].numpy(), low.numpy(), high.numpy()),
    )


def count_units(tracks: Tracks) -> int:
    """Count the tracks and the pictures without one."""
    followed = tracks.of_picture[tracks.of_picture >= 0]
    return len(torch.unique(followed)) + len(tracks.of_picture) - len(followed)


def overlapping(cameras: Indices, first: Indices, last: Indices) -> Indices:
    """Find the pairs that one camera sees at the same time: nobody is in two places.

    Args:
        cameras: (U,) int64.
        first: (U,) int64, the first frame of each, -1 where a frame is unknown.
        last: (U,) int64, the last frame.

    Returns:
        (P,2) int64, i < j. A unit of unknown time overlaps with nothing.
    """
    pairs = [np.empty((0, 2), np.int64)]
    for camera in np.unique(cameras):
        own = np.flatnonzero((cameras == camera) & (first >= 0))
        own = own[np.argsort(first[own], kind="stable")]
        until = np.searchsorted(first[own], last[own], side="right")
        for place, stop in enumerate(until):
            later = own[place + 1 : stop]
            found = np.stack([np.full(len(later), own[place]), later], axis=1)
            pairs.append(np.sort(found, axis=1))
    return np.concatenate(pairs)


def constrained_labels(
    near: "csr_matrix", weights: Indices, min_samples: int, apart: Indices
) -> Indices:
    """Run DBSCAN that never joins two units known to be apart.

    The nearest cores are joined first; a join that would bring two units together that are apart is
    not made. A unit that is no core joins the nearest core whose cluster it is not apart from.

    Args:
        near: (U,U) float32 CSR, symmetric, the distances within the radius, each row with its own.
        weights: (U,) int64, how many pictures each counts for.
        min_samples: weights within the radius, its own included, that make a core.
        apart: (P,2) int64.

    Returns:
        (U,) int64, clusters numbered by their first unit, -1 for outliers. Without pairs apart the
        cores are clustered as by DBSCAN.
    """
    count = near.shape[0]
    row = np.repeat(np.arange(count), np.diff(near.indptr))
    column, distance = near.indices.astype(np.int64), near.data
    core = np.bincount(row, weights[column], minlength=count) >= min_samples
    groups = _Groups(count, apart)
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
    """Sets of units that grow together, and what may not come into each."""

    def __init__(self, count: int, apart: Indices) -> None:
        self._above = list(range(count))
        self._members = [{unit} for unit in range(count)]
        self._banned: list[set[int]] = [set() for _ in range(count)]
        for one, other in apart.tolist():
            self._banned[one].add(other)
            self._banned[other].add(one)

    def root(self, unit: int) -> int:
        """The unit that stands for the set."""
        while self._above[unit] != unit:
            self._above[unit] = self._above[self._above[unit]]
            unit = self._above[unit]
        return unit

    def join(self, one: int, other: int) -> bool:
        """Make two sets one, unless something in them is apart; tell whether they are one now."""
        small, large = sorted((self.root(one), self.root(other)), key=self._size)
        if small == large:
            return True
        if not self._members[small].isdisjoint(self._banned[large]):
            return False
        self._above[small] = large
        self._members[large] |= self._members[small]
        self._banned[large] |= self._banned[small]
        self._members[small], self._banned[small] = set(), set()
        return True

    def _size(self, root: int) -> int:
        return len(self._members[root])
