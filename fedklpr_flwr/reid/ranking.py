"""How well a gallery is ranked for each query: CMC, mAP and mINP, exactly and in little memory."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedklpr_flwr.reid.features import check_finite

Indices = NDArray[np.int64]

_JUNK = -1
_BLOCK = 4_000_000  # similarities held at once: 16 MB


@dataclass(frozen=True)
class RankingScores:
    """Retrieval scores, each the mean over the valid queries, as a fraction.

    Attributes:
        rank1: share of queries whose first gallery picture is right (CMC at 1).
        rank5: share with a right one among the first 5.
        rank10: share with a right one among the first 10.
        map: mean average precision; a query's is the mean of the precisions at its hits.
        minp: mean inverse negative penalty; a query's is hits / place of its last hit.
        queries: how many queries are valid, that is, have a right picture to be found.
    """

    rank1: float
    rank5: float
    rank10: float
    map: float
    minp: float
    queries: int

    @property
    def accuracies(self) -> dict[str, float]:
        """All but the number of queries, by name."""
        return {name: value for name, value in asdict(self).items() if name != "queries"}


def score_ranking(
    query_features: Tensor,
    query_persons: Tensor,
    query_cameras: Tensor,
    gallery_features: Tensor,
    gallery_persons: Tensor,
    gallery_cameras: Tensor,
    *,
    same_camera_rule: bool = True,
) -> RankingScores | None:
    """Rank the gallery for every query by similarity and score the places of the right pictures.

    Similarity is the dot product (the cosine, for unit rows); equal similarities are ranked by
    gallery index.

    Args:
        query_features: (Q,D) float32.
        query_persons: (Q,) int64.
        query_cameras: (Q,) int64.
        gallery_features: (G,D) float32.
        gallery_persons: (G,) int64; -1 is junk, which is taken out of every ranking. A distractor
            carries a number that no query has (Market-1501: 0): it is ranked and always wrong.
        gallery_cameras: (G,) int64.
        same_camera_rule: takes the pictures of the query's person by the query's camera out of its
            ranking, as every benchmark does.

    Returns:
        The scores, or None where no query has a right picture left.

    Raises:
        BrokenModel: a feature is infinite or no number.

    Source: Zheng et al., "Scalable person re-identification", 2015 (CMC, mAP); Ye et al., "Deep
        learning for person re-identification", 2021 (mINP).
    """
    for features in (query_features, gallery_features):
        check_finite(features)
    rows = min(rows_in_block(len(gallery_features)), len(query_features))
    # One room for all blocks: made anew each time, they would leave the heap in pieces.
    room = query_features.new_empty(rows, len(gallery_features))
    return score_blocks(
        lambda block: _products(query_features[block], gallery_features, room),
        (query_persons, query_cameras),
        (gallery_persons, gallery_cameras),
        same_camera_rule=same_camera_rule,
    )


def rows_in_block(gallery: int) -> int:
    """How many queries are looked at at once, so that their similarities are few enough."""
    return max(1, _BLOCK // max(1, gallery))


def score_blocks(
    similarities_of: Callable[[slice], NDArray[np.float32]],
    queries: tuple[Tensor, Tensor],
    gallery: tuple[Tensor, Tensor],
    *,
    same_camera_rule: bool = True,
) -> RankingScores | None:
    """Score a ranking by whatever similarity, a block of queries after the other.

    Args:
        similarities_of: gives (R,G) for `rows_in_block` queries or fewer; it may be written to.
        queries: persons and cameras, (Q,) int64 each.
        gallery: persons and cameras, (G,) int64 each; see `score_ranking`.
        same_camera_rule: see `score_ranking`.

    Returns:
        The scores, or None where no query has a right picture left.
    """
    persons, cameras = (known.numpy(force=True) for known in queries)
    known = Gallery.of(*(known.numpy(force=True) for known in gallery))
    if not len(known.persons):
        return None
    rows = rows_in_block(len(known.persons))
    blocks = [np.empty((0, 3))]
    for start in range(0, len(persons), rows):
        block = slice(start, start + rows)
        scores = score_similarities(
            similarities_of(block),
            persons[block],
            cameras[block],
            known,
            same_camera_rule=same_camera_rule,
        )
        blocks.append(scores)
    return _mean_scores(np.concatenate(blocks))


@dataclass(frozen=True)
class Gallery:
    """What is known of the pictures that are searched.

    Attributes:
        persons: (G,) int64, -1 for junk.
        cameras: (G,) int64.
        by_person: (G,) int64, the pictures in the order of their persons.
        junk: (G,) bool.
    """

    persons: Indices
    cameras: Indices
    by_person: Indices
    junk: NDArray[np.bool_]

    @classmethod
    def of(cls, persons: Indices, cameras: Indices) -> "Gallery":
        """Order the pictures by person, once for all queries."""
        return cls(persons, cameras, np.argsort(persons, kind="stable"), persons == _JUNK)


def score_similarities(
    similarities: NDArray[np.float32],
    persons: Indices,
    cameras: Indices,
    gallery: Gallery,
    *,
    same_camera_rule: bool = True,
) -> NDArray[np.float64]:
    """Score each query by its similarities to the whole gallery.

    Args:
        similarities: (Q,G) float32; what is out of a ranking becomes -inf in it.
        persons: (Q,) int64.
        cameras: (Q,) int64.
        gallery: the G pictures.
        same_camera_rule: see `score_ranking`.

    Returns:
        (V,3) float64, a row for each valid query, in their order: the place of its first right
        picture, its average precision, its inverse negative penalty.
    """
    row, column = _same_person(persons, gallery)
    removed = same_camera_rule & (cameras[row] == gallery.cameras[column])
    similarities[row[removed], column[removed]] = -np.inf
    if gallery.junk.any():
        similarities[:, gallery.junk] = -np.inf
    row, column = row[~removed], column[~removed]
    return _scores_of_rows(row, _places(similarities, row, column))


def _products(left: Tensor, right: Tensor, room: Tensor) -> NDArray[np.float32]:
    """Multiply each row of one matrix with each of the other, in the first rows of a room."""
    with torch.no_grad():
        products = torch.matmul(left, right.T, out=room[: len(left)])
    return products.numpy(force=True)


def _same_person(persons: Indices, gallery: Gallery) -> tuple[Indices, Indices]:
    """List every (query, gallery picture) of one person, junk apart, queries ascending."""
    ordered = gallery.persons[gallery.by_person]
    first = np.searchsorted(ordered, persons, side="left")
    sizes = np.searchsorted(ordered, persons, side="right") - first
    sizes[persons == _JUNK] = 0
    row = np.repeat(np.arange(len(persons)), sizes)
    within = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return row, gallery.by_person[first[row] + within]


def _places(similarities: NDArray[np.float32], row: Indices, column: Indices) -> Indices:
    """Find the places, from 1, that some cells take in their rows' descending order.

    Only the values are sorted, not the indices: a place is one more than the number of larger
    values, which a binary search tells, and of equal values further left, which are rarely any.

    Args:
        similarities: (R,G) float32; -inf is out of the ranking.
        row: (M,) int64, ascending.
        column: (M,) int64.

    Returns:
        (M,) int64, 1 to G.
    """
    count = similarities.shape[1]
    value = similarities[row, column]
    place = np.empty(len(row), dtype=np.int64)
    shared = np.empty(len(row), dtype=np.bool_)
    ends = np.searchsorted(row, np.arange(len(similarities) + 1))
    for i in np.flatnonzero(np.diff(ends)).tolist():
        cells = slice(ends[i], ends[i + 1])
        ascending = np.sort(similarities[i])  # one row at a time stays in the cache
        not_larger = ascending.searchsorted(value[cells], side="right")
        place[cells] = count - not_larger + 1
        shared[cells] = ascending[not_larger - 2] == value[cells]  # the next smaller is no smaller
    for tie in np.flatnonzero(shared):
        place[tie] += np.count_nonzero(similarities[row[tie], : column[tie]] == value[tie])
    return place


def _scores_of_rows(row: Indices, place: Indices) -> NDArray[np.float64]:
    """Score each row that has a hit: (V,3), the first place, average precision, last penalty."""
    order = np.lexsort((place, row))
    row, place = row[order], place[order]
    _, first, hits = np.unique(row, return_index=True, return_counts=True)
    nth_hit = np.arange(len(row)) - np.repeat(first, hits) + 1
    if not len(row):
        return np.empty((0, 3))
    precision = np.add.reduceat(nth_hit / place, first) / hits
    return np.stack([place[first], precision, hits / place[first + hits - 1]], axis=1)


def _mean_scores(scores: NDArray[np.float64]) -> RankingScores | None:
    """Average the valid queries' scores; there are none without a valid query."""
    if not len(scores):
        return None
    first_place = scores[:, 0]
    rank1, rank5, rank10 = (float((first_place <= k).mean()) for k in (1, 5, 10))
    return RankingScores(
        rank1=rank1,
        rank5=rank5,
        rank10=rank10,
        map=float(scores[:, 1].mean()),
        minp=float(scores[:, 2].mean()),
        queries=len(scores),
    )
