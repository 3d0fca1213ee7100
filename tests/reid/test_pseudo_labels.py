"""Clusters against scikit-learn on the dense distance, and the figures of their health."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from sklearn.cluster import DBSCAN
from torch import Tensor
from torch.nn import functional

from fedklpr_flwr.errors import FedKlprError, SettingsError
from fedklpr_flwr.reid.jaccard import jaccard_within
from fedklpr_flwr.reid.pseudo_labels import (
    _density_labels,
    _most_frequent,
    camera_span,
    camera_split,
    cluster_people,
    identity_labels,
    pair_precision,
    pair_recall,
    radius_for,
    spanning_clusters,
)

SETTINGS = {"k1": 20, "k2": 6, "eps": 0.5, "min_samples": 4}


def people(persons: int, pictures: int, noise: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    person = torch.arange(persons).repeat(pictures)
    centres = torch.randn(persons, 64, generator=generator)[person]
    features = centres + noise * torch.randn(len(person), 64, generator=generator)
    return functional.normalize(features, dim=1), person


def labels_of_sklearn(features: Tensor, min_samples: int, eps: float, weight: int = 1) -> list[int]:
    near = jaccard_within(features, k1=20, k2=6, eps=eps).tocoo()
    dense = np.ones(near.shape)
    dense[near.row, near.col] = near.data
    clustering = DBSCAN(eps=eps, min_samples=min_samples, metric="precomputed")
    weights = np.full(len(features), weight)
    return clustering.fit(dense, sample_weight=weights).labels_.tolist()


@pytest.mark.parametrize("noise", [0.3, 1.3, 1.6, 1.9, 2.2])
@pytest.mark.parametrize("min_samples", [2, 4, 8])
def test_labels_are_those_of_scikit_learn(noise: float, min_samples: int) -> None:
    features, _ = people(25, 10, noise)
    found = cluster_people(features, k1=20, k2=6, eps=0.6, min_samples=min_samples)
    assert found.labels.tolist() == labels_of_sklearn(features, min_samples, eps=0.6)
    assert found.clusters == len(set(found.labels.tolist()) - {-1})
    assert found.outliers == found.labels.tolist().count(-1)


def test_the_cases_above_have_clusters_and_outliers() -> None:
    features, _ = people(25, 10, 1.6)
    few, many = (cluster_people(features, k1=20, k2=6, eps=0.6, min_samples=m) for m in (2, 8))
    assert (few.clusters, few.outliers) == (20, 26)
    assert (many.clusters, many.outliers) == (15, 78)


def test_a_picture_between_two_clusters_joins_the_first() -> None:
    # 0-1-2 and 4-5-6 are chains of cores; 3 touches both ends but is no core; 7 is alone.
    pairs = [(0, 1), (1, 2), (0, 2), (4, 5), (5, 6), (4, 6), (2, 3), (3, 4)]
    near = np.eye(8)
    for i, j in pairs:
        near[i, j] = near[j, i] = 1
    order = [7, 4, 3, 5, 6, 0, 1, 2]  # the chain 4-5-6 now has the first core
    stored = csr_matrix(near[np.ix_(order, order)], dtype=np.float32)
    stored.data[:] = 0  # distances of zero are neighbours all the same
    assert _density_labels(stored, weight=1, min_samples=4).tolist() == [-1, 0, 0, 0, 0, 1, 1, 1]


def test_well_separated_people_are_found_exactly() -> None:
    features, person = people(12, 8, 0.2)
    found = cluster_people(features, **SETTINGS)
    assert (found.clusters, found.outliers) == (12, 0)
    assert found.labels.tolist() == identity_labels(person).labels.tolist()
    assert pair_precision(found.labels, person) == 1


def test_two_pictures_a_person_form_clusters_only_with_copies() -> None:
    features, person = people(30, 2, 0.2)
    alone = cluster_people(features, k1=4, k2=2, eps=0.6, min_samples=4)
    assert (alone.clusters, alone.outliers) == (0, 60)
    copied = cluster_people(features, k1=4, k2=2, eps=0.6, min_samples=4, copies=2)
    assert copied.labels.tolist() == person.tolist()


@pytest.mark.parametrize("copies", [2, 3, 4])
def test_distinct_copies_are_weights_of_dbscan(copies: int) -> None:
    features, _ = people(25, 4, 0.9)
    found = cluster_people(features, k1=20, k2=6, eps=0.6, min_samples=4, copies=copies)
    assert found.labels.tolist() == labels_of_sklearn(features, 4, eps=0.6, weight=copies)


def test_from_min_samples_copies_on_no_picture_is_an_outlier() -> None:
    features, _ = people(60, 1, 1.0)
    settings = {"k1": 5, "k2": 1, "eps": 0.3, "min_samples": 4}
    three, four = (cluster_people(features, **settings, copies=copies) for copies in (3, 4))
    assert (three.clusters, three.outliers) == (0, 60)
    assert (four.clusters, four.outliers) == (60, 0)


def test_repeated_pictures_give_one_label_a_picture() -> None:
    features, person = people(20, 3, 0.2)
    settings = {"k1": 6, "k2": 3, "eps": 0.5, "min_samples": 4}
    found = cluster_people(features, **settings, copies=2, jaccard="copies")
    assert found.labels.tolist() == person.tolist()


def test_a_pictures_copies_vote_and_the_first_breaks_a_tie() -> None:
    votes = np.array([[1, 2, 2], [-1, 3, -1], [4, 0, 4], [5, -1, 6]])
    assert _most_frequent(votes).tolist() == [2, -1, 4, 5]


@pytest.mark.parametrize("jaccard", ["distinct", "copies"])
def test_one_copy_is_no_copy(jaccard: str) -> None:
    features, _ = people(20, 6, 0.9)
    plain = cluster_people(features, **SETTINGS)
    assert torch.equal(cluster_people(features, **SETTINGS, jaccard=jaccard).labels, plain.labels)


@pytest.mark.parametrize("pictures", [0, 1, 3])
def test_too_few_pictures_for_a_cluster_are_all_outliers(pictures: int) -> None:
    found = cluster_people(people(1, pictures, 0.1)[0], **SETTINGS)
    assert (found.labels.tolist(), found.clusters) == ([-1] * pictures, 0)
    assert found.outliers == pictures


def test_diverged_features_are_named() -> None:
    features, _ = people(5, 4, 0.2)
    features[3, 7] = torch.nan
    with pytest.raises(FedKlprError, match="1 of 20 pictures"):
        cluster_people(features, **SETTINGS)


@pytest.mark.parametrize("name", ["k1", "k2", "min_samples", "copies"])
def test_numbers_below_one_are_refused_by_name(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} .*got 0"):
        cluster_people(people(5, 4, 0.2)[0], **{**SETTINGS, name: 0})


def test_known_persons_become_labels_without_gaps() -> None:
    found = identity_labels(torch.tensor([7, 3, -1, 7, 1500]))
    assert found.labels.tolist() == [1, 0, -1, 1, 2]
    assert (found.clusters, found.outliers) == (3, 1)


def test_pair_precision_counts_pairs_within_clusters() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, -1, -1])
    persons = torch.tensor([5, 5, 6, 8, 8, 9, 9])
    assert pair_precision(labels, persons) == 2 / 4  # (5,5) and (8,8) of three pairs and one
    assert pair_precision(torch.tensor([0, 1, -1, -1]), torch.zeros(4, dtype=torch.int64)) is None


def test_pair_recall_counts_pairs_of_a_person_and_outliers_as_missed() -> None:
    persons = torch.tensor([5, 5, 5, 8, 8, 9])
    assert pair_recall(torch.tensor([0, 0, 1, 2, -1, 0]), persons) == 1 / 4
    assert pair_recall(torch.tensor([0, 0, 0, 0, 0, 0]), persons) == 1
    assert pair_recall(torch.tensor([-1, -1, -1, -1, -1, -1]), persons) == 0
    assert pair_recall(torch.tensor([0, 0]), torch.tensor([1, 2])) is None


def test_camera_split_counts_pairs_across_cameras() -> None:
    persons = torch.tensor([5, 5, 5, 6, 6, 7])
    cameras = torch.tensor([0, 0, 1, 0, 1, 0])
    assert camera_split(torch.tensor([0, 0, 0, 1, 1, 1]), cameras, persons) == 0
    assert camera_split(torch.tensor([0, 0, 1, 2, 3, 2]), cameras, persons) == 1
    assert camera_split(torch.tensor([0, 0, 1, 2, 2, 2]), cameras, persons) == pytest.approx(2 / 3)
    assert camera_split(torch.tensor([0, 0, -1, 2, -1, 2]), cameras, persons) is None


def test_health_figures_agree_with_a_loop_over_pairs() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(-1, 6, (60,), generator=generator)
    cameras = torch.randint(3, (60,), generator=generator)
    persons = torch.randint(8, (60,), generator=generator)
    together = right = across = split = persons_pairs = 0
    for i in range(60):
        for j in range(i):
            persons_pairs += bool(persons[i] == persons[j])
            if labels[i] == -1 or labels[j] == -1:
                continue
            same_label, same_person = labels[i] == labels[j], persons[i] == persons[j]
            together += bool(same_label)
            right += bool(same_label and same_person)
            across += bool(same_person and cameras[i] != cameras[j])
            split += bool(same_person and cameras[i] != cameras[j] and not same_label)
    assert pair_precision(labels, persons) == right / together
    assert pair_recall(labels, persons) == right / persons_pairs
    assert camera_split(labels, cameras, persons) == pytest.approx(split / across)


def test_the_span_is_of_pictures_in_clusters_of_two_cameras() -> None:
    labels = torch.tensor([0, 0, 1, 1, 1, 2, -1])
    cameras = torch.tensor([0, 1, 2, 2, 2, 0, 1])
    assert camera_span(labels, cameras) == pytest.approx(2 / 6)
    assert camera_span(torch.full((3,), -1), torch.arange(3)) is None


def test_clusters_of_one_camera_are_left_out_once_enough_span_two() -> None:
    found = identity_labels(torch.tensor([0, 0, 1, 1, 2, 2, -1]))
    cameras = torch.tensor([1, 1, 0, 1, 0, 2, 0])
    kept = spanning_clusters(found, cameras, 0.6)
    assert kept.labels.tolist() == [-1, -1, 0, 0, 1, 1, -1]
    assert (kept.clusters, kept.outliers) == (2, 3)
    assert spanning_clusters(found, cameras, 0.7) is found
    assert spanning_clusters(found, cameras * 0, 0.0) is found


@pytest.mark.parametrize("weight", [1, 2, 10])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_the_radius_makes_the_wanted_share_of_pictures_cores(weight: int, share: float) -> None:
    features, _ = people(25, 10, 1.6)
    near = jaccard_within(features, k1=20, k2=6, eps=0.9)
    radius = radius_for(near, share, weight=weight, min_samples=4)
    needed = max(2, -(-4 // weight))
    reach = [sorted(near[i].data)[needed - 1] for i in range(len(features))]
    assert sum(r <= radius for r in reach) >= share * 250 > sum(r < radius for r in reach)


def test_a_share_narrows_eps_and_never_widens_it() -> None:
    features, _ = people(25, 10, 1.6)
    settings = {"k1": 20, "k2": 6, "min_samples": 4}
    wide = cluster_people(features, eps=0.6, **settings)
    assert torch.equal(wide.labels, cluster_people(features, eps=0.6, share=1.0, **settings).labels)
    half = cluster_people(features, eps=0.9, share=0.5, **settings)
    assert 250 * 0.3 < half.outliers <= 250 * 0.5
