"""Claims about fedklpr_flwr.reid.memory_bank: rows follow their features, one after the other."""

import pytest
import torch
from torch.nn import functional

from fedklpr_flwr.reid.memory_bank import moved_rows


def slow(memory, features, rows, momentum):
    memory = memory.clone()
    for feature, row in zip(features, rows.tolist(), strict=True):
        moved = momentum * memory[row] + (1 - momentum) * feature
        memory[row] = moved / moved.norm()
    return memory


@pytest.mark.parametrize("momentum", [0.0, 0.2, 0.9])
def test_pictures_of_one_row_move_it_in_their_order(momentum):
    generator = torch.Generator().manual_seed(0)
    memory = functional.normalize(torch.randn(4, 6, generator=generator), dim=1)
    features = functional.normalize(torch.randn(9, 6, generator=generator), dim=1)
    rows = torch.tensor([2, 0, 2, 2, 3, 0, 2, 3, 2])
    before = memory.clone()
    moved = moved_rows(memory, features, rows, momentum)
    torch.testing.assert_close(moved, slow(memory, features, rows, momentum))
    assert torch.equal(moved[1], memory[1]), "a row that no picture belongs to moved"
    assert torch.equal(memory, before), "the old memory was written over"


def test_a_row_of_zeros_becomes_its_first_feature():
    feature = torch.tensor([[0.6, 0.8]])
    moved = moved_rows(torch.zeros(2, 2), feature, torch.tensor([1]), 0.5)
    torch.testing.assert_close(moved, torch.tensor([[0.0, 0.0], [0.6, 0.8]]))


def test_no_gradient_flows_into_the_memory():
    features = torch.tensor([[1.0, 0.0]], requires_grad=True)
    assert not moved_rows(torch.eye(2), features, torch.tensor([0]), 0.5).requires_grad
