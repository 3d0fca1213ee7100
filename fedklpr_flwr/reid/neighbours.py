"""Exact nearest neighbours by matrix products, in blocks."""

import warnings
from dataclasses import dataclass
from math import isqrt

import torch
from torch import Tensor
from torch.nn import functional

_BLOCK = 6_000_000  # similarities held at once, but
_ROWS = 400  # at least those of so many rows, since for each block all features are read
_ROUNDING = 2.0**-8  # largest relative error of a number rounded to bfloat16
_SMALLEST = torch.finfo(torch.bfloat16).tiny  # what is nearer to 0 may count as 0
_ABOVE_ALL = torch.finfo(torch.bfloat16).max  # a row's similarity to itself: it comes first


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
    size = 2 * k  # long enough to prove nearly every row
    shortlist = features.device.type == "cpu" and size < count and _multiplies_bfloat16()
    rounded = _Rounded.of(features) if shortlist else None
    rows = max(_ROWS, _BLOCK // max(1, count))
    parts = [torch.empty(0, k, dtype=torch.int64)]
    for start in range(0, count, rows):
        own = torch.arange(start, min(start + rows, count), device=features.device)
        if rounded is None:
            parts.append(_in_full(features, own, k).cpu())
            continue
        part, in_full = _by_shortlist(features, rounded, own, k, size)
        parts.append(part)
        if 2 * in_full > len(own):  # collapsed features: bfloat16 cannot tell them apart
            rounded = None
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


def _multiplies_bfloat16() -> bool:
    """Tell whether this CPU has units for bfloat16 matrices; without them it is slow at those."""
    known = getattr(torch.cpu, "get_capabilities", None)  # younger than the oldest torch we take
    return bool(known and known().get("amx_bf16", False))


def _in_full(features: Tensor, own: Tensor, k: int) -> Tensor:
    """Search for the neighbours of the rows `own` among all float32 similarities: (R,k)."""
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


def _largest_by_groups(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return each row's k largest values, largest first, and their columns; ties as they come.

    The k largest lie in the k groups of columns whose own largest are the largest: the others are
    never sorted, and to find a group's largest takes a fraction of the time.
    """
    rows, count = values.shape
    members = max(1, isqrt(count // k))
    groups = count // members
    largest = values[:, : groups * members].view(rows, members, groups).amax(dim=1)
    chosen = largest.topk(min(k, groups), dim=1, sorted=False).indices
    columns = (chosen[:, None] + groups * torch.arange(members)[:, None]).flatten(1)
    rest = torch.arange(groups * members, count).expand(rows, -1)
    columns = torch.cat((columns, rest), dim=1)
    best, place = values.gather(1, columns).topk(k, dim=1)
    return best, columns.gather(1, place)


@dataclass(frozen=True)
class _Rounded:
    """Features in bfloat16, and the lengths that bound what the rounding does to a product."""

    values: Tensor
    lengths: Tensor
    errors: Tensor

    @classmethod
    def of(cls, features: Tensor) -> "_Rounded":
        """Round features, in blocks: a float32 copy of all of them would double the memory."""
        rounded = cls(features.bfloat16(), *features.new_empty(2, len(features)))
        for start in range(0, len(features), 512):
            block = slice(start, start + 512)
            back = rounded.values[block].float()
            rounded.lengths[block] = back.norm(dim=1)
            rounded.errors[block] = back.sub_(features[block]).norm(dim=1)
        return rounded

    def farthest_off(self, own: Tensor, similarities: Tensor) -> Tensor:
        """Bound how far true similarities lie from rounded ones, for rows `own`: (R,S), as given.

        f_i . f_j = r_i . r_j + e_i . f_j + r_i . e_j with f = r + e, each of the last two at most
        the product of the lengths; sums in float32, the rounding of the result, and what is too
        small for the unit's numbers and counts as 0 there, add the rest.
        """
        length, error = self.lengths.max(), self.errors.max()
        rounding = self.errors[own] * (length + error) + self.lengths[own] * error
        summing = self.values.shape[1] * 2.0**-23 * self.lengths[own] * length
        rounded = _ROUNDING / (1 - _ROUNDING) * similarities.abs()
        lost = 4 * self.values.shape[1] * _SMALLEST * (1 + length)
        return rounded + (rounding + summing + lost)[:, None]


def _by_shortlist(
    features: Tensor, rounded: _Rounded, own: Tensor, k: int, size: int
) -> tuple[Tensor, int]:
    """Search as `_in_full`, but draw up a shortlist by bfloat16 similarities, at a fifth the cost.

    Float32 similarities decide among those of the shortlist that can be among the k. A row's answer
    stands if its k-th similarity is above whatever a row off the list can have; the other rows are
    searched in full, and counted. The rows `own` follow on one another.
    """
    rows = slice(int(own[0]), int(own[-1]) + 1)
    rough = rounded.values[rows] @ rounded.values.T
    rough[torch.arange(len(own)), own] = _ABOVE_ALL
    listed, columns = _largest_by_groups(rough, size)
    listed = listed.float()
    highest = listed + rounded.farthest_off(own, listed)  # what each true similarity can be
    exact = torch.full_like(listed, -torch.inf)

    def compute(chosen: Tensor) -> None:
        starts = functional.pad(chosen.sum(dim=1).cumsum(0), (1, 0))
        exact[chosen] = products_at(features[rows], features, starts, columns[chosen])
        exact[columns == own[:, None]] = torch.inf

    first = (torch.arange(size) < k).expand_as(listed)
    compute(first)
    compute(~first & (highest >= exact[:, :k].amin(dim=1, keepdim=True)))
    exact, columns = _in_order(exact, columns)
    nearest = columns[:, :k]
    unproven = (exact[:, k - 1] <= highest[:, -1]).nonzero().flatten()
    if len(unproven):
        nearest[unproven] = _in_full(features, own[unproven], k)
    return nearest, len(unproven)
