"""A model pruned as in the middle of a federation: what is sent, and what was known before."""

from collections.abc import Collection, Mapping

import numpy as np

Arrays = Mapping[str, np.ndarray]

STEP = 0.1  # of the remaining weights, pruned between the mask known and the mask sent


def prune(tensors: Arrays, names: Collection[str], share: float) -> tuple[Arrays, Arrays]:
    """Zero the smallest share of each prunable tensor; nothing pruned is a model without masks.

    Args:
        tensors: name -> float32 array.
        names: the prunable ones.
        share: in [0, 1).

    Returns:
        The pruned tensors, and name -> bool mask, True = kept.
    """
    if not share:
        return tensors, {}
    masks = {
        name: np.abs(tensors[name]) > np.quantile(np.abs(tensors[name]), share) for name in names
    }
    return {
        name: np.where(masks[name], array, np.float32(0)) if name in masks else array
        for name, array in tensors.items()
    }, masks


def masks_before(masks: Arrays) -> dict[str, np.ndarray]:
    """The masks of one pruning step ago: STEP of what they kept is gone now."""
    generator = np.random.default_rng(0)
    before = {}
    for name, mask in masks.items():
        gone = np.flatnonzero(~mask)
        back = min(round(np.count_nonzero(mask) * STEP / (1 - STEP)), gone.size)
        before[name] = mask.copy()
        before[name].reshape(-1)[generator.choice(gone, back, replace=False)] = True
    return before
