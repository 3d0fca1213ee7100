"""Whether a merge and an inspection gave what they should: a fast wrong one is not `ok`."""

from collections.abc import Sequence

import numpy as np

from experiments.benchmarks.round_files import Arrays, Update
from fedklpr_flwr.server.update_checks import Inspection

ROUNDING = 1e-6  # largest difference to the plain formula, of the coordinates' mean magnitude


def are_right(found: Sequence[Inspection], updates: Sequence[Update]) -> bool:
    """Whether inspections found the masks that were sent, and as many values as they keep."""
    if len(found) != len(updates):
        return False
    for inspection, (values, masks) in zip(found, updates, strict=True):
        held = sum(
            int(masks[name].sum()) if name in masks else values[name].size for name in values
        )
        same = set(masks) == set(inspection.masks) and all(
            np.array_equal(inspection.masks[name].numpy(), mask) for name, mask in masks.items()
        )
        if not same or inspection.spent.kept != held:
            return False
    return True


def are_means(
    merges: Sequence[Arrays],
    previous: Arrays,
    updates: Sequence[Update],
    weights: Sequence[float],
) -> list[bool]:
    """Whether each merge is the formula's, sum_k w_k m_k theta_k / sum_k w_k m_k, in float64.

    What nobody holds must be as it was before.
    """
    right = [set(merged) == set(previous) for merged in merges]
    for name, before in previous.items():
        total, size, mass = np.zeros((3, *before.shape))
        for (values, masks), weight in zip(updates, weights, strict=True):
            total += weight * values[name].astype(np.float64)
            size += weight * np.abs(values[name].astype(np.float64))
            mass += weight * masks.get(name, 1.0)
        held = mass > 0
        mass[~held] = 1
        expected = np.where(held, total / mass, before)
        allowed = np.where(held, ROUNDING * size / mass, 0)
        for number, merged in enumerate(merges):
            right[number] = right[number] and bool(
                (np.abs(merged[name] - expected) <= allowed).all()
            )
    return right
