"""Claims about fedklpr_flwr.algorithm.consensus: the same numbers give the same mask."""

import pytest
import torch

from fedklpr_flwr.algorithm.consensus import largest_kept
from fedklpr_flwr.algorithm.pruning_rate import density_after
from fedklpr_flwr.planning.ideal_schedule import ideal_densities


def test_the_largest_of_every_tensor_stay_by_hand():
    tensors = {"a": torch.tensor([3.0, -5.0, 1.0, 0.0]), "b": torch.tensor([[0.2, -0.1]])}
    masks = largest_kept(tensors, ["a", "b"], 0.5)
    assert masks["a"].tolist() == [True, True, False, False]
    assert masks["b"].tolist() == [[True, False]]


def test_the_largest_of_the_network_stay_by_hand_and_no_tensor_loses_its_last():
    tensors = {"a": torch.tensor([3.0, -5.0, 1.0, 2.0]), "b": torch.tensor([[0.2, -0.1]])}
    masks = largest_kept(tensors, ["a", "b"], 0.5, "network")
    assert masks["a"].tolist() == [True, True, False, True]
    assert masks["b"].tolist() == [[True, False]]
    assert all(mask.all() for mask in largest_kept(tensors, ["a", "b"], 1.0, "network").values())


@pytest.mark.parametrize("scope", ["layer", "network"])
def test_what_was_pruned_is_zero_and_goes_first_so_that_nobody_needs_the_earlier_mask(scope):
    generator = torch.Generator().manual_seed(5)
    weights = {
        "w": torch.randn(40, 25, generator=generator),
        "small": 0.1 * torch.randn(30, generator=generator),
    }
    for number in range(1, 8):
        earlier = largest_kept(weights, list(weights), 0.9 ** (number - 1), scope)
        weights = {name: torch.where(earlier[name], w * 0.7, 0.0) for name, w in weights.items()}
        again = largest_kept(weights, list(weights), 0.9 ** (number - 1), scope)
        next_ = largest_kept(weights, list(weights), 0.9**number, scope)
        for name, held in earlier.items():
            assert torch.equal(again[name], held)
            assert not (next_[name] & ~held).any()


@pytest.mark.parametrize("density", [1.0, 0.73, 0.5, 1e-6])
def test_never_less_is_kept_than_asked_and_always_one(density):
    mask = largest_kept({"w": torch.arange(10.0)}, ["w"], density)["w"]
    assert int(mask.sum()) == max(1, -(-int(density * 1000) * 10 // 1000))


@pytest.mark.parametrize("schedule", ["geometric", "cubic"])
def test_the_density_of_a_round_is_the_schedules_without_a_pause(schedule):
    expected = ideal_densities(12, 0.1, 0.5, 3, schedule)
    found = [density_after(number, 0.1, 0.5, 3, schedule) for number in range(13)]
    assert found == expected
    assert found[:3] == [1.0, 1.0, 1.0]
    assert found[-1] == 0.5
