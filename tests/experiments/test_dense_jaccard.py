"""Claims about the anchor of the clusters benchmark: the same distance, the slow way."""

import numpy as np
import pytest
import torch
from sklearn.cluster import DBSCAN

from experiments.benchmarks.clusters import EPS, K1, K2, MIN_SAMPLES, drawn_features
from experiments.benchmarks.dense_jaccard import dense_jaccard
from fedklpr_flwr.reid.jaccard import jaccard_within
from fedklpr_flwr.reid.pseudo_labels import cluster_people


@pytest.mark.parametrize("kind", ["separated", "crowded"])
def test_the_anchor_finds_the_same_distances_and_labels(kind):
    features = drawn_features(600, 64, kind)
    dense = dense_jaccard(features, k1=K1, k2=K2)
    sparse = jaccard_within(features, k1=K1, k2=K2, eps=EPS).tocoo()
    assert np.abs(dense[sparse.row, sparse.col] - sparse.data).max() < 1e-5
    assert (dense < EPS - 1e-5).sum() <= sparse.nnz <= (dense <= EPS + 1e-5).sum()
    labels = DBSCAN(eps=EPS, min_samples=MIN_SAMPLES, metric="precomputed").fit_predict(dense)
    ours = cluster_people(features, k1=K1, k2=K2, eps=EPS, min_samples=MIN_SAMPLES).labels
    assert np.array_equal(ours.numpy(), labels)


def test_crowded_people_are_harder_to_tell_apart():
    def nearest_other(kind: str) -> float:
        features = drawn_features(600, 64, kind)
        return float((features @ features.T).fill_diagonal_(-1).max(dim=1).values.mean())

    assert nearest_other("crowded") > nearest_other("separated")


def test_drawn_features_are_unit_rows():
    for kind in ("separated", "crowded"):
        norms = drawn_features(40, 16, kind).norm(dim=1)
        torch.testing.assert_close(norms, torch.ones(40))
