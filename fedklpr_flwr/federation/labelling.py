"""A site's pictures get their labels for one epoch: clusters, or the persons themselves."""

from collections.abc import Callable
from typing import Literal, cast

import torch

from fedklpr_flwr.federation.method import Settings
from fedklpr_flwr.federation.site import Site
from fedklpr_flwr.reid.pseudo_labels import PseudoLabels, cluster_people, identity_labels


def picture_copies(site: Site, settings: Settings) -> int:
    """How often each picture counts, so that small sets form clusters (FedCAPR's IDE).

        copies = max(1, round(target / (pictures / persons)))

    The number of persons is a constant the operator knows (`ide.persons`), or is counted where
    labels are known; where neither is so, or with target 0, every picture counts once.
    """
    persons = settings.ide.persons or site.known_persons
    if not persons or not settings.ide.target or not len(site.train):
        return 1
    return max(1, round(settings.ide.target * persons / len(site.train)))


def label_site(site: Site, features: torch.Tensor, copies: int, settings: Settings) -> PseudoLabels:
    """Labels of the training pictures by `labels.source`.

    Args:
        site: the client's pictures.
        features: unit rows (N, D) of the training pictures.
        copies: how often each picture counts.
        settings: the run's settings.
    """
    return LABEL_SOURCES[settings.labels.source](site, features, copies, settings)


def _clusters(site: Site, features: torch.Tensor, copies: int, settings: Settings) -> PseudoLabels:
    chosen = settings.labels
    return cluster_people(
        features,
        k1=chosen.k1,
        k2=chosen.k2,
        eps=chosen.eps,
        min_samples=chosen.min_samples,
        copies=copies,
        jaccard=cast(Literal["distinct", "copies"], settings.ide.jaccard),
    )


def _identities(
    site: Site, features: torch.Tensor, copies: int, settings: Settings
) -> PseudoLabels:
    return identity_labels(site.train.persons)


LABEL_SOURCES: dict[str, Callable[[Site, torch.Tensor, int, Settings], PseudoLabels]] = {
    "clusters": _clusters,
    "identities": _identities,
}
