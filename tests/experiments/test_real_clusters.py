"""Claims about experiments/real_clusters.py: whose features are clustered, and what is told."""

import torch

from experiments import real_clusters
from experiments.benchmarks.clusters import drawn_features


def test_the_features_are_of_the_training_pictures(tmp_path):
    features = real_clusters.real_features("drawn:yard", tmp_path, "small", None, 64)
    images = real_clusters.read_dataset("drawn:yard", tmp_path).train
    assert len(features) == len(images)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(len(images)))


def test_a_part_is_compared_with_the_dense_algorithm_and_all_are_timed():
    compared, seconds = real_clusters.real_rows(drawn_features(150, 16, "crowded"), 100, 1)
    assert compared["name"] == "cluster_speedup_real_100"
    assert seconds["name"] == "cluster_seconds_real_150"
    assert seconds["value"] > 0
