"""The gallery pictures nearest to a query, as every benchmark ranks them."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedklpr_flwr.errors import DataError

_JUNK = -1


@dataclass(frozen=True)
class Nearest:
    """One query's ranking, as far as it is wanted.

    Attributes:
        indices: int64 (K,), places in the gallery, the nearest first.
        similarities: float32 (K,), cosines.
        first_right: the place, from 1, of the first picture of the query's person; 0 = none.
        searched: how many gallery pictures were ranked.
    """

    indices: Tensor
    similarities: Tensor
    first_right: int
    searched: int


def findable_queries(
    query_persons: Tensor, query_cameras: Tensor, gallery_persons: Tensor, gallery_cameras: Tensor
) -> list[int]:
    """Queries whose person another camera has in the gallery: those that can be found at all.

    Args:
        query_persons: int64 (Q,); -1 = unknown, which nobody can find.
        query_cameras: int64 (Q,).
        gallery_persons: int64 (G,).
        gallery_cameras: int64 (G,).
    """
    found = []
    for number, (person, camera) in enumerate(
        zip(query_persons.tolist(), query_cameras.tolist(), strict=True)
    ):
        right = (gallery_persons == person) & (gallery_cameras != camera)
        if person != _JUNK and bool(right.any()):
            found.append(number)
    return found


def nearest_pictures(
    feature: Tensor,
    person: int,
    camera: int,
    gallery_features: Tensor,
    gallery_persons: Tensor,
    gallery_cameras: Tensor,
    *,
    count: int,
) -> Nearest:
    """Rank the gallery for one query and keep the first few.

    What `score_ranking` leaves out is left out here: pictures of unknown persons (-1), and those of
    the query's person by the query's own camera. Equal similarities rank by gallery index.

    Args:
        feature: float32 (D,), a unit row.
        person: the query's.
        camera: the query's.
        gallery_features: float32 (G,D), unit rows.
        gallery_persons: int64 (G,).
        gallery_cameras: int64 (G,).
        count: pictures wanted, at least 1; fewer come from a smaller gallery.
    """
    same = gallery_persons == person
    kept = torch.nonzero(
        (gallery_persons != _JUNK) & ~(same & (gallery_cameras == camera))
    ).flatten()
    similarities = gallery_features[kept] @ feature
    order = torch.argsort(similarities, descending=True, stable=True)
    hits = torch.nonzero(same[kept[order]]).flatten()
    return Nearest(
        indices=kept[order[:count]],
        similarities=similarities[order[:count]],
        first_right=int(hits[0]) + 1 if len(hits) else 0,
        searched=len(kept),
    )


def closest_rows(
    features: NDArray[np.float32], query: NDArray[np.float32], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Find the rows most similar to a query in one pass over the features, and sort no more.

    Args:
        features: (N,D) float32, unit rows; may be memory-mapped.
        query: (D,) float32, a unit row.
        count: rows wanted, at least 1; fewer come of fewer.

    Returns:
        (K,) places, the most similar first, equal similarities by place, and (K,) cosines.

    Raises:
        DataError: there are no rows, or rows and query are of different models.
    """
    if not len(features):
        raise DataError("there is nothing to search in: the gallery holds no picture")
    if features.shape[1] != len(query):
        raise DataError(
            f"a query of {len(query)} dimensions and a gallery of {features.shape[1]} are of two "
            "models: draw the features of both with one"
        )
    similarities = features @ query
    count = min(count, len(similarities))
    # Of values equal to the last one wanted, a partition keeps any: the border is found first.
    border = np.partition(similarities, -count)[-count]
    near = np.flatnonzero(similarities >= border)
    order = near[np.argsort(-similarities[near], kind="stable")][:count]
    return order, similarities[order]
