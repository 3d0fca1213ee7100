"""What grows faster than the pictures: clustering and ranking, timed on made-up features."""

import time
from collections.abc import Callable

import torch

from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.reid.pseudo_labels import cluster_people
from fedklpr_flwr.reid.ranking import score_ranking

MOST_CLUSTERED, MOST_QUERIES, MOST_SEARCHED = 3000, 200, 2000


def made_up_features(count: int, dim: int) -> torch.Tensor:
    """Unit features (N, D) of persons with about seventeen pictures each."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(count // 17 + 1, dim, generator=generator)
    persons = torch.arange(count) % len(centres)
    features = centres[persons] + torch.randn(count, dim, generator=generator)
    return torch.nn.functional.normalize(features, dim=1)


def clustering_seconds(features: torch.Tensor, settings: Settings) -> float:
    """Seconds to cluster these pictures once; 0 where labels are given.

    Args:
        features: (N, D) float32, unit rows.
        settings: the run's settings.
    """
    chosen = settings.labels
    if chosen.source == "identities" or len(features) < 2:
        return 0.0

    def cluster(some: torch.Tensor) -> object:
        k1, k2 = min(chosen.k1, len(some)), min(chosen.k2, len(some))
        return cluster_people(some, k1=k1, k2=k2, eps=chosen.eps, min_samples=chosen.min_samples)

    cluster(features[:50])  # the first call imports what it needs
    return seconds_of(lambda: cluster(features))


def ranking_seconds(dim: int) -> float:
    """Seconds a pair of query and gallery picture."""
    query, gallery = made_up_features(MOST_QUERIES, dim), made_up_features(MOST_SEARCHED, dim)
    persons = torch.arange(MOST_SEARCHED) % MOST_QUERIES
    cameras = torch.zeros(MOST_SEARCHED, dtype=torch.int64)
    own = persons[:MOST_QUERIES]
    taken = seconds_of(
        lambda: score_ranking(query, own, cameras[:MOST_QUERIES] + 1, gallery, persons, cameras)
    )
    return taken / (MOST_QUERIES * MOST_SEARCHED)


def seconds_of(work: Callable[[], object]) -> float:
    """Wall seconds of a piece of work."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
