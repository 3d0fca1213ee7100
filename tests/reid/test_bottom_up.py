"""Claims about fedklpr_flwr.reid.bottom_up: BUC's merges, in memory that grows as N."""

import pytest
import torch
from torch.nn import functional

from fedklpr_flwr.errors import SettingsError
from fedklpr_flwr.reid import bottom_up
from fedklpr_flwr.reid.bottom_up import (
    clusters_after,
    merge_clusters,
    merges_a_step,
    repelled_memory,
)


def points(count, seed=0, dimensions=3):
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(count, dimensions, generator=generator), dim=1)


def slow_merge(features, labels, merges, size_weight):
    """Every pair of pictures, nearest first; labels are written over until enough have merged."""
    labels = labels.tolist()
    sizes = [labels.count(label) for label in labels]
    pairs = []
    for i in range(len(labels)):
        for j in range(i + 1, len(labels)):
            if labels[i] != labels[j]:
                distance = float((features[i] - features[j]).square().sum())
                pairs.append((distance + size_weight * (sizes[i] + sizes[j]), i, j))
    left = len(set(labels)) - merges
    for _, i, j in sorted(pairs):
        if len(set(labels)) == left:
            break
        low, high = sorted((labels[i], labels[j]))
        labels = [low if label == high else label for label in labels]
    return torch.unique(torch.tensor(labels), return_inverse=True)[1]


@pytest.mark.parametrize("size_weight", [0.0, 0.003, 1.0])
@pytest.mark.parametrize("block", [4_000_000, 100])
@pytest.mark.parametrize("seed", range(4))
def test_merges_are_those_of_a_slow_loop_whatever_the_blocks(seed, block, size_weight, monkeypatch):
    monkeypatch.setattr(bottom_up, "_BLOCK", block)
    features, labels = points(40, seed), torch.arange(40)
    for merges in (1, 5, 12, 20):
        merged = merge_clusters(features, labels, merges, size_weight=size_weight)
        assert torch.equal(merged, slow_merge(features, labels, merges, size_weight))
        assert len(torch.unique(merged)) == len(torch.unique(labels)) - merges
        labels = merged


def test_two_near_pictures_merge_first():
    angles = torch.tensor([0.0, 1.0, 1.05, 2.0])
    features = torch.stack([angles.cos(), angles.sin()], dim=1)
    assert merge_clusters(features, torch.arange(4), 1).tolist() == [0, 1, 1, 2]


def test_a_large_cluster_waits_where_its_size_costs_enough():
    """Three pictures at 0 and one at 0.2 are nearer than the pair at 2.0 and 2.3."""
    angles = torch.tensor([0.0, 0.0, 0.0, 0.2, 2.0, 2.3])
    features = torch.stack([angles.cos(), angles.sin()], dim=1)
    labels = torch.tensor([0, 0, 0, 1, 2, 3])
    assert merge_clusters(features, labels, 1, size_weight=0).tolist() == [0, 0, 0, 0, 1, 2]
    assert merge_clusters(features, labels, 1, size_weight=0.1).tolist() == [0, 0, 0, 1, 2, 2]


def test_the_nearest_pair_of_pictures_decides_and_not_the_centres():
    """A chain: its end is nearer to the newcomer than the lone picture is."""
    angles = torch.tensor([0.0, 0.4, 0.8, 1.1, 1.6])
    features = torch.stack([angles.cos(), angles.sin()], dim=1)
    labels = torch.tensor([0, 0, 0, 1, 2])
    assert merge_clusters(features, labels, 1, size_weight=0).tolist() == [0, 0, 0, 0, 1]


def test_equal_pictures_merge_in_their_order():
    features = torch.ones(5, 1)
    assert merge_clusters(features, torch.arange(5), 2).tolist() == [0, 0, 0, 1, 2]


def test_no_merge_changes_nothing_but_the_numbers():
    assert merge_clusters(points(3), torch.tensor([5, 2, 5]), 0).tolist() == [1, 0, 1]


def test_all_can_become_one_and_more_than_that_is_refused():
    assert merge_clusters(points(6), torch.arange(6), 5).tolist() == [0] * 6
    with pytest.raises(SettingsError, match="at most 5 times, 6 were asked"):
        merge_clusters(points(6), torch.arange(6), 6)


@pytest.mark.parametrize(
    ("pictures", "persons", "steps", "merges"),
    [(12936, 751, 20, 609), (632, 316, 20, 15), (20, 5, 3, 5), (5, 9, 2, 0), (100, 0, 7, 5)],
)
def test_a_step_makes_as_many_merges_as_end_at_the_persons(pictures, persons, steps, merges):
    assert merges_a_step(pictures, persons=persons, steps=steps, share=0.05) == merges


def test_clusters_shrink_by_a_step_and_the_last_share_stays_apart():
    assert [clusters_after(100, 5, step) for step in (0, 1, 2, 19, 20, 99)] == [
        100,
        95,
        90,
        5,
        5,
        5,
    ]
    assert clusters_after(7, 0, 3) == 7
    assert clusters_after(0, 0, 3) == 0


def test_the_repelled_loss_starts_blind_and_learns_its_first_features():
    memory = repelled_memory(4, 3)
    features, clusters = points(2), torch.tensor([3, 1])
    assert memory.loss(features, clusters).item() == pytest.approx(torch.tensor(4.0).log().item())
    memory.update(features, clusters)
    torch.testing.assert_close(memory.centroids[3], features[0])
    memory.update(features[1:], torch.tensor([3]))
    half = functional.normalize((features[0] + features[1]) / 2, dim=0)
    torch.testing.assert_close(memory.centroids[3], half)
    scores = 10 * features @ memory.centroids.T
    expected = functional.cross_entropy(scores, clusters)
    torch.testing.assert_close(memory.loss(features, clusters), expected)
