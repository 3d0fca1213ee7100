"""A trained model on any pictures: one split, the mean of several, or across all sites."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch

from fedklpr_flwr.errors import DataError
from fedklpr_flwr.federation.personal_model import evaluate_personal_model, features_of
from fedklpr_flwr.federation.site import Site
from fedklpr_flwr.reid.network import ReidNetwork
from fedklpr_flwr.reid.ranking import RankingScores, score_ranking

_FOREIGN = 10_000_000
"""Added to the persons of other sites, so that their numbers never match."""


@dataclass(frozen=True)
class Evaluation:
    """Scores by name of what was searched; accuracies are fractions."""

    name: str
    scores: RankingScores

    def to_dict(self) -> dict[str, object]:
        """The scores as plain values."""
        return {"name": self.name, **asdict(self.scores)}


def evaluate_site(network: ReidNetwork, site: Site) -> Evaluation:
    """Search a site's queries in its own gallery.

    Raises:
        DataError: there is no query with a match in the gallery.
    """
    return Evaluation(site.name, _found(evaluate_personal_model(network, site), site.name))


def evaluate_splits(
    network: ReidNetwork, site_of_split: Callable[[int], Site], splits: int
) -> Evaluation:
    """The mean over seeded splits, as single-shot sets are reported (ten for VIPeR).

    Persons of a split's test set may have been trained on under another split: this is right
    only for a model that took no training from the set.

    Args:
        network: the model.
        site_of_split: gives the site of split 0, 1, ...
        splits: how many.
    """
    every = [evaluate_site(network, site_of_split(number)).scores for number in range(splits)]
    keys = ("rank1", "rank5", "rank10", "map", "minp")
    means = {key: sum(getattr(scores, key) for scores in every) / splits for key in keys}
    queries = sum(scores.queries for scores in every)
    return Evaluation(f"mean of {splits} splits", RankingScores(**means, queries=queries))


def evaluate_across(network: ReidNetwork, sites: Sequence[Site]) -> list[Evaluation]:
    """Search each site's queries among the gallery pictures of all sites.

    People of other sites are distractors; the same-camera rule holds within the own site.
    """
    galleries = [features_of(network, site.gallery) for site in sites]
    results = []
    for number, site in enumerate(sites):
        persons, cameras = [], []
        for other, foreign in enumerate(sites):
            offset = 0 if other == number else _FOREIGN * (other + 1)
            persons.append(foreign.gallery.persons + offset)
            cameras.append(foreign.gallery.cameras + (0 if other == number else 1000 * (other + 1)))
        scores = score_ranking(
            features_of(network, site.query),
            site.query.persons,
            site.query.cameras,
            torch.cat(galleries),
            torch.cat(persons),
            torch.cat(cameras),
        )
        results.append(Evaluation(f"{site.name} among all sites", _found(scores, site.name)))
    return results


def _found(scores: RankingScores | None, name: str) -> RankingScores:
    if scores is None:
        raise DataError(
            f"{name} has no query with another picture of the same person by another camera in its "
            "gallery: nothing can be ranked"
        )
    return scores
