"""All rows of mass one that meet, compared in full."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csc_matrix, csr_matrix

Indices = NDArray[Any]

_MEETINGS = 2**19  # pairs of masses that a thread compares at once: few enough for its cache


class MetPairs:
    """Finds close pairs among all that share a column: each mass and those below it there.

    Args:
        mass: (N,N) float32 CSR, rows of mass one.
        least: what two rows must share.
    """

    def __init__(self, mass: "csr_matrix", least: float) -> None:
        self._mass, self._least = mass, least
        self._by_column, self._place = _by_column(mass)
        self._below = self._by_column.indptr[1:][mass.indices] - self._place

    def runs(self) -> Iterator[tuple[int, int]]:
        """Runs of rows to ask for."""
        return _row_blocks(np.append(0, np.cumsum(self._below))[self._mass.indptr])

    def sharing(self, rows: tuple[int, int]) -> tuple[Indices, Indices, NDArray[np.float64]]:
        """Find the pairs i < j of a run of rows i that share enough: i, j, and how much."""
        (start, stop), mass = rows, self._mass
        entries = slice(mass.indptr[start], mass.indptr[stop])
        place, below = self._place[entries], self._below[entries]
        shared = _shared_mass(mass[start:stop], self._by_column, place, below, first_column=start)
        cells = np.flatnonzero(shared >= self._least)
        i, j = np.divmod(cells, mass.shape[0] - start)
        off = i != j
        kind = mass.indices.dtype
        return (i[off] + start).astype(kind), (j[off] + start).astype(kind), shared[cells[off]]


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
