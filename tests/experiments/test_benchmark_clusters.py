"""Claims about experiments/benchmarks/clusters.py: what is timed, and what is compared."""

import pytest

from experiments.benchmarks import clusters
from experiments.benchmarks.clusters import cluster_once, drawn_features, speedup_row
from experiments.benchmarks.suite import clusters_by_hand


@pytest.fixture(scope="module")
def features():
    return drawn_features(120, 32, "separated")


def test_other_labels_than_the_dense_ones_are_not_ok(features, monkeypatch):
    monkeypatch.setattr(clusters, "SPEEDUP", 0)
    assert speedup_row(features, 1)["ok"]
    right = clusters.dense_jaccard
    monkeypatch.setattr(clusters, "dense_jaccard", lambda *a, **k: 0 * right(*a, **k))
    assert not speedup_row(features, 1)["ok"]


def test_the_dense_algorithm_is_warm_and_timed_as_often_as_ours(features, monkeypatch):
    sizes = {"ours": [], "dense": []}
    right = {"ours": clusters.cluster, "dense": clusters._dense_labels}

    def counted(name):
        def work(given):
            sizes[name].append(len(given))
            return right[name](given)

        return work

    monkeypatch.setattr(clusters, "WARM_UP", 40)
    monkeypatch.setattr(clusters, "cluster", counted("ours"))
    monkeypatch.setattr(clusters, "_dense_labels", counted("dense"))
    speedup_row(features, 2)
    assert sizes == {"ours": [40, 120, 120], "dense": [40, 120, 120]}


def test_sizes_by_hand_are_ascending_and_named_by_their_kind():
    assert list(clusters_by_hand([300, 200])) == [
        "clusters of 200 pictures, separated",
        "clusters of 300 pictures, separated",
    ]
    assert list(clusters_by_hand([200], crowded=True)) == ["clusters of 200 pictures, crowded"]


def test_a_size_by_hand_is_clustered_once_and_of_its_kind(monkeypatch):
    seen = []
    monkeypatch.setattr(clusters, "cluster", seen.append)
    seconds, peak, product = cluster_once(300, "crowded", 16)
    warm, whole = seen
    assert (len(warm), len(whole)) == (clusters.WARM_UP, 300)
    assert whole.equal(drawn_features(300, 16, "crowded"))
    assert min(seconds, peak, product) > 0
