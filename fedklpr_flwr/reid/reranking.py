"""Re-ranking by k-reciprocal neighbours: it also counts whose nearest pictures are the same."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedklpr_flwr.reid.features import check_finite
from fedklpr_flwr.reid.jaccard import neighbour_mass
from fedklpr_flwr.reid.neighbours import nearest_neighbours
from fedklpr_flwr.reid.ranking import RankingScores, rows_in_block, score_blocks

if TYPE_CHECKING:
    from scipy.sparse import csc_matrix, csr_matrix

K1, K2, OWN_WEIGHT = 20, 6, 0.3
"""As published."""

_JUNK = -1


def score_reranked(
    query_features: Tensor,
    query_persons: Tensor,
    query_cameras: Tensor,
    gallery_features: Tensor,
    gallery_persons: Tensor,
    gallery_cameras: Tensor,
) -> RankingScores | None:
    """Score the ranking by re-ranked distances; `score_ranking` otherwise.

    All queries and the whole gallery are one set of neighbours, so a score depends on who else is
    searched for: it is not comparable with one that was not re-ranked. Junk is nobody's neighbour.

    Args:
        query_features: (Q,D) float32, rows of unit length.
        query_persons: (Q,) int64.
        query_cameras: (Q,) int64.
        gallery_features: (G,D) float32, rows of unit length.
        gallery_persons: (G,) int64, -1 is junk.
        gallery_cameras: (G,) int64.

    Returns:
        The scores, or None where no query has a right picture left.

    Raises:
        BrokenModel: a feature is infinite or no number.
    """
    for features in (query_features, gallery_features):
        check_finite(features)
    kept = gallery_persons != _JUNK
    found = Reranked(query_features.cpu(), gallery_features[kept.to(gallery_features.device)].cpu())
    return score_blocks(
        lambda block: -found.distances(block),
        (query_persons, query_cameras),
        (gallery_persons[kept], gallery_cameras[kept]),
    )


class Reranked:
    """Re-ranked distances of queries to a gallery, made a block of queries at a time.

        d*(q,g) = (1 - w) d_J(q,g) + w d(q,g) / max_j d(q,j),  d(i,j) = |f_i - f_j|^2

    d_J is the Jaccard distance of both pictures' expanded k-reciprocal neighbours, each weighed by
    exp(-d(i,j) / max_j d(i,j)) and averaged over the k2 nearest. w = 1 is the plain ranking.

    Args:
        query: (Q,D) float32, rows of unit length.
        gallery: (G,D) float32, rows of unit length.
        k1: neighbours among which reciprocity is asked, the picture itself not counted.
        k2: pictures over which weights are averaged, the picture itself counted.
        weight: w, in [0,1].

    Memory grows as N k, not N^2.

    Source: Zhong et al., "Re-ranking person re-identification with k-reciprocal encoding", 2017,
        and its code, which divides each row of distances by its largest.
    """

    def __init__(
        self,
        query: Tensor,
        gallery: Tensor,
        *,
        k1: int = K1,
        k2: int = K2,
        weight: float = OWN_WEIGHT,
    ) -> None:
        self._query, self._gallery, self._weight = query, gallery, weight
        every = torch.cat([query, gallery])
        self._farthest = _largest_distances(every)
        nearest = nearest_neighbours(every, k1 + 1).numpy()
        half = round(k1 / 2) + 1
        mass = neighbour_mass(every, nearest, half=half, k2=k2, scale=self._farthest)
        self._of_queries: csr_matrix = mass[: len(query)].tocsr()
        self._of_gallery: csc_matrix = mass[len(query) :].tocsc()

    def distances(self, block: slice) -> NDArray[np.float32]:
        """The distances of some queries to the whole gallery: (R,G), in [0,1]."""
        cosine = (self._query[block] @ self._gallery.T).numpy()
        farthest = self._farthest[: len(self._query)][block, None]
        own = np.maximum(2 - 2 * cosine, 0) / farthest
        shared = _shared_mass(self._of_queries[block], self._of_gallery)
        jaccard = 1 - shared / (2 - shared)
        found: NDArray[np.float32] = (1 - self._weight) * jaccard + self._weight * own
        return found.astype(np.float32, copy=False)


def _largest_distances(features: Tensor) -> NDArray[np.float64]:
    """Each row's largest squared distance to any: (N,), never 0."""
    rows = rows_in_block(len(features))
    parts = [
        (features[start : start + rows] @ features.T).amin(dim=1)
        for start in range(0, len(features), rows)
    ]
    lowest = torch.cat(parts) if parts else torch.empty(0)
    # Where all pictures are one, all distances are 0 whatever they are divided by.
    largest: NDArray[np.float64] = np.maximum(2 - 2 * lowest.double().numpy(), 1e-12)
    return largest


def _shared_mass(queries: "csr_matrix", gallery: "csc_matrix") -> NDArray[np.float64]:
    """Sum min(V_qc, V_gc) over c for each query and gallery picture: (R,G)."""
    shape = queries.shape[0], gallery.shape[0]
    first = gallery.indptr[queries.indices].astype(np.int64)
    met = gallery.indptr[queries.indices + 1] - first
    ends = np.cumsum(met)
    if not len(ends):
        return np.zeros(shape)
    entries = np.arange(ends[-1]) + np.repeat(first - ends + met, met)
    smaller = np.minimum(gallery.data[entries], np.repeat(queries.data, met))
    row = np.repeat(np.arange(shape[0]), np.diff(queries.indptr))
    cell = gallery.indices[entries] + np.repeat(row * shape[1], met)
    sums = np.bincount(cell, smaller, minlength=shape[0] * shape[1]).reshape(shape)
    return sums.astype(np.float64, copy=False)
