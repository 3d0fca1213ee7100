"""Exact nearest neighbours by matrix products, in blocks."""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

_BLOCK = 6_000_000  # similarities held at once, whatever N: 24 MB of float32
_ROUNDING = 2.0**-9  # largest relative error of a number rounded to bfloat16


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
    count = len(features)
    k = min(k, count)
    size = 2 * k  # long enough to prove nearly every row
    shortlist = features.device.type == "cpu" and size < count and _multiplies_bfloat16()
    rounded = _Rounded.of(features) if shortlist else None
    rows = max(1, _BLOCK // max(1, count))
    parts = [torch.empty(0, k, dtype=torch.int64)]
    for start in range(0, count, rows):
        own = torch.arange(start, min(start + rows, count), device=features.device)
        if rounded is not None:
            parts.append(_by_shortlist(features, rounded, own, k, size))
        else:
            parts.append(_in_full(features, own, k).cpu())
    return torch.cat(parts)


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
        for start in range(0, len(features), 4096):
            block = slice(start, start + 4096)
            back = rounded.values[block].float()
            rounded.lengths[block] = back.norm(dim=1)
            rounded.errors[block] = back.sub_(features[block]).norm(dim=1)
        return rounded

    def largest_off_list(self, own: Tensor, lowest: Tensor) -> Tensor:
        """Bound the true similarity of any pair whose rounded one is at most `lowest`: (R,).

        f_i . f_j = r_i . r_j + e_i . f_j + r_i . e_j with f = r + e, each of the last two at most
        the product of the lengths; sums in float32 and the rounding of the result add the rest.
        """
        length, error = self.lengths.max(), self.errors.max()
        rounding = self.errors[own] * (length + error) + self.lengths[own] * error
        summing = self.values.shape[1] * 2.0**-23 * self.lengths[own] * length
        return lowest + 2 * _ROUNDING * lowest.abs() + rounding + summing


def _by_shortlist(features: Tensor, rounded: _Rounded, own: Tensor, k: int, size: int) -> Tensor:
    """Search as `_in_full`, but draw up a shortlist by bfloat16 similarities, at a fifth the cost.

    Float32 similarities decide among the shortlist. A row's answer stands if its k-th similarity is
    above whatever a row off the list can have; the other rows are searched in full.
    """
    rough = rounded.values[own] @ rounded.values.T
    row = torch.arange(len(own))
    rough[row, own] = torch.inf
    listed, columns = rough.topk(size, dim=1)
    starts = torch.arange(0, columns.numel() + 1, size)
    exact = products_at(features[own], features, starts, columns.flatten()).view_as(columns)
    exact[columns == own[:, None]] = torch.inf
    exact, columns = _in_order(exact, columns)
    nearest = columns[:, :k]
    bound = rounded.largest_off_list(own, listed[:, -1].float())
    unproven = (exact[:, k - 1] <= bound).nonzero().flatten()
    if len(unproven):
        nearest[unproven] = _in_full(features, own[unproven], k)
    return nearest
