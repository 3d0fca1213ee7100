"""Exact nearest neighbours by matrix products, in blocks."""

import warnings

import torch
from torch import Tensor

_BLOCK = 6_000_000  # similarities held at once, but
_ROWS = 400  # at least those of so many rows, since for each block all features are read


def nearest_neighbours(features: Tensor, k: int) -> Tensor:
    """Find every row's k most similar rows, exactly, itself first.

    Similarity is the dot product (the cosine, for unit rows). Equal similarities are ordered by
    index, so the answer does not depend on how a library breaks ties; the row itself comes first
    even among copies of it.

    Args:
        features: (N,D) float32, finite.
        k: neighbours a row, itself included; at least 1.

    Returns:
        (N, min(k, N)) int64 on the CPU, most similar first.
    """
    features = features.detach()
    count = len(features)
    k = min(k, count)
    rows = max(_ROWS, _BLOCK // max(1, count))
    parts = [torch.empty(0, k, dtype=torch.int64)]
    for start in range(0, count, rows):
        own = torch.arange(start, min(start + rows, count), device=features.device)
        parts.append(_nearest_of(features, own, k).cpu())
    return torch.cat(parts)


def nearest_elsewhere(queries: Tensor, gallery: Tensor, k: int) -> Tensor:
    """Find every query's k most similar rows of a gallery that it is not part of, exactly.

    Args:
        queries: (Q,D) float32, finite.
        gallery: (G,D) float32, finite, beside them.
        k: neighbours a row; at least 1.

    Returns:
        (Q, min(k, G)) int64 on the CPU, most similar first, equal similarities by index.
    """
    queries, gallery = queries.detach(), gallery.detach()
    rows = max(_ROWS, _BLOCK // max(1, len(gallery)))
    k = min(k, len(gallery))
    parts = [_largest(block @ gallery.T, k).cpu() for block in torch.split(queries, rows)]
    return torch.cat([torch.empty(0, k, dtype=torch.int64), *parts])


def products_at(left: Tensor, right: Tensor, starts: Tensor, columns: Tensor) -> Tensor:
    """Compute the dot products of chosen pairs of rows alone.

    Args:
        left: (R,D) float32.
        right: (N,D) float32.
        starts: (R+1,) integers, where each left row's pairs start, as in a CSR matrix.
        columns: (E,) integers of the same type, the right row of each pair.

    Returns:
        (E,) float32.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch calls its CSR layout a beta
        chosen = torch.sparse_csr_tensor(
            starts,
            columns,
            torch.zeros(len(columns)),
            (len(left), len(right)),
            check_invariants=False,
        )
        products: Tensor = torch.sparse.sampled_addmm(chosen, left, right.T).values()
    return products


def _nearest_of(features: Tensor, own: Tensor, k: int) -> Tensor:
    """Search for the neighbours of the rows `own`: (R,k)."""
    similarities = features[own] @ features.T
    similarities[torch.arange(len(own), device=own.device), own] = torch.inf
    return _largest(similarities, k)


def _largest(values: Tensor, k: int) -> Tensor:
    """Return the columns of each row's k largest values, equal values by column."""
    # One more than asked shows whether a tie crosses the border of the list.
    best, columns = values.topk(min(k + 1, values.shape[1]), dim=1)
    best, columns = _in_order(best, columns)
    nearest = columns[:, :k]
    if k < values.shape[1]:
        tied = (best[:, k - 1] == best[:, k]).nonzero().flatten()
        if len(tied):
            nearest[tied] = _largest_of_tied(values[tied], best[tied, k - 1], k)
    return nearest


def _in_order(values: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Sort every row by value, largest first, equal values by column."""
    columns, by_column = columns.sort(dim=1)
    values, by_value = values.gather(1, by_column).sort(dim=1, descending=True, stable=True)
    return values, columns.gather(1, by_value)


def _largest_of_tied(values: Tensor, border: Tensor, k: int) -> Tensor:
    """Do as `_largest` where more values reach a row's border value than the list can hold."""
    row, column = (values >= border[:, None]).nonzero(as_tuple=True)
    descending = values[row, column].argsort(descending=True, stable=True)
    order = descending[row[descending].argsort(stable=True)]
    row, column = row[order], column[order]
    first = torch.searchsorted(row, torch.arange(len(values), device=row.device))
    place = torch.arange(len(row), device=row.device) - first[row]
    return column[place < k].reshape(len(values), k)
