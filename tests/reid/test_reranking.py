"""Claims about re-ranking: the published distances, from sparse rows, and what they score."""

import numpy as np
import pytest
import torch

from fedklpr_flwr.reid.ranking import score_ranking
from fedklpr_flwr.reid.reranking import Reranked, score_reranked


def crowd(pictures, persons, dimensions=12, seed=0):
    """Unit features of pictures near to their persons', and whose they are."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(persons, dimensions, generator=generator)
    who = torch.arange(pictures) % persons
    features = centres[who] + 0.7 * torch.randn(pictures, dimensions, generator=generator)
    return torch.nn.functional.normalize(features, dim=1), who


def published(query, gallery, k1, k2, weight):
    """The distances as the authors' code computes them, matrix by matrix and row by row."""
    features = np.concatenate([query.numpy(), gallery.numpy()]).astype(np.float64)
    original = ((features[:, None] - features[None]) ** 2).sum(axis=2)
    original = (original / original.max(axis=0)).T
    rank = np.argsort(original, axis=1, kind="stable")
    half = int(np.around(k1 / 2)) + 1
    mass = np.zeros_like(original)
    for i in range(len(features)):
        near = rank[i, : k1 + 1]
        reciprocal = near[[i in rank[j, : k1 + 1] for j in near]]
        expanded = reciprocal
        for candidate in reciprocal:
            close = rank[candidate, :half]
            of_candidate = close[[candidate in rank[j, :half] for j in close]]
            if len(np.intersect1d(of_candidate, reciprocal)) > 2 / 3 * len(of_candidate):
                expanded = np.append(expanded, of_candidate)
        expanded = np.unique(expanded)
        weights = np.exp(-original[i, expanded])
        mass[i, expanded] = weights / weights.sum()
    if k2 > 1:
        mass = np.stack([mass[rank[i, :k2]].mean(axis=0) for i in range(len(features))])
    count = len(query)
    shared = np.array([np.minimum(mass[i], mass).sum(axis=1) for i in range(count)])
    jaccard = 1 - shared / (2 - shared)
    return ((1 - weight) * jaccard + weight * original[:count])[:, count:]


@pytest.mark.parametrize(
    ("k1", "k2", "weight"), [(20, 6, 0.3), (7, 3, 0.3), (5, 1, 0.0), (20, 6, 1.0), (90, 6, 0.3)]
)
def test_distances_are_those_of_the_published_code(k1, k2, weight):
    features, _ = crowd(80, 12)
    query, gallery = features[:25], features[25:]
    found = Reranked(query, gallery, k1=k1, k2=k2, weight=weight)
    blocks = [found.distances(slice(start, start + 10)) for start in range(0, 25, 10)]
    wanted = published(query, gallery, k1, k2, weight)
    assert np.abs(np.concatenate(blocks) - wanted).max() < 1e-5


def test_scores_are_those_of_a_ranking_by_these_distances():
    features, who = crowd(90, 9)
    cameras = torch.arange(90) // 9 % 3
    told = score_reranked(
        features[:30], who[:30], cameras[:30], features[30:], who[30:], cameras[30:]
    )
    distances = published(features[:30], features[30:], 20, 6, 0.3)
    first, precisions = [], []
    for i in range(30):
        removed = (who[30:] == who[i]) & (cameras[30:] == cameras[i])
        order = [g for g in np.argsort(distances[i], kind="stable") if not removed[g]]
        right = [place for place, g in enumerate(order, 1) if who[30 + g] == who[i]]
        first.append(right[0])
        precisions.append(np.mean([(n + 1) / place for n, place in enumerate(right)]))
    assert told.rank1 == pytest.approx(np.mean(np.array(first) == 1))
    assert told.map == pytest.approx(np.mean(precisions))
    assert told.queries == 30


def test_neighbours_in_common_find_people_better_than_likeness_alone():
    features, who = crowd(400, 20, seed=3)
    cameras = torch.arange(400) // 20 % 4
    parts = (features[:80], who[:80], cameras[:80], features[80:], who[80:], cameras[80:])
    assert score_reranked(*parts).map > score_ranking(*parts).map + 0.05


def test_junk_is_nobodys_neighbour():
    features, who = crowd(60, 6)
    cameras = torch.arange(60) % 2
    junk = torch.cat([who, torch.full((15,), -1)])
    query = (features[:15], who[:15], cameras[:15])
    with_junk = torch.cat([features[15:], features[:15] + 0.01])
    cut = score_reranked(*query, features[15:], who[15:], cameras[15:])
    more_cameras = torch.cat([cameras[15:], torch.zeros(15, dtype=torch.int64)])
    assert score_reranked(*query, with_junk, junk[15:], more_cameras) == cut


def test_a_gallery_without_anybody_to_find_has_no_scores():
    features, who = crowd(6, 3)
    nobody = torch.full((3,), -1)
    zeros = torch.zeros(3, dtype=torch.int64)
    assert score_reranked(features[:3], who[:3], zeros, features[3:], nobody, zeros) is None
    assert score_reranked(features[:3], who[:3], zeros, features[:0], zeros[:0], zeros[:0]) is None


def test_pictures_that_are_all_the_same_do_not_divide_by_zero():
    one = torch.nn.functional.normalize(torch.ones(8, 4), dim=1)
    assert np.isfinite(Reranked(one[:2], one[2:]).distances(slice(0, 2))).all()
