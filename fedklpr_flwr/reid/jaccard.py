"""The k-reciprocal Jaccard distance between pictures, where it is small; never an N x N matrix."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedklpr_flwr.errors import SettingsError
from fedklpr_flwr.reid.close_pairs import pairs_within
from fedklpr_flwr.reid.neighbours import nearest_neighbours, products_at

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Indices = NDArray[np.int64]

_BLOCK = 2**18  # list entries compared at once


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
    return pairs_within(neighbour_mass(features.cpu(), nearest, half=half, k2=k2), eps)


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
    mass = mass_over(features, _expanded_neighbours(nearest, half), scale)
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


def mass_over(
    features: Tensor, pattern: "csr_matrix", scale: NDArray[np.float64] | None = None
) -> "csr_matrix":
    """Spread a mass of one over each row's pattern, in proportion to exp(-squared distance).

    Args:
        features: (N,D) float32, rows of unit length, on the CPU.
        pattern: (N,N) CSR, no row empty; its values are written over.
        scale: (N,) what the squared distances of each row are divided by; None = 1.

    Returns:
        (N,N) float32 CSR: the pattern.
    """
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
