"""Claims about fedklpr_flwr.reid.stripes: stripes of a picture, each with a memory of clusters."""

import pytest
import torch
from torch.nn import functional

from fedklpr_flwr.reid.network import build_network
from fedklpr_flwr.reid.stripes import (
    PatchMemory,
    WithStripes,
    centred,
    extract_stripes,
    features_and_map,
    stripe_means,
)


@pytest.fixture(scope="module")
def network():
    return build_network("small", weights=None, generator_seed=0)


def pictures(count=4):
    return torch.randn(count, 3, 32, 16, generator=torch.Generator().manual_seed(2))


def test_features_come_out_as_the_network_gives_them_and_the_map_pools_to_them(network):
    network.eval()
    with torch.no_grad():
        features, feature_map = features_and_map(network, pictures())
        assert torch.equal(features, network(pictures()))
        pooled = feature_map.mean(dim=(2, 3))
        torch.testing.assert_close(functional.normalize(network.neck(pooled), dim=1), features)
    assert not network.backbone.layer4._forward_hooks, "the hook outlived the pass"


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenet_v2"])
def test_every_backbone_has_a_last_map(backbone):
    network = build_network(backbone, weights=None, generator_seed=0).eval()
    with torch.no_grad():
        features, feature_map = features_and_map(network, pictures(2))
    assert feature_map.shape[:2] == (2, features.shape[1])


def test_stripes_are_means_of_equal_bands_from_top_to_bottom():
    feature_map = torch.arange(2 * 2 * 6 * 3, dtype=torch.float32).reshape(2, 2, 6, 3)
    stripes = stripe_means(feature_map, 3)
    assert stripes.shape == (2, 3, 2)
    for picture in range(2):
        for stripe in range(3):
            for channel in range(2):
                band = feature_map[picture, channel, 2 * stripe : 2 * stripe + 2]
                assert stripes[picture, stripe, channel] == band.mean()


def test_one_stripe_is_the_whole_picture():
    feature_map = torch.randn(3, 5, 4, 2)
    torch.testing.assert_close(stripe_means(feature_map, 1)[:, 0], feature_map.mean(dim=(2, 3)))


def test_extraction_changes_nothing_and_takes_pictures_in_their_order(network):
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    table = extract_stripes(network, [pictures()[:3], pictures()[3:]], 3)
    assert table.shape == (4, 3, 128)
    assert all(torch.equal(value, before[n]) for n, value in network.state_dict().items())
    assert network.training
    torch.testing.assert_close(table, extract_stripes(network, [pictures()], 3))


def slow_loss(table, labels, batch, clusters, temperature):
    """Centre, scale, bring to unit length, centroids, cross-entropy: stripe by stripe."""
    losses = []
    for stripe in range(table.shape[1]):
        known = table[labels >= 0, stripe]
        mean, deviation = known.mean(0), known.std(0, correction=0)
        unit = [functional.normalize((row - mean) / deviation, dim=0) for row in table[:, stripe]]
        centroids = []
        for cluster in range(int(labels.max()) + 1):
            members = [row for row, label in zip(unit, labels, strict=True) if label == cluster]
            centroids.append(functional.normalize(torch.stack(members).sum(0), dim=0))
        for row, own in zip(batch[:, stripe], clusters, strict=True):
            feature = functional.normalize((row - mean) / deviation, dim=0)
            scores = torch.stack([feature @ centroid for centroid in centroids]) / temperature
            losses.append(scores.logsumexp(0) - scores[own])
    return torch.stack(losses).mean()


def test_the_loss_is_the_mean_over_stripes_of_their_own_contrast():
    generator = torch.Generator().manual_seed(5)
    table = torch.rand(8, 3, 6, generator=generator)
    labels = torch.tensor([0, 1, 2, 0, 1, 2, -1, 0])
    memory = PatchMemory(table, labels, 3, temperature=0.2, momentum=0.1)
    batch, clusters = torch.rand(4, 3, 6, generator=generator), torch.tensor([2, 0, 0, 1])
    torch.testing.assert_close(
        memory.loss(batch, clusters), slow_loss(table, labels, batch, clusters, 0.2)
    )


def test_every_stripe_moves_its_own_memory():
    table = torch.rand(6, 2, 4, generator=torch.Generator().manual_seed(6))
    labels = torch.tensor([0, 0, 1, 1, 0, 1])
    memory = PatchMemory(table, labels, 2, temperature=0.2, momentum=0.5)
    before = [part.centroids.clone() for part in memory.memories]
    memory.update(table[:1], labels[:1])
    for old, part in zip(before, memory.memories, strict=True):
        assert not torch.equal(part.centroids[0], old[0])
        assert torch.equal(part.centroids[1], old[1])
    assert not torch.equal(memory.memories[0].centroids, memory.memories[1].centroids)


def test_a_dimension_that_never_varies_does_no_harm():
    table = torch.ones(4, 1, 3)
    memory = PatchMemory(table, torch.tensor([0, 0, 1, 1]), 2, temperature=0.1, momentum=0.1)
    assert memory.loss(table, torch.tensor([0, 0, 1, 1])).isfinite()


@pytest.mark.parametrize(
    ("backbone", "channels"), [("small", 128), ("resnet18", 256), ("mobilenet_v2", 96)]
)
def test_features_come_with_the_stripes_of_the_last_stage_but_one(backbone, channels):
    network = build_network(backbone, weights=None, generator_seed=0).eval()
    images = torch.randn(3, 3, 64, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        both = WithStripes(network, 4)(images)
        size = network.feature_dim
        assert both.shape == (3, size + 4 * channels)
        assert torch.equal(both[:, :size], network(images))
        torch.testing.assert_close(both[:, size:].norm(dim=1), torch.ones(3))
        upper = images.clone()
        upper[:, :, 48:] = 0  # what stands below is another stripe's
        other = WithStripes(network, 4)(upper)
    changed = (other - both)[:, size:].view(3, 4, channels).norm(dim=2)
    assert bool((changed[:, 3] > changed[:, 0]).all())


def test_centred_stripes_have_no_corner_of_the_space_in_common():
    stripes = 5 + torch.rand(40, 16, generator=torch.Generator().manual_seed(1))
    stripes[:, 3] = 2.0
    spread, unit = centred(stripes), functional.normalize(stripes, dim=1)
    assert float((unit @ unit.T).min()) > 0.9
    assert abs(float((spread @ spread.T).mean())) < 0.05
    torch.testing.assert_close(spread.norm(dim=1), torch.ones(40))
    assert bool((spread[:, 3] == 0).all())
    assert centred(stripes[:0]).shape == (0, 16)
