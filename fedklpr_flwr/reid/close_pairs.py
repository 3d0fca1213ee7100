"""Which rows of mass one share so much of it that they are close: few of the many that meet.

Most pairs meet in masses too small to matter. So each row's smallest are set aside, what the others
share tells who can be close at all, and only those pairs are compared in full.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from fedklpr_flwr.errors import FedKlprError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Indices = NDArray[Any]
Found = tuple[Indices, Indices, NDArray[np.float32]]

_LIGHT = 0.4  # of the mass that two close rows share: what those set aside in a row may sum to
_ROUNDING = 1e-4  # more than float32 loses where it sums up a row
_MEETINGS = 2**20  # pairs of masses compared at once
_CELLS = 2**20  # cells of the rows spread out at once: few enough to stay in the cache
_MOST_PAIRS, _ALIKE = 2**24, 256  # so many pairs, or so many a picture, are no persons any more
_COLLAPSED = (
    "nearly all of {} pictures look the same to the network: they are copies of one picture, or "
    "training collapsed; look at the pictures, then start anew with a lower learning rate"
)


def pairs_within(mass: "csr_matrix", eps: float) -> "csr_matrix":
    """Find the rows of mass one whose Jaccard distance is at most eps.

    With both masses one, sum max = 2 - sum min, and the distance is 1 - s / (2 - s), where s, the
    sum of min(V_ig, V_jg) over g, is the mass that two rows share.

    Args:
        mass: (N,N) float32 CSR, nothing below zero; V.
        eps: largest distance kept, in [0,1).

    Returns:
        (N,N) float32 CSR, symmetric, indices sorted; what is stored is within eps, also a 0.

    Raises:
        FedKlprError: so many pairs are within eps that the features must have collapsed.
    """
    from scipy.sparse import coo_matrix

    count = mass.shape[0]
    least = (1 - 1e-6) * 2 * (1 - eps) / (2 - eps)  # a sieve; the distance itself decides below
    heavy = _without_light(mass, _LIGHT * least)
    met = np.bincount(heavy.indices, minlength=count)[heavy.indices]
    heavy.data = np.sqrt(heavy.data)
    find = partial(_pairs_of_rows, mass, heavy, heavy.T.tocsr(), least, eps)
    itself = np.arange(count, dtype=mass.indices.dtype)
    most, pairs = max(_MOST_PAIRS, _ALIKE * count), [(itself, itself, np.zeros(count, np.float32))]
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        for found in threads.map(find, _runs(np.append(0, np.cumsum(met))[heavy.indptr])):
            pairs += found, (found[1], found[0], found[2])
            most -= len(found[0])
            if most < 0:
                threads.shutdown(wait=False, cancel_futures=True)
                raise FedKlprError(_COLLAPSED.format(count))
    row, column, stored = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    close = coo_matrix((stored, (row, column)), mass.shape).tocsr()  # COO keeps stored zeros
    close.sort_indices()
    return close


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


def _pairs_of_rows(
    mass: "csr_matrix",
    heavy: "csr_matrix",
    transposed: "csr_matrix",
    least: float,
    eps: float,
    rows: tuple[int, int],
) -> Found:
    """Find the pairs i < j up to eps of a run of rows i: their rows, columns and distances.

    Where L is the largest sum that was set aside in a row, two rows share at most 2 L more than
    their large masses do, and these at most the sum of sqrt(V_ig V_jg), a product of matrices.
    """
    start, stop = rows
    bound = heavy[start:stop] @ transposed
    i = np.repeat(np.arange(start, stop, dtype=mass.indices.dtype), np.diff(bound.indptr))
    enough = (1 - 2 * _LIGHT) * least - _ROUNDING
    possible = np.flatnonzero((bound.data >= enough) & (bound.indices > i))
    i, j = i[possible], bound.indices[possible]
    shared = _shared_mass(mass, start, stop, i, j)
    distance = np.maximum(1 - shared / (2 - shared), 0)
    near = distance <= eps
    return i[near], j[near], distance[near].astype(np.float32)


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
