"""Claims about a client's round: every choice of labels and loss changes what is trained."""

import pytest
import torch

from fedklpr_flwr.client.label_source import appearance_of, label_site
from fedklpr_flwr.client.local_round import run_local_round
from fedklpr_flwr.client.state_store import fresh_memory
from fedklpr_flwr.model.shared_model import full_masks, initial_network
from fedklpr_flwr.reid.network import build_network

FOUND = ("labels.source=clusters", "labels.k1=4", "labels.k2=1", "labels.min_samples=2")
"""Most people are one cluster in each camera."""

CLUSTERS = "method.local_loss=clusters"


def trained(settings, site):
    """The first layer's weights after a round."""
    network = initial_network(settings, pretrained=False)
    memory = fresh_memory(full_masks(network, settings))
    run_local_round(network, site, memory, settings, 1)
    return network.backbone.conv1.weight.detach().clone()


@pytest.mark.parametrize(
    ("usual", "choice"),
    [
        ((), "proxies.negatives=own_camera"),
        ((*FOUND, "labels.eps=0.6"), "proxies.negatives=auto"),
        ((), "proxies.online_weight=1"),
        ((), "proxies.intra_weight=0.1"),
        ((), "proxies.inter_weight=0.1"),
        ((), "proxies.temperature=0.5"),
        ((), "proxies.momentum=0.9"),
        ((CLUSTERS,), "cluster_memory.update=hardest"),
        ((CLUSTERS,), "cluster_memory.across_cameras=true"),
        (("training.erasing=1",), "training.erased=fedcapr"),
        ((), "training.erasing=1"),
        ((), "training.jitter=0.5"),
    ],
)
def test_it_changes_what_is_trained(usual, choice, tiny_settings, tiny_site):
    usual = ("training.max_batches=4", *usual)
    without = trained(tiny_settings(*usual), tiny_site)
    assert torch.equal(without, trained(tiny_settings(*usual), tiny_site))
    assert not torch.equal(without, trained(tiny_settings(*usual, choice), tiny_site))


BY_CAMERA = "labels.neighbours=by_camera"
"""With it some clusters are of both cameras."""


@pytest.mark.parametrize(
    "choice",
    [
        "labels.k1=2",
        "labels.eps=0.05",
        "labels.min_samples=9",
        "labels.camera=zscore",
        "labels.camera=mean",
        "labels.neighbours=by_camera",
        (BY_CAMERA, "labels.spanning_from=0"),
        "labels.share=0.2",
        "labels.camera_batchnorm=true",
        "labels.stripes=1",
        "labels.colour=1",
        "labels.tracks=persons",
    ],
)
def test_it_changes_which_pictures_are_taken_for_one_person(choice, tiny_settings, tiny_site):
    network = build_network("small", weights=None, generator_seed=0)
    *usual, choice = (choice,) if isinstance(choice, str) else choice

    def labels(*more):
        settings = tiny_settings(*FOUND, "labels.eps=0.6", *usual, *more)
        seen = appearance_of(network, tiny_site, settings)
        return label_site(tiny_site, seen.compared, 1, settings).labels

    assert torch.equal(labels(), labels())
    assert not torch.equal(labels(), labels(choice))
