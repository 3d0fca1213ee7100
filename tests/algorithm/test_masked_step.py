"""Claims about fedklpr_flwr.algorithm.masked_step: a step leaves pruned weights at zero."""

import pytest
import torch
from torch import nn

from fedklpr_flwr.algorithm.masked_step import MaskedSteps
from fedklpr_flwr.errors import WeightsError


def test_pruned_weights_do_not_move_in_a_step():
    layer = nn.Linear(3, 1, bias=False)
    masked = MaskedSteps(
        dict(layer.named_parameters()), {"weight": torch.tensor([[True, False, True]])}
    )
    masked.mask_weights()
    layer(torch.ones(2, 3)).sum().backward()
    masked.mask_gradients()
    assert layer.weight.grad.flatten().tolist() == [2.0, 0.0, 2.0]
    torch.optim.SGD(layer.parameters(), lr=0.1).step()
    assert layer.weight[0, 1] == 0.0


def test_masking_weights_sets_pruned_ones_to_plus_zero():
    layer = nn.Linear(2, 1, bias=False)
    masked = MaskedSteps(dict(layer.named_parameters()), {"weight": torch.tensor([[True, False]])})
    with torch.no_grad():
        layer.weight.fill_(-1.0)
    masked.mask_weights()
    assert layer.weight.flatten().tolist() == [-1.0, 0.0]
    assert not torch.signbit(layer.weight[0, 1])


def test_a_weight_in_channels_last_is_masked_at_the_same_coordinates():
    weight = torch.arange(1.0, 25.0).reshape(2, 3, 2, 2)
    mask = torch.rand(weight.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    last = weight.clone(memory_format=torch.channels_last)
    MaskedSteps({"w": last}, {"w": mask}).mask_weights()
    assert torch.equal(last, weight * mask)


def test_a_weight_without_a_gradient_is_passed_over():
    weight = torch.ones(2, requires_grad=True)
    MaskedSteps({"w": weight}, {"w": torch.tensor([True, False])}).mask_gradients()
    assert weight.grad is None


@pytest.mark.parametrize("name", ["other", "w"])
def test_a_mask_of_another_model_is_refused(name):
    with pytest.raises(WeightsError, match=name):
        MaskedSteps({"w": torch.ones(2)}, {name: torch.ones(3, dtype=torch.bool)})
