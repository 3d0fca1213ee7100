"""The k-reciprocal Jaccard distance as it was published: dense, N x N, a loop over pictures.

Written anew after the description in Zhong et al., "Re-ranking person re-identification with
k-reciprocal encoding", 2017, and vectorised within a picture as the authors of SpCL and
cluster-contrast did in theirs: per-row set operations, dense rows of V, an inverted index. One
difference is in its favour: neighbours come from a matrix product and topk, which takes a fifth of
the time of the flat index that they search.
"""

import numpy as np
import torch

Array = np.ndarray


def dense_jaccard(features: torch.Tensor, *, k1: int, k2: int) -> Array:
    """All Jaccard distances.

    Args:
        features: (N,D) float32, unit rows.
        k1: neighbours among which reciprocity is asked.
        k2: neighbours over which rows of V are averaged.

    Returns:
        (N,N) float32, in [0,1].
    """
    nearest = _nearest(features, k1)
    # Rounding half to even, and the picture itself on top, are part of the published code.
    wide = [_reciprocal(nearest, picture, k1) for picture in range(len(features))]
    narrow = [_reciprocal(nearest, picture, round(k1 / 2) + 1) for picture in range(len(features))]
    mass = np.zeros((len(features), len(features)), np.float32)
    for picture in range(len(features)):
        members = _expanded(wide[picture], narrow)
        squared = 2 - 2 * (features[members] @ features[picture])
        mass[picture, members] = torch.softmax(-squared, dim=0).numpy()
    if k2 > 1:
        mass = np.stack([mass[nearest[picture, :k2]].mean(axis=0) for picture in range(len(mass))])
    return _distances(mass)


def _nearest(features: torch.Tensor, k: int) -> Array:
    blocks = [
        (features[start : start + 1000] @ features.T).topk(min(k, len(features)), dim=1).indices
        for start in range(0, len(features), 1000)
    ]
    nearest: Array = torch.cat(blocks).numpy()
    return nearest


def _reciprocal(nearest: Array, picture: int, k: int) -> Array:
    """The neighbours of a picture that have it among theirs."""
    candidates = nearest[picture, :k]
    back = nearest[candidates, :k]
    found: Array = candidates[(back == picture).any(axis=1)]
    return found


def _expanded(members: Array, narrow: list[Array]) -> Array:
    """The members, and those of each member's narrow list that mostly lies among them."""
    found = members
    for candidate in members:
        others = narrow[candidate]
        shared = np.intersect1d(others, members)
        if len(shared) > 2 / 3 * len(others):
            found = np.append(found, others)
    return np.unique(found)


def _distances(mass: Array) -> Array:
    """1 - sum min / sum max of all pairs of rows, each row of mass one."""
    holders = [np.flatnonzero(mass[:, column]) for column in range(len(mass))]
    distances = np.empty_like(mass)
    for picture, row in enumerate(mass):
        shared = np.zeros(len(mass), np.float32)
        for column in np.flatnonzero(row):
            there = holders[column]
            shared[there] += np.minimum(row[column], mass[there, column])
        distances[picture] = 1 - shared / (2 - shared)
    np.maximum(distances, 0, out=distances)
    return distances
