"""Bottom-up clustering: every picture starts alone, and each step merges the nearest clusters."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedklpr_flwr.errors import SettingsError
from fedklpr_flwr.reid.cluster_memory import ClusterMemory

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]

_BLOCK = 4_000_000  # distances held at once
_REPULSION = 10.0
_STEP = 0.5


def merges_a_step(pictures: int, *, persons: int, steps: int, share: float) -> int:
    """Give how many merges a step makes.

    Args:
        pictures: N >= 0, the number of clusters at the start.
        persons: the number of persons where it is known (FedUReID's personalised clustering): the
            steps then end at about that many clusters, floor((N - persons) / steps) merges each;
            0 = not known.
        steps: how many steps there will be, >= 1.
        share: of N, the merges of a step where persons are not known; BUC's 0.05.

    Returns:
        At least 0.

    Source: FedUReID's code (its get_merge_percent), and BUC's merge_percent.
    """
    if persons:
        return max(0, (pictures - persons) // steps)
    return int(pictures * share)


def clusters_after(pictures: int, merges: int, steps: int) -> int:
    """Give how many clusters are left after so many steps; the last `merges` stay apart, as in BUC.

    Args:
        pictures: N, the number at the start.
        merges: of each step.
        steps: how many steps have been made, >= 0.
    """
    if merges == 0:
        return pictures
    return max(pictures - merges * steps, min(merges, pictures), min(1, pictures))


def merge_clusters(
    features: Tensor, labels: Tensor, merges: int, *, size_weight: float = 0.003
) -> Tensor:
    """Merge the pairs of clusters that are nearest and smallest.

        d(A,B) = min over a in A, b in B of |f_a - f_b|^2 + size_weight (|A| + |B|)

    Pairs go in ascending order of d, sizes counted before the first merge; a pair that is one
    cluster already is passed over. Equal distances go in the order of the pictures.

    Args:
        features: (N,D) float32, rows of unit length.
        labels: (N,) int64, clusters from 0, no outliers.
        merges: how many clusters fewer there shall be; 0 changes nothing.
        size_weight: what a picture more costs a cluster; 0 merges by distance alone.

    Returns:
        (N,) int64, clusters 0, 1, ... in the order of the smallest old number in each. Memory
        grows as N, not as N^2.

    Raises:
        SettingsError: there are not that many merges to make.

    Source: Lin et al., "A bottom-up clustering approach to unsupervised person
        re-identification", 2019 (BUC), as FedUReID runs it.
    """
    clusters = len(torch.unique(labels))
    if not 0 <= merges <= max(clusters - 1, 0):
        raise SettingsError(
            f"{clusters} clusters can be merged at most {clusters - 1} times, {merges} were asked "
            "for: lower bottom_up.share"
        )
    if not merges:
        return _numbered(labels)
    of_picture = labels.numpy(force=True)
    _, inverse, sizes = np.unique(of_picture, return_inverse=True, return_counts=True)
    joined = _Forest(int(of_picture.max()) + 1)
    for first, second in _lightest_edges(
        features.numpy(force=True), of_picture, sizes[inverse], merges, size_weight
    ):
        joined.join(first, second)
    roots = torch.tensor([joined.root(int(label)) for label in of_picture])
    return _numbered(roots)


def repelled_memory(
    clusters: int, feature_dim: int, *, device: torch.device | None = None
) -> ClusterMemory:
    """Make the memory of BUC's repelled loss, CE(10 V f): all zero, V_y <- normalise((V_y + f)/2).

    Args:
        clusters: C >= 1.
        feature_dim: D.
        device: where the memory lies; None = on the host.
    """
    zeros = torch.zeros(clusters, feature_dim, device=device)
    return ClusterMemory(zeros, temperature=1 / _REPULSION, momentum=_STEP)


def _numbered(labels: Tensor) -> Tensor:
    """Number the labels that occur 0, 1, ... in their order."""
    numbers: Tensor = torch.unique(labels, return_inverse=True)[1]
    return numbers


class _Forest:
    """Which clusters have become one; the smallest number stands for all."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def root(self, node: int) -> int:
        """The number that stands for a cluster."""
        while self._parent[node] != node:
            self._parent[node] = self._parent[self._parent[node]]
            node = self._parent[node]
        return node

    def join(self, first: int, second: int) -> bool:
        """Make two clusters one; False where they are already."""
        low, high = sorted((self.root(first), self.root(second)))
        self._parent[high] = low
        return low != high


def _lightest_edges(
    features: Floats, labels: Indices, sizes: Indices, merges: int, size_weight: float
) -> list[tuple[int, int]]:
    """Find the pairs of clusters that the first `merges` merges join, from blocks of distances.

    Of every block only those pairs are kept that would still be among the merges: a pair that
    closes a circle of lighter ones, or that comes after the last merge, never comes back.
    """
    count = len(features)
    squares = np.einsum("nd,nd->n", features, features)
    weights, pairs = np.empty(0, np.float32), np.empty((0, 2), np.int64)
    limit = np.float32(np.inf)
    rows = max(1, _BLOCK // max(count, 1))
    for start in range(0, count, rows):
        stop = min(start + rows, count)
        block = squares[start:stop, None] + squares[None] - 2 * features[start:stop] @ features.T
        np.maximum(block, 0, out=block)
        block += np.float32(size_weight) * (sizes[start:stop, None] + sizes[None])
        block[labels[start:stop, None] == labels[None]] = np.inf
        block[np.arange(count)[None] <= np.arange(start, stop)[:, None]] = np.inf
        row, column = np.nonzero((block < np.inf) & (block <= limit))
        weights = np.concatenate([weights, block[row, column]])
        pairs = np.concatenate([pairs, np.stack([labels[start + row], labels[column]], axis=1)])
        weights, pairs = _spanning(weights, pairs, merges, int(np.max(labels)) + 1)
        limit = weights[-1] if len(weights) == merges else limit
    return [(int(first), int(second)) for first, second in pairs]


def _spanning(
    weights: Floats, pairs: Indices, merges: int, clusters: int
) -> tuple[Floats, Indices]:
    """Keep the pairs that join something new, lightest first, at most `merges` (Kruskal)."""
    order = np.argsort(weights, kind="stable")
    forest, kept = _Forest(clusters), list[int]()
    for edge in order.tolist():
        if len(kept) == merges:
            break
        if forest.join(int(pairs[edge, 0]), int(pairs[edge, 1])):
            kept.append(edge)
    return weights[kept], pairs[kept]
