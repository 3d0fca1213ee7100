"""Queries with the gallery pictures nearest to them, by the initial and by the trained model."""

from dataclasses import dataclass

import numpy as np
import torch

from fedklpr_flwr.model.scoring import features_of
from fedklpr_flwr.model.site import Pictures, Site
from fedklpr_flwr.reid.nearest import Nearest, findable_queries, nearest_pictures
from fedklpr_flwr.reid.network import ReidNetwork
from fedklpr_flwr.system.randomness import named_generator

LENGTH = 10
"""Pictures in a list."""


@dataclass(frozen=True)
class Found:
    """A gallery picture in a list.

    Attributes:
        pixels: uint8 (H, W, 3).
        camera: which took it.
        right: whether it shows the query's person.
        similarity: the cosine to the query.
    """

    pixels: np.ndarray
    camera: int
    right: bool
    similarity: float


@dataclass(frozen=True)
class RankedList:
    """What one model finds for one query.

    Attributes:
        found: the nearest pictures, the nearest first.
        first_right: the place, from 1, of the first right one, which may be beyond the list.
        searched: how many pictures were ranked.
    """

    found: tuple[Found, ...]
    first_right: int
    searched: int


@dataclass(frozen=True)
class RankedQuery:
    """A query, and what was found for it.

    Attributes:
        pixels: uint8 (H, W, 3).
        camera: which took it.
        before: by the initial model; None where there is none.
        after: by the model after the last merge.
    """

    pixels: np.ndarray
    camera: int
    before: RankedList | None
    after: RankedList


def ranked_queries(
    before: ReidNetwork | None, after: ReidNetwork, site: Site, *, count: int, seed: int
) -> tuple[RankedQuery, ...]:
    """Some of a site's queries, drawn by a seed among those that can be found.

    Args:
        before: the initial model; None where it is not to be had.
        after: the site's own model.
        site: its pictures.
        count: queries wanted; fewer come from a smaller site.
        seed: the same seed draws the same queries of a site.
    """
    query, gallery = site.query, site.gallery
    able = findable_queries(query.persons, query.cameras, gallery.persons, gallery.cameras)
    if not able:
        return ()
    drawn = torch.randperm(len(able), generator=named_generator(seed, site.name, "ranked lists"))
    chosen = query.subset(torch.tensor(sorted(able[n] for n in drawn[:count].tolist())))
    trained = _lists(after, chosen, gallery)
    first = _lists(before, chosen, gallery) if before is not None else [None] * len(chosen)
    return tuple(
        RankedQuery(
            pixels=_pixels(chosen, n),
            camera=int(chosen.cameras[n]),
            before=first[n],
            after=trained[n],
        )
        for n in range(len(chosen))
    )


def _lists(network: ReidNetwork, queries: Pictures, gallery: Pictures) -> list[RankedList]:
    looked, among = features_of(network, queries), features_of(network, gallery)
    lists = []
    for n in range(len(queries)):
        person = int(queries.persons[n])
        nearest = nearest_pictures(
            looked[n],
            person,
            int(queries.cameras[n]),
            among,
            gallery.persons,
            gallery.cameras,
            count=LENGTH,
        )
        lists.append(_list(nearest, gallery, person))
    return lists


def _list(nearest: Nearest, gallery: Pictures, person: int) -> RankedList:
    found = tuple(
        Found(
            pixels=_pixels(gallery, place),
            camera=int(gallery.cameras[place]),
            right=int(gallery.persons[place]) == person,
            similarity=float(similarity),
        )
        for place, similarity in zip(
            nearest.indices.tolist(), nearest.similarities.tolist(), strict=True
        )
    )
    return RankedList(found, nearest.first_right, nearest.searched)


def _pixels(pictures: Pictures, place: int) -> np.ndarray:
    return pictures.pixels[place].permute(1, 2, 0).contiguous().numpy()
