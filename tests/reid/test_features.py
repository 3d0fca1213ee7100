"""Features of many pictures."""

import pytest
import torch
from torch import Tensor, nn

from fedklpr_flwr.errors import BrokenModel
from fedklpr_flwr.reid.features import extract_features
from fedklpr_flwr.reid.network import build_network


def pictures(count: int) -> Tensor:
    return torch.randn(count, 3, 64, 32, generator=torch.Generator().manual_seed(0))


def test_features_do_not_depend_on_the_batches() -> None:
    network, images = build_network("small", weights=None, generator_seed=0), pictures(7)
    whole = extract_features(network, [images])
    parts = extract_features(network, iter([images[:3], images[3:4], images[4:]]))
    torch.testing.assert_close(whole, parts)
    torch.testing.assert_close(whole, network.eval()(images).detach())


def test_extraction_leaves_modes_and_statistics_alone() -> None:
    network = build_network("small", weights=None, generator_seed=0)
    network.neck.eval()
    mean = network.backbone.bn1.running_mean.clone()
    extract_features(network, [pictures(4)])
    assert network.training
    assert network.backbone.bn1.training
    assert not network.neck.training
    assert torch.equal(mean, network.backbone.bn1.running_mean)


def test_the_mode_comes_back_after_a_failure() -> None:
    network = build_network("small", weights=None, generator_seed=0)
    with pytest.raises(RuntimeError):
        extract_features(network, [torch.zeros(2, 5, 64, 32)])
    assert network.training


def test_extracted_features_may_take_part_in_a_loss() -> None:
    network = build_network("small", weights=None, generator_seed=0)
    features = extract_features(network, [pictures(4)])
    (network(pictures(4)) * features).sum().backward()
    assert network.backbone.conv1.weight.grad is not None


def test_no_batch_gives_no_feature() -> None:
    assert extract_features(nn.Identity(), []).shape == (0, 0)


def test_features_that_overflow_are_refused_though_every_weight_is_finite() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    nn.init.constant_(network[1].weight, 3e38)
    with pytest.raises(BrokenModel, match="1 of 3 pictures are infinite or no numbers"):
        extract_features(network, [torch.tensor([[0.0, 0.1], [1.0, 1.0], [0.2, 0.0]])])
