"""Nearest neighbours against sorting, on integers where ties abound and nothing is rounded."""

import pytest
import torch
from torch import Tensor

from fedklpr_flwr.reid import neighbours
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


@pytest.mark.parametrize(("count", "k"), [(1, 1), (1, 5), (4, 4), (5, 9), (60, 1), (60, 10)])
def test_neighbours_are_those_of_the_definition(count: int, k: int) -> None:
    features = whole_numbers(count, 3, seed=count)
    assert nearest_neighbours(features, k).tolist() == sorted_neighbours(features, k)


@pytest.mark.parametrize("width", [3, 40])
@pytest.mark.parametrize("k", [1, 7, 20])
def test_both_searches_are_those_of_the_definition(width: int, k: int) -> None:
    features, own = whole_numbers(70, width, seed=k), torch.arange(20, 60)
    expected = sorted_neighbours(features, k)[20:60]
    rounded = neighbours._Rounded.of(features)
    assert neighbours._in_full(features, own, k).tolist() == expected
    assert neighbours._by_shortlist(features, rounded, own, k, 2 * k)[0].tolist() == expected


def test_a_row_comes_before_its_copies_and_copies_by_index() -> None:
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).repeat_interleave(4, dim=0)
    assert nearest_neighbours(features, 3).tolist() == [
        [0, 1, 2], [1, 0, 2], [2, 0, 1], [3, 0, 1],
        [4, 5, 6], [5, 4, 6], [6, 4, 5], [7, 4, 5],
    ]  # fmt: skip


def test_the_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    features = whole_numbers(50, 4, seed=3)
    whole = nearest_neighbours(features, 8)
    monkeypatch.setattr(neighbours, "_BLOCK", 150)
    monkeypatch.setattr(neighbours, "_ROWS", 1)
    assert torch.equal(nearest_neighbours(features, 8), whole)


@pytest.mark.parametrize("rounds", [True, False])
def test_a_search_in_many_blocks_is_that_of_the_definition_with_and_without_a_shortlist(
    rounds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "_multiplies_bfloat16", lambda: rounds)
    monkeypatch.setattr(neighbours, "_BLOCK", 1)
    monkeypatch.setattr(neighbours, "_ROWS", 7)
    features = whole_numbers(90, 12, seed=4)
    assert nearest_neighbours(features, 6).tolist() == sorted_neighbours(features, 6)


def test_where_most_rows_must_be_searched_in_full_the_rest_are_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(neighbours, "_multiplies_bfloat16", lambda: True)
    monkeypatch.setattr(neighbours, "_BLOCK", 1)
    monkeypatch.setattr(neighbours, "_ROWS", 10)
    blocks, shortlist = [], neighbours._by_shortlist

    def counted(*asked: object) -> object:
        blocks.append(asked)
        return shortlist(*asked)

    monkeypatch.setattr(neighbours, "_by_shortlist", counted)
    generator = torch.Generator().manual_seed(0)
    apart = torch.nn.functional.normalize(torch.randn(60, 64, generator=generator), dim=1)
    nearest_neighbours(apart, 3)
    assert len(blocks) == 6
    nearest_neighbours(torch.ones(60, 64) + 1e-6 * apart, 3)
    assert len(blocks) == 6 + 1


@pytest.mark.parametrize("exponent", [0, -40, -60, -64, -66, -70])
def test_features_too_small_for_the_unit_are_searched_in_full(exponent: int) -> None:
    features = whole_numbers(80, 16, seed=9, largest=40)
    expected = neighbours._in_full(features, torch.arange(80), 5)
    small = features * 2.0**exponent
    rounded = neighbours._Rounded.of(small)
    assert torch.equal(
        neighbours._by_shortlist(small, rounded, torch.arange(80), 5, 10)[0], expected
    )


def test_features_of_a_network_in_training_are_searched_too() -> None:
    features = whole_numbers(30, 4, seed=2)
    found = nearest_neighbours(features.clone().requires_grad_(), 3)
    assert torch.equal(found, nearest_neighbours(features, 3))


@pytest.mark.parametrize("spread", [1.0, 0.05, 0.001])
def test_rounding_to_bfloat16_never_costs_a_neighbour(spread: float) -> None:
    """Collapsed features (a small spread) cannot be told apart in bfloat16 and are searched on."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(1, 64, generator=generator) + spread * torch.randn(
        400, 64, generator=generator
    )
    features = torch.nn.functional.normalize(features, dim=1)
    own, k = torch.arange(400), 10
    found, _ = neighbours._by_shortlist(features, neighbours._Rounded.of(features), own, k, 2 * k)
    exact = features.double() @ features.double().T
    exact.fill_diagonal_(torch.inf)
    kth = exact.sort(dim=1, descending=True).values[:, k - 1]
    assert bool((exact.gather(1, found).amin(dim=1) >= kth - 1e-6).all())


def test_the_bound_holds_for_the_worst_rounding() -> None:
    """Every entry lies half-way between two bfloat16 numbers, where rounding moves it most."""
    signs = whole_numbers(200, 64, seed=1, largest=1) + 0.25
    features = signs.sign() * (1 + 2.0**-8 + 2.0**-12)
    rounded = neighbours._Rounded.of(features)
    rough = (rounded.values @ rounded.values.T).float()
    off = rounded.farthest_off(torch.arange(200), rough)
    assert bool(((features @ features.T - rough).abs() <= off).all())


@pytest.mark.parametrize("wide", [1, 2, 64])
def test_the_bound_holds_where_only_the_result_is_rounded(wide: int) -> None:
    """The features are bfloat16 numbers already: nothing but their product is rounded."""
    features = torch.randn(300, wide, generator=torch.Generator().manual_seed(wide))
    features = features.bfloat16().float()
    rounded = neighbours._Rounded.of(features)
    assert not rounded.errors.any()
    rough = (rounded.values @ rounded.values.T).float()
    off = rounded.farthest_off(torch.arange(300), rough)
    exact = features.double() @ features.double().T
    assert bool(((exact - rough).abs() <= off).all())


@pytest.mark.parametrize(("count", "k"), [(1, 1), (7, 7), (9, 4), (100, 3), (103, 10), (1000, 7)])
def test_the_largest_by_groups_are_the_largest(count: int, k: int) -> None:
    generator = torch.Generator().manual_seed(count)
    values = torch.randint(0, 40, (30, count), generator=generator).bfloat16()
    best, columns = neighbours._largest_by_groups(values, k)
    assert torch.equal(best, values.topk(k, dim=1).values)
    assert torch.equal(values.gather(1, columns), best)
    assert all(len(set(row)) == k for row in columns.tolist())


def test_no_row_has_no_neighbour() -> None:
    assert nearest_neighbours(torch.empty(0, 4), 3).shape == (0, 0)


def test_products_at_chosen_pairs_are_the_dot_products() -> None:
    left, right = whole_numbers(3, 5, seed=1), whole_numbers(4, 5, seed=2)
    starts, columns = torch.tensor([0, 2, 2, 5]), torch.tensor([3, 0, 1, 2, 3])
    expected = [left[0] @ right[3], left[0] @ right[0], *(right[1:] @ left[2])]
    assert products_at(left, right, starts, columns).tolist() == [float(x) for x in expected]
