"""The k-reciprocal Jaccard distance between pictures, where it is small; never an N x N matrix."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedklpr_flwr.errors import FedKlprError, SettingsError
from fedklpr_flwr.reid.neighbours import nearest_neighbours, products_at

if TYPE_CHECKING:
    from scipy.sparse import csc_matrix, csr_matrix

Indices = NDArray[np.int64]

_MOST_PAIRS, _ALIKE = 2**24, 256  # so many pairs, or so many a picture, are no persons any more
_COLLAPSED = (
    "nearly all of {} pictures look the same to the network: they are copies of one picture, or "
    "training collapsed; look at the pictures, then start anew with a lower learning rate"
)
_BLOCK = 2**18  # list entries compared at once
_MEETINGS = 2**19  # pairs of masses that a thread compares at once: few enough for its cache


def jaccard_within(features: Tensor, *, k1: int, k2: int, eps: float) -> "csr_matrix":
    """Compute the k-reciprocal Jaccard distances that are at most eps, and no others.

    d(i,j) = 1 - sum_g min(V_ig, V_jg) / sum_g max(V_ig, V_jg), where row V_i spreads a mass of one
    over the expanded k-reciprocal neighbours of i, by exp(-squared distance), averaged over the k2
    nearest of i. Memory grows as N k and with the pairs found, which copies make N^2 of.

    Args:
        features: (N,D) float32, rows of unit length.
        k1: neighbours, the picture itself included, among which reciprocity is asked; at least 1.
        k2: neighbours over which V is averaged; 1 averages nothing.
        eps: largest distance kept, in [0,1); at 1 every pair would be.

    Returns:
        (N,N) float32 CSR, symmetric, indices sorted; a stored 0 is a distance, what is absent is
        farther than eps. Every picture is within 0 of itself. Fewer than k1 pictures are all
        neighbours.

    Raises:
        SettingsError: eps is out of its range.
        FedKlprError: so many pairs are within eps that the features must have collapsed.

    Source: Zhong et al., "Re-ranking person re-identification with k-reciprocal encoding", 2017,
        in the form that clustering re-ID methods use (SpCL, cluster-contrast).
    """
    from scipy.sparse import csr_matrix

    if not 0 <= eps < 1:
        raise SettingsError(f"eps, the largest Jaccard distance, must be in [0,1); got {eps}")
    if len(features) == 0:
        return csr_matrix((0, 0), dtype=np.float32)
    nearest = nearest_neighbours(features, k1).numpy()
    half = round(k1 / 2) + 1  # round to even, and one more: as published
    return _pairs_within(neighbour_mass(features.cpu(), nearest, half=half, k2=k2), eps)


def neighbour_mass(
    features: Tensor,
    nearest: Indices,
    *,
    half: int,
    k2: int,
    scale: NDArray[np.float64] | None = None,
) -> "csr_matrix":
    """Spread a mass of one over each row's expanded k-reciprocal neighbours: the V above.

    Args:
        features: (N,D) float32, rows of unit length, on the CPU.
        nearest: (N,k) int64, each row's nearest, itself first.
        half: how many of them a neighbour's own reciprocal neighbours are sought among.
        k2: rows over which the masses are averaged; 1 averages nothing.
        scale: (N,) what the squared distances of each row are divided by; None = 1.

    Returns:
        (N,N) float32 CSR.
    """
    mass = _neighbour_mass(features, _expanded_neighbours(nearest, half), scale)
    if k2 > 1:
        close = nearest[:, :k2]
        mass = _rows_to_matrix(close, np.float32(1 / close.shape[1])) @ mass
    return mass


def _expanded_neighbours(nearest: Indices, half_size: int) -> "csr_matrix":
    """Join each row's k-reciprocal neighbours with those of its neighbours that mostly agree."""
    mutual = _rows_to_matrix(nearest, np.float32(1), _is_mutual(nearest))
    half = nearest[:, :half_size]
    half_mutual = _rows_to_matrix(half, np.float32(1), _is_mutual(half))
    shared = (mutual @ half_mutual.T).multiply(mutual).tocsr()
    sizes = np.diff(half_mutual.indptr)
    agreeing = 3 * shared.data > 2 * sizes[shared.indices]
    shared.data = agreeing.astype(np.float32)
    shared.eliminate_zeros()
    expanded = (mutual + shared @ half_mutual).tocsr()
    expanded.sort_indices()
    return expanded


