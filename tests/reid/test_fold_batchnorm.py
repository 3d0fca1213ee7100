"""Claims about reid.fold_batchnorm: the same features, without batch norms on the way."""

import pytest
import torch
from torch import nn

from fedklpr_flwr.reid.fold_batchnorm import fuse_batchnorm
from fedklpr_flwr.reid.network import FEATURE_DIMS, build_network


@pytest.mark.parametrize("backbone", FEATURE_DIMS)
def test_the_features_are_those_of_the_network_with_batch_norms(backbone):
    network = build_network(backbone, weights=None, generator_seed=1)
    generator = torch.Generator().manual_seed(2)
    pictures = torch.randn(4, 3, 64, 32, generator=generator)
    with torch.no_grad():
        for _ in range(3):
            network(pictures)  # so that running statistics are not what they began with
        network.eval()
        slow = network(pictures)
        fuse_batchnorm(network)
        assert not any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())
        assert torch.allclose(network(pictures), slow, atol=1e-5)


def test_a_batch_norm_that_follows_no_convolution_of_its_width_stays():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)).eval()
    fuse_batchnorm(network)
    assert isinstance(network[2], nn.BatchNorm2d)
