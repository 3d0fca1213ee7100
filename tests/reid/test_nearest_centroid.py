"""Claims about fedklpr_flwr.reid.nearest_centroid: a picture never vouches for itself."""

import torch
from torch.nn import functional

from fedklpr_flwr.reid.nearest_centroid import comparable, right_by_centroid


def test_it_equals_a_slow_loop_that_leaves_the_picture_out():
    generator = torch.Generator().manual_seed(3)
    features = functional.normalize(torch.randn(40, 5, generator=generator), dim=1)
    labels = torch.randint(-1, 6, (40,), generator=generator)
    slow = torch.zeros(40, dtype=torch.bool)
    for index, label in enumerate(labels.tolist()):
        mates = [i for i in range(40) if labels[i] == label and i != index]
        if label < 0 or not mates:
            continue
        own = float(functional.normalize(features[mates].sum(0), dim=0) @ features[index])
        rest = [
            float(functional.normalize(features[labels == other].sum(0), dim=0) @ features[index])
            for other in set(labels.tolist()) - {-1, label}
        ]
        slow[index] = own >= max(rest)
    assert torch.equal(right_by_centroid(features, labels), slow)
    assert 0 < int(slow.sum()) < 40


def test_pictures_alone_or_without_a_label_cannot_be_judged():
    labels = torch.tensor([0, 0, 1, -1])
    assert comparable(labels).tolist() == [True, True, False, False]
    features = functional.normalize(torch.tensor([[1.0, 0], [1, 0.1], [0, 1], [0, 1]]), dim=1)
    assert right_by_centroid(features, labels).tolist() == [True, True, False, False]


def test_without_a_cluster_nothing_is_right():
    labels = torch.tensor([-1, -1])
    assert not comparable(labels).any()
    assert not right_by_centroid(torch.eye(2), labels).any()
