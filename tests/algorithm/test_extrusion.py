"""Claims about fedklpr_flwr.algorithm.extrusion: marked weights shrink, the others do not."""

import pytest
import torch

from fedklpr_flwr.algorithm.extrusion import Extrusion
from fedklpr_flwr.errors import WeightsError


def test_the_gradient_is_that_of_the_penalty_on_marked_weights_alone():
    weight = torch.tensor([1.0, -2.0, 3.0], requires_grad=True)
    marked = torch.tensor([True, False, True])
    (0.7 * (weight * marked).square().sum()).backward()
    expected = weight.grad.clone()
    weight.grad = torch.zeros(3)
    Extrusion({"w": weight}, {"w": marked}).add_gradients(0.7)
    assert torch.equal(weight.grad, expected)


def test_a_weight_of_nought_and_a_missing_gradient_change_nothing():
    weight = torch.tensor([1.0], requires_grad=True)
    extrusion = Extrusion({"w": weight}, {"w": torch.tensor([True])})
    extrusion.add_gradients(1.0)
    assert weight.grad is None
    weight.grad = torch.tensor([0.5])
    extrusion.add_gradients(0.0)
    assert weight.grad.tolist() == [0.5]


def test_marks_of_another_architecture_are_refused():
    with pytest.raises(WeightsError, match="'v'"):
        Extrusion({"w": torch.zeros(2)}, {"v": torch.ones(2, dtype=torch.bool)})