def _is_mutual(nearest: Indices) -> NDArray[np.bool_]:
    """Mark the neighbours whose own list holds the row in turn: (N,k) bool."""
    count, k = nearest.shape
    mutual = np.empty((count, k), dtype=bool)
    rows = max(1, _BLOCK // (k * k))
    for start in range(0, count, rows):
        block = nearest[start : start + rows]
        own = np.arange(start, start + len(block))[:, None, None]
        mutual[start : start + rows] = (nearest[block] == own).any(axis=2)
    return mutual


def _rows_to_matrix(
    columns: Indices, value: np.float32, kept: NDArray[np.bool_] | None = None
) -> "csr_matrix":
    """Make the (N,N) matrix that has one value at each row's listed (and kept) columns."""
    from scipy.sparse import csr_matrix

    count, k = columns.shape
    sizes = np.full(count, k) if kept is None else kept.sum(axis=1)
    starts = np.concatenate(([0], np.cumsum(sizes)))
    chosen = columns.ravel() if kept is None else columns[kept]
    data = np.full(len(chosen), value, dtype=np.float32)
    return csr_matrix((data, chosen, starts), shape=(count, count))


def _neighbour_mass(
    features: Tensor, pattern: "csr_matrix", scale: NDArray[np.float64] | None
) -> "csr_matrix":
    """Spread a mass of one over each row's pattern, in proportion to exp(-squared distance)."""
    # |f - g|^2 = 2 - 2 f.g for unit rows; the constant cancels where the masses are normalised.
    starts, columns = torch.from_numpy(pattern.indptr), torch.from_numpy(pattern.indices)
    cosine = products_at(features, features, starts, columns).double().numpy()
    away = 2 * (cosine - 1)
    if scale is not None:
        away /= np.repeat(scale, np.diff(pattern.indptr))
    mass = np.exp(away)
    totals = np.add.reduceat(mass, pattern.indptr[:-1])
    pattern.data = (mass / np.repeat(totals, np.diff(pattern.indptr))).astype(np.float32)
    return pattern


def _pairs_within(mass: "csr_matrix", eps: float) -> "csr_matrix":
    """Turn rows of mass one into the sparse matrix of their Jaccard distances up to eps.

    With both masses one, sum max = 2 - sum min. Only pairs that share a column ever meet: every
    stored mass is compared with itself and those below it in its column, so each pair i <= j once.
    """
    from scipy.sparse import coo_matrix

    by_column, place = _by_column(mass)
    below = by_column.indptr[1:][mass.indices] - place
    blocks = _row_blocks(np.append(0, np.cumsum(below))[mass.indptr])
    most, pairs = max(_MOST_PAIRS, _ALIKE * mass.shape[0]), []
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        for found in threads.map(
            partial(_block_within, mass, by_column, place, below, eps), blocks
        ):
            pairs.append(found)
            most -= len(found[0])
            if most < 0:
                threads.shutdown(wait=False, cancel_futures=True)
                raise FedKlprError(_COLLAPSED.format(mass.shape[0]))
    row, column, stored = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    off = row != column
    both_ways = (np.append(row, column[off]), np.append(column, row[off]))
    # By way of COO: adding the transpose in CSR would drop the stored zeros.
    return coo_matrix((np.append(stored, stored[off]), both_ways), mass.shape).tocsr()


def _block_within(
    mass: "csr_matrix",
    by_column: "csc_matrix",
    place: Indices,
    below: Indices,
    eps: float,
    rows: tuple[int, int],
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float32]]:
    """Find the pairs i <= j up to eps of some rows i: their rows, columns and distances."""
    start, stop = rows
    entries = slice(mass.indptr[start], mass.indptr[stop])
    shared = _shared_mass(
        mass[start:stop], by_column, place[entries], below[entries], first_column=start
    )
    least = (1 - 1e-6) * 2 * (1 - eps) / (2 - eps)  # a sieve; the distance itself decides
    cells = np.flatnonzero(shared >= least)
    i, j = np.divmod(cells, mass.shape[0] - start)
    shared = shared[cells]
    distance = np.maximum(1 - shared / (2 - shared), 0)
    distance[i == j] = 0  # whatever the rounding of the masses says
    near = distance <= eps
    i, j = ((found[near] + start).astype(mass.indices.dtype) for found in (i, j))
    return i, j, distance[near].astype(np.float32)


def _by_column(matrix: "csr_matrix") -> tuple["csc_matrix", Indices]:
    """Return the CSC form, rows ascending in each column, and where each CSR entry stands in it."""
    entries = matrix.copy()
    entries.data = np.arange(matrix.nnz, dtype=np.float64)  # exact up to 2^53 entries
    by_column = entries.tocsc()
    by_column.sort_indices()
    order = by_column.data.astype(np.int64)
    place = np.empty(matrix.nnz, dtype=np.int64)
    place[order] = np.arange(matrix.nnz)
    by_column.data = matrix.data[order]
    return by_column, place


def _row_blocks(meetings: Indices) -> Iterator[tuple[int, int]]:
    """Cut the rows into runs of bounded work, given the meetings before each row: (N+1,)."""
    count = len(meetings) - 1
    start = 0
    while start < count:
        stop = int(np.searchsorted(meetings, meetings[start] + _MEETINGS, side="right")) - 1
        stop = min(max(stop, start + 1), start + max(1, _MEETINGS // (count - start)), count)
        yield start, stop
        start = stop


def _shared_mass(
    block: "csr_matrix",
    by_column: "csc_matrix",
    place: Indices,
    below: Indices,
    *,
    first_column: int,
) -> NDArray[np.float64]:
    """Sum min(V_ig, V_jg) over g for each row i of a block and all j >= first_column.

    Args:
        block: (R,N), the masses of some rows, E of them stored.
        by_column: (N,N), those of all rows.
        place: (E,) int64, where each of the block's masses stands in `by_column`.
        below: (E,) int64, how many stand from there to its column's end.
        first_column: the block's first row.

    Returns:
        (R * (N - first_column),) float64, by rows; only cells with i <= j hold a sum.
    """
    rows, width = block.shape[0], block.shape[1] - first_column
    own_row = np.repeat(np.arange(rows), np.diff(block.indptr))
    ends = np.cumsum(below)
    met = np.arange(ends[-1]) + np.repeat(place - ends + below, below)
    smaller = np.minimum(by_column.data[met], np.repeat(block.data, below))
    cell = by_column.indices[met] + np.repeat(own_row * width - first_column, below)
    sums = np.bincount(cell, smaller, minlength=rows * width)
    return sums.astype(np.float64, copy=False)
