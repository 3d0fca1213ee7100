"""Rows of mass one that share much, found without comparing all that meet.

Most pairs meet in masses too small to matter. So each row's smallest are set aside, what the others
share tells who can be close at all, and only those pairs are compared in full.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Indices = NDArray[Any]

_LIGHT = 0.4  # of the mass that two close rows share: what those set aside in a row may sum to
_ROUNDING = 1e-4  # more than float32 loses where it sums up a row
_MEETINGS = 2**20  # pairs of masses compared at once
_CELLS = 2**20  # cells of the rows spread out at once: few enough to stay in the cache
_WORTH = 0.45  # of the meetings of all masses, those of large ones, up to which it is faster


class SievedPairs:
    """Finds close pairs among those that share enough in their large masses.

    Where L is the largest sum that was set aside in a row, two rows share at most 2 L more than
    their large masses do, and these at most the sum of sqrt(V_ig V_jg), a product of matrices.

    Args:
        mass: (N,N) float32 CSR, rows of mass one.
        least: what two rows must share.
    """

    def __init__(self, mass: "csr_matrix", least: float) -> None:
        self._mass, self._least = mass, least
        self._heavy = _without_light(mass, _LIGHT * least)
        met, every = (np.bincount(m.indices, minlength=m.shape[0]) for m in (self._heavy, mass))
        self.is_worth_it = bool(np.dot(met, met) <= _WORTH * np.dot(every, every + 1) / 2)
        self._met = np.append(0, np.cumsum(met[self._heavy.indices]))[self._heavy.indptr]
        self._heavy.data = np.sqrt(self._heavy.data)
        self._transposed = self._heavy.T.tocsr()

    def runs(self) -> Iterator[tuple[int, int]]:
        """Runs of rows to ask for."""
        return _runs(self._met)

    def sharing(self, rows: tuple[int, int]) -> tuple[Indices, Indices, NDArray[np.float64]]:
        """Find the pairs i < j of a run of rows i that may share enough: i, j, and how much."""
        start, stop = rows
        bound = self._heavy[start:stop] @ self._transposed
        kind = self._mass.indices.dtype
        i = np.repeat(np.arange(start, stop, dtype=kind), np.diff(bound.indptr))
        enough = (1 - 2 * _LIGHT) * self._least - _ROUNDING
        possible = np.flatnonzero((bound.data >= enough) & (bound.indices > i))
        i, j = i[possible], bound.indices[possible]
        return i, j, _shared_mass(self._mass, start, stop, i, j)


def _without_light(mass: "csr_matrix", light: float) -> "csr_matrix":
    """Leave out each row's smallest masses, as many as sum to no more than `light`."""
    from scipy.sparse import csr_matrix

    row = np.repeat(np.arange(mass.shape[0]), np.diff(mass.indptr))
    ascending = np.argsort(2.0 * row + mass.data)  # row after row, each from its smallest on
    sums = np.append(0, np.cumsum(mass.data[ascending], dtype=np.float64))
    heavy = np.zeros(mass.nnz, dtype=bool)
    heavy[ascending] = sums[1:] - sums[mass.indptr[row]] > light
    starts = np.append(0, np.cumsum(heavy))[mass.indptr]
    return csr_matrix((mass.data[heavy], mass.indices[heavy], starts), shape=mass.shape)


def _runs(meetings: Indices) -> Iterator[tuple[int, int]]:
    """Cut the rows into runs of bounded work, given the meetings before each row: (N+1,)."""
    count = len(meetings) - 1
    most = max(16, _CELLS // max(1, count))
    start = 0
    while start < count:
        stop = int(np.searchsorted(meetings, meetings[start] + _MEETINGS, side="right")) - 1
        stop = min(max(stop, start + 1), start + most, count)
        yield start, stop
        start = stop


def _shared_mass(
    mass: "csr_matrix", start: int, stop: int, i: Indices, j: Indices
) -> NDArray[np.float64]:
    """Sum min(V_ig, V_jg) over g for each pair (i, j), start <= i < stop: (P,)."""
    spread = mass[start:stop].toarray().ravel()
    sizes = np.diff(mass.indptr)[j]
    ends = np.cumsum(sizes, dtype=np.int64)
    shared = np.empty(len(i))
    begin = 0
    while begin < len(i):
        done = ends[begin] - sizes[begin]
        end = max(int(np.searchsorted(ends, done + _MEETINGS, side="right")), begin + 1)
        part = slice(begin, end)
        starts = ends[part] - sizes[part] - done
        entries = np.arange(ends[end - 1] - done)
        entries += np.repeat(mass.indptr[j[part]] - starts, sizes[part])
        cells = np.repeat((i[part] - np.int64(start)) * mass.shape[1], sizes[part])
        cells += mass.indices[entries]
        smaller = np.minimum(mass.data[entries], spread[cells])
        shared[part] = np.add.reduceat(smaller, starts, dtype=np.float64)
        begin = end
    return shared
