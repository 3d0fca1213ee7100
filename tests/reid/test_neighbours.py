"""Nearest neighbours against sorting, on integers where ties abound and nothing is rounded."""

import torch
from torch import Tensor

from fedklpr_flwr.reid.neighbours import nearest_neighbours, products_at


def whole_numbers(count: int, width: int, seed: int, largest: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-largest, largest + 1, (count, width), generator=generator).float()


def sorted_neighbours(features: Tensor, k: int) -> list[list[int]]:
    """The definition: the row itself, then by similarity, then by index."""
    lists = []
    for i in range(len(features)):
        similarity = [float(features[i] @ features[j]) for j in range(len(features))]
        order = sorted(range(len(features)), key=lambda j: (j != i, -similarity[j], j))
        lists.append(order[:k])
    return lists


def test_features_of_a_network_in_training_are_searched_too() -> None:
    features = whole_numbers(30, 4, seed=2)
    found = nearest_neighbours(features.clone().requires_grad_(), 3)
    assert torch.equal(found, nearest_neighbours(features, 3))


def test_no_row_has_no_neighbour() -> None:
    assert nearest_neighbours(torch.empty(0, 4), 3).shape == (0, 0)


def test_products_at_chosen_pairs_are_the_dot_products() -> None:
    left, right = whole_numbers(3, 5, seed=1), whole_numbers(4, 5, seed=2)
    starts, columns = torch.tensor([0, 2, 2, 5]), torch.tensor([3, 0, 1, 2, 3])
    expected = [left[0] @ right[3], left[0] @ right[0], *(right[1:] @ left[2])]
    assert products_at(left, right, starts, columns).tolist() == [float(x) for x in expected]
