"""How well a model finds a site's queries in its gallery: what a round's row tells."""

from collections.abc import Sequence
from dataclasses import asdict

import torch
from torch import nn

from fedklpr_flwr.data.loaders import image_loader
from fedklpr_flwr.model.site import Pictures, Site
from fedklpr_flwr.reid.features import extract_features
from fedklpr_flwr.reid.network import ReidNetwork
from fedklpr_flwr.reid.ranking import RankingScores, score_ranking

_EVALUATION_BATCH = 128


def evaluate_personal_model(network: ReidNetwork, site: Site) -> RankingScores | None:
    """Search the site's queries in its gallery; of joined sites each in its own, then the mean.

    Returns:
        The scores, or None where the site has no query or no gallery.
    """
    if site.parts:
        return mean_scores([evaluate_personal_model(network, part) for part in site.parts])
    if not len(site.query) or not len(site.gallery):
        return None
    query, gallery = features_of(network, site.query), features_of(network, site.gallery)
    return score_ranking(
        query,
        site.query.persons,
        site.query.cameras,
        gallery,
        site.gallery.persons,
        site.gallery.cameras,
    )


def mean_scores(parts: Sequence[RankingScores | None]) -> RankingScores | None:
    """The mean of several test sets' scores, each counting the same; None where there is none."""
    found = [asdict(scores) for scores in parts if scores is not None]
    if not found:
        return None
    means = {key: sum(scores[key] for scores in found) / len(found) for key in found[0]}
    return RankingScores(**{**means, "queries": sum(scores["queries"] for scores in found)})


def features_of(network: nn.Module, pictures: Pictures) -> torch.Tensor:
    """Unit features (N, D) of pictures as evaluation sees them."""
    return extract_features(network, image_loader(pictures.pixels, _EVALUATION_BATCH))
