"""Claims about fedklpr_flwr.reid.cluster_memory: the cluster-contrastive loss of FedUCC."""

import math

import pytest
import torch
from torch.nn import functional

from fedklpr_flwr.reid.camera_proxies import CameraProxyMemory
from fedklpr_flwr.reid.cluster_memory import ClusterMemory

GENERATOR = torch.Generator().manual_seed(1)
CENTROIDS = functional.normalize(torch.randn(5, 4, generator=GENERATOR), dim=1)
FEATURES = functional.normalize(torch.randn(7, 4, generator=GENERATOR), dim=1)
CLUSTERS = torch.tensor([0, 4, 4, 1, 2, 0, 3])


def slow_loss(temperature):
    total = 0.0
    for feature, own in zip(FEATURES.tolist(), CLUSTERS.tolist(), strict=True):
        scores = [
            sum(a * b for a, b in zip(feature, row, strict=True)) / temperature
            for row in CENTROIDS.tolist()
        ]
        total -= scores[own] - math.log(sum(math.exp(score) for score in scores))
    return total / len(FEATURES)


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_the_loss_is_the_cross_entropy_among_all_clusters(temperature):
    memory = ClusterMemory(CENTROIDS, temperature=temperature)
    assert memory.loss(FEATURES, CLUSTERS).item() == pytest.approx(slow_loss(temperature), rel=1e-5)


def test_with_one_camera_it_is_the_camera_aware_loss_within_it():
    camera = CameraProxyMemory(
        CENTROIDS,
        torch.arange(5),
        torch.zeros(5, dtype=torch.int64),
        temperature=0.05,
        intra_weight=1.0,
        inter_weight=0.0,
    )
    one = ClusterMemory(CENTROIDS, temperature=0.05).loss(FEATURES, CLUSTERS)
    torch.testing.assert_close(one, camera.loss(FEATURES, CLUSTERS))


def test_one_cluster_alone_costs_nothing():
    memory = ClusterMemory(CENTROIDS[:1])
    assert memory.loss(FEATURES, torch.zeros(7, dtype=torch.int64)).item() == 0


def test_a_step_down_the_gradient_brings_features_nearer_to_their_own():
    features = FEATURES.clone().requires_grad_()
    memory = ClusterMemory(CENTROIDS, temperature=1.0)
    memory.loss(features, CLUSTERS).backward()
    moved = FEATURES - 0.1 * features.grad
    assert memory.loss(moved, CLUSTERS) < memory.loss(FEATURES, CLUSTERS)


def test_right_is_whose_nearest_centroid_is_its_own():
    memory = ClusterMemory(torch.eye(3))
    features = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.1, 0.9], [0.0, 1.0, 0.0]])
    assert memory.nearest_correct(features, torch.tensor([0, 1, 1])) == 2


def test_an_update_keeps_the_callers_centroids_and_moves_its_own():
    memory = ClusterMemory(CENTROIDS, momentum=0.1)
    memory.update(FEATURES[:1], CLUSTERS[:1])
    expected = functional.normalize(0.1 * CENTROIDS[0] + 0.9 * FEATURES[0], dim=0)
    torch.testing.assert_close(memory.centroids[0], expected)
    assert torch.equal(memory.centroids[1:], CENTROIDS[1:])


def test_the_hardest_of_a_clusters_pictures_alone_moves_its_centroid():
    memory = ClusterMemory(CENTROIDS, momentum=0.3, hardest=True)
    memory.update(FEATURES, CLUSTERS)
    for cluster in range(5):
        own = [f for f, c in zip(FEATURES, CLUSTERS, strict=True) if c == cluster]
        hardest = min(own, key=lambda f: float(f @ CENTROIDS[cluster]))
        moved = functional.normalize(0.3 * CENTROIDS[cluster] + 0.7 * hardest, dim=0)
        torch.testing.assert_close(memory.centroids[cluster], moved)
