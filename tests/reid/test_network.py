"""The network's shape, its seed, its strides, and the re-estimation of its batch norms."""

import pytest
import torch
from torch import Tensor, nn

from fedklpr_flwr.errors import SettingsError
from fedklpr_flwr.reid.network import (
    FEATURE_DIMS,
    ReidNetwork,
    build_network,
    reestimate_batchnorm,
)


def pictures(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, 64, 32, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("backbone", FEATURE_DIMS)
def test_features_are_unit_rows_of_the_promised_width(backbone: str) -> None:
    network = build_network(backbone, weights=None, generator_seed=0)
    features = network(pictures(2))
    assert features.shape == (2, network.feature_dim)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(2))


@pytest.mark.parametrize(
    ("backbone", "parameters"), [("resnet50", 23_512_128), ("resnet34", 21_285_696)]
)
def test_the_papers_networks_have_the_papers_parameters(backbone: str, parameters: int) -> None:
    network = build_network(backbone, weights=None, generator_seed=0)
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize(
    ("backbone", "last", "shrinks"),
    [
        ("resnet18", "layer4", 16),
        ("resnet50", "layer4", 16),
        ("mobilenet_v2", "features", 16),
        ("small", "layer4", 8),
    ],
)
def test_the_last_stage_keeps_its_resolution(backbone: str, last: str, shrinks: int) -> None:
    network = build_network(backbone, weights=None, generator_seed=0)
    shapes = []
    network.backbone.get_submodule(last).register_forward_hook(
        lambda module, inputs, output: shapes.append(output.shape[2:])
    )
    network(pictures(2))
    assert shapes == [(64 // shrinks, 32 // shrinks)]


def test_the_seed_alone_decides_the_start() -> None:
    first, second, other = (
        build_network("small", weights=None, generator_seed=seed).state_dict() for seed in (5, 5, 6)
    )
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["backbone.conv1.weight"], other["backbone.conv1.weight"])


def test_building_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    build_network("small", weights=None, generator_seed=1)
    assert torch.equal(before, torch.get_rng_state())


def test_the_stem_has_its_relu_only_where_asked() -> None:
    without = build_network("resnet18", weights=None, generator_seed=0)
    with_it = build_network("resnet18", weights=None, generator_seed=0, stem_relu=True)
    assert isinstance(without.backbone.relu, nn.Identity)
    assert isinstance(with_it.backbone.relu, nn.ReLU)
    assert not torch.allclose(without(pictures(2)), with_it(pictures(2)))


def test_the_necks_bias_takes_no_gradient() -> None:
    network = build_network("small", weights=None, generator_seed=0)
    network(pictures(4))[:, 0].sum().backward()
    assert network.neck.bias.grad is None
    assert network.neck.weight.grad is not None


def test_an_unknown_backbone_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match="'vgg16'"):
        build_network("vgg16", weights=None, generator_seed=0)


def one_norm() -> ReidNetwork:
    """A network whose only batch norm is the neck: three channels, their means over the picture."""
    return ReidNetwork(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), 3)


def test_reestimated_statistics_are_the_plain_average_over_batches() -> None:
    network, batches = one_norm(), [pictures(4, 1), pictures(6, 2), pictures(3, 3)]
    reestimate_batchnorm(network, batches)
    pooled = [batch.mean(dim=(2, 3)) for batch in batches]
    mean = sum(part.mean(dim=0) for part in pooled) / 3
    variance = sum(part.var(dim=0, unbiased=True) for part in pooled) / 3
    torch.testing.assert_close(network.neck.running_mean, mean)
    torch.testing.assert_close(network.neck.running_var, variance)


def test_reestimation_forgets_what_was_there() -> None:
    network, again = one_norm(), one_norm()
    reestimate_batchnorm(network, [pictures(4, 9)])
    reestimate_batchnorm(network, [pictures(4, 1)])
    reestimate_batchnorm(again, [pictures(4, 1)])
    assert torch.equal(network.neck.running_mean, again.neck.running_mean)


def test_reestimation_changes_nothing_but_statistics() -> None:
    network = build_network("small", weights=None, generator_seed=0)
    network.eval()
    network.neck.train()
    before = {name: p.clone() for name, p in network.named_parameters()}
    reestimate_batchnorm(network, [pictures(4)])
    assert all(torch.equal(before[name], p) for name, p in network.named_parameters())
    assert network.neck.training
    assert not network.training
    assert not network.backbone.bn1.training
    assert network.neck.momentum == 0.1


def test_reestimation_passes_over_single_pictures() -> None:
    network = one_norm()
    reestimate_batchnorm(network, [pictures(1), pictures(4, 1), pictures(1)])
    expected = pictures(4, 1).mean(dim=(2, 3)).mean(dim=0)
    torch.testing.assert_close(network.neck.running_mean, expected)


def test_reestimation_without_batches_changes_nothing() -> None:
    network = one_norm()
    reestimate_batchnorm(network, [pictures(4)])
    before = network.neck.running_mean.clone()
    reestimate_batchnorm(network, [pictures(1)])
    assert torch.equal(before, network.neck.running_mean)
