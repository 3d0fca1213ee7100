"""A trained model on any pictures: a site's own, the mean of several splits, or across all sites.

What cannot be ranked is counted, never guessed: a query whose person nobody else's camera has in
the gallery is left out of every mean, and a site without a single query that can be found has no
scores.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields

import torch

from fedklpr_flwr.errors import DataError
from fedklpr_flwr.model.scoring import features_of, mean_scores
from fedklpr_flwr.model.site import Pictures, Site
from fedklpr_flwr.reid.camera_features import camera_looks
from fedklpr_flwr.reid.network import ReidNetwork
from fedklpr_flwr.reid.ranking import RankingScores, score_ranking
from fedklpr_flwr.reid.reranking import score_reranked

_FOREIGN = 10_000_000
"""Added to the persons of other sites, so that their numbers never match."""


@dataclass(frozen=True)
class How:
    """How people are searched for; as it stands, as every run scores itself.

    Attributes:
        flip: a picture's feature is the mean of its own and its mirror image's, of unit length.
        rerank: the ranking is re-ranked by k-reciprocal neighbours.
        camera_norm: beside the scores, Rank-1 is told of features normalised by camera.
    """

    flip: bool = False
    rerank: bool = False
    camera_norm: bool = False


PLAIN = How()


@dataclass(frozen=True)
class Evaluation:
    """Scores by name of what was searched; accuracies are fractions.

    Attributes:
        name: whose people were searched for.
        scores: None where there is no query that can be found.
        left_out: queries with no picture of their person by another camera in the gallery.
        rank1_camera: Rank-1 after each camera's mean and spread, as its gallery pictures tell them,
            are taken out of its features; None where that was not asked for. It is no score of
            the standard protocol, in which a query knows nothing of the gallery.
    """

    name: str
    scores: RankingScores | None
    left_out: int = 0
    rank1_camera: float | None = None

    def to_dict(self) -> dict[str, object]:
        """The scores as plain values, null where there are none."""
        scores = asdict(self.scores) if self.scores else dict.fromkeys(_KEYS)
        told = {"name": self.name, **scores, "left_out": self.left_out}
        return told if self.rank1_camera is None else told | {"rank1_camera": self.rank1_camera}


_KEYS = [field.name for field in fields(RankingScores)]


def evaluate_site(network: ReidNetwork, site: Site, how: How = PLAIN) -> list[Evaluation]:
    """Search a site's queries in its own gallery; of joined sites each by itself, then the mean.

    Args:
        network: the model.
        site: the pictures.
        how: with a flip test or re-ranking.

    Returns:
        One evaluation, under the site's name; before it one for each site that it joins.
    """
    if not site.parts:
        return [_evaluation(site.name, site, *_among_own(network, site, how))]
    parts = [found for part in site.parts for found in evaluate_site(network, part, how)]
    mean = mean_scores([part.scores for part in parts])
    left_out = sum(part.left_out for part in parts)
    return [*parts, Evaluation(site.name, mean, left_out, _mean_rank1_camera(parts))]


def evaluate_splits(
    network: ReidNetwork, site_of_split: Callable[[int], Site], splits: int, how: How = PLAIN
) -> Evaluation:
    """The mean over seeded splits, as single-shot sets are reported (ten for VIPeR).

    Persons of a split's test set may have been trained on under another split: this is right
    only for a model that took no training from the set.

    Args:
        network: the model.
        site_of_split: gives the site of split 0, 1, ...
        splits: how many, at least 1.
        how: with a flip test or re-ranking.

    Raises:
        DataError: a split has no query that can be found.
    """
    every = [
        found for n in range(splits) for found in evaluate_site(network, site_of_split(n), how)
    ]
    for number, found in enumerate(every):
        if found.scores is None:
            raise nothing_to_rank(f"split {number} of {found.name}")
    left_out = sum(found.left_out for found in every)
    mean = mean_scores([found.scores for found in every])
    name = f"{every[0].name}, mean of {splits} splits"
    return Evaluation(name, mean, left_out, _mean_rank1_camera(every))


def evaluate_across(
    searchers: Iterable[tuple[ReidNetwork, Site]], sites: Sequence[Site], how: How = PLAIN
) -> list[Evaluation]:
    """Search sites' queries among the gallery pictures of all sites.

    People of other sites are distractors; the same-camera rule holds within the own site.

    Args:
        searchers: each site that searches, and the model it looks at all pictures with, its own
            and the others'; one network after another is held.
        sites: all whose galleries are searched, the searchers' among them.
        how: with a flip test or re-ranking.
    """
    results: list[Evaluation] = []
    galleries: list[torch.Tensor] = []
    before: ReidNetwork | None = None
    for network, site in searchers:
        if network is not before:
            galleries = [_features(network, other.gallery, how) for other in sites]
            before = network
        scores = _among_all(network, site, sites, galleries, how)
        results.append(_evaluation(f"{site.name} among all sites", site, *scores))
    return results


def nothing_to_rank(name: str) -> DataError:
    """What is wrong where no query of a site can be found."""
    return DataError(
        f"{name} has no query with another picture of the same person by another camera in its "
        "gallery: nothing can be ranked; see what fedklpr data check says of its pictures"
    )


def _features(network: ReidNetwork, pictures: Pictures, how: How) -> torch.Tensor:
    own = features_of(network, pictures)
    if not how.flip or not len(pictures):
        return own
    mirrored = Pictures(pictures.pixels.flip(-1), pictures.persons, pictures.cameras)
    return torch.nn.functional.normalize(own + features_of(network, mirrored), dim=1)


Ranked = tuple[RankingScores | None, float | None]
"""Scores, and Rank-1 of features normalised by camera."""


def _among_own(network: ReidNetwork, site: Site, how: How) -> Ranked:
    query, gallery = site.query, site.gallery
    if not len(query) or not len(gallery):
        return None, None
    features = _features(network, query, how), _features(network, gallery, how)
    return _ranked(features, query, (gallery.persons, gallery.cameras), how)


def _ranked(
    features: tuple[torch.Tensor, torch.Tensor],
    query: Pictures,
    gallery: tuple[torch.Tensor, torch.Tensor],
    how: How,
) -> Ranked:
    """Score queries in a gallery.

    Args:
        features: (Q, D) and (G, D), unit rows.
        query: who is searched for.
        gallery: (G,) persons and (G,) cameras.
        how: how it is searched.
    """
    score = score_reranked if how.rerank else score_ranking
    scores = score(features[0], query.persons, query.cameras, features[1], *gallery)
    if not how.camera_norm or scores is None:
        return scores, None
    looks = camera_looks(features[1], gallery[1], "zscore")
    ours, theirs = (
        looks.taken_out(rows, cameras)
        for rows, cameras in zip(features, (query.cameras, gallery[1]), strict=True)
    )
    normalised = score(ours, query.persons, query.cameras, theirs, *gallery)
    return scores, normalised.rank1 if normalised else None


def _mean_rank1_camera(parts: Sequence[Evaluation]) -> float | None:
    found = [part.rank1_camera for part in parts if part.rank1_camera is not None]
    return sum(found) / len(found) if found else None


def _among_all(
    network: ReidNetwork,
    site: Site,
    sites: Sequence[Site],
    galleries: Sequence[torch.Tensor],
    how: How,
) -> Ranked:
    searched = [number for number, other in enumerate(sites) if len(other.gallery)]
    if not searched or not len(site.query):
        return None, None
    persons, cameras = [], []
    for number in searched:
        foreign = 0 if sites[number] is site else number + 1
        persons.append(sites[number].gallery.persons + _FOREIGN * foreign)
        cameras.append(sites[number].gallery.cameras + 1000 * foreign)
    every = torch.cat([galleries[number] for number in searched])
    features = _features(network, site.query, how), every
    return _ranked(features, site.query, (torch.cat(persons), torch.cat(cameras)), how)


def _evaluation(
    name: str, site: Site, scores: RankingScores | None, rank1_camera: float | None
) -> Evaluation:
    found = scores.queries if scores else 0
    return Evaluation(name, scores, len(site.query) - found, rank1_camera)
