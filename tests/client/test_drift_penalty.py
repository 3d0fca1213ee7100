"""Claims about fedklpr_flwr.client.drift_penalty: the pull towards the received model."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from fedklpr_flwr.algorithm.divergence import kl_regularization_loss, proximal_loss
from fedklpr_flwr.client.drift_penalty import DRIFT_PENALTIES, Step, receive
from fedklpr_flwr.config.settings import Method
from fedklpr_flwr.data.transforms import evaluation_transform
from fedklpr_flwr.model.scoring import features_of
from fedklpr_flwr.model.shared_model import initial_network


@pytest.fixture
def network(tiny_settings):
    return initial_network(tiny_settings(), pretrained=False)


def step_of(network, received, pictures, indices):
    images = evaluation_transform(pictures.pixels[indices])
    parameters = dict(network.named_parameters())
    return Step(images, indices, network(images), parameters, received, 0.1)


def test_every_choice_of_the_settings_has_a_penalty():
    (field,) = [f for f in Method.__dataclass_fields__.values() if f.name == "drift_penalty"]
    assert set(field.metadata["choices"]) == set(DRIFT_PENALTIES)


@pytest.mark.parametrize("penalty", DRIFT_PENALTIES)
def test_a_model_that_has_not_moved_is_not_pulled(penalty, network, tiny_site):
    network.eval()
    received = receive(network, "eval", None, penalty)
    step = step_of(network, received, tiny_site.train, torch.arange(6))
    assert DRIFT_PENALTIES[penalty](step).item() == pytest.approx(0, abs=1e-5)


def test_the_received_model_is_a_frozen_copy(network, tiny_site):
    received = receive(network, "eval", None, "proximal")
    before = {name: value.clone() for name, value in received.parameters.items()}
    with torch.no_grad():
        for value in network.parameters():
            value += 1.0
    assert all(torch.equal(value, before[n]) for n, value in received.parameters.items())
    assert received.parameters
    assert not any(value.requires_grad for value in received.parameters.values())
    assert not any(value.requires_grad for value in received.network.parameters())


@pytest.mark.parametrize("batchnorm", ["eval", "train"])
def test_a_teacher_never_moves_whichever_batch_norm_it_uses(batchnorm, network, tiny_site):
    received = receive(network, batchnorm, None)
    before = {name: value.clone() for name, value in received.network.state_dict().items()}
    received.features(evaluation_transform(tiny_site.train.pixels), torch.arange(20))
    after = received.network.state_dict()
    floats = [name for name in before if before[name].is_floating_point()]
    assert all(torch.equal(after[name], before[name]) for name in floats)


def test_a_teacher_in_train_mode_sees_the_batch_and_not_its_running_statistics(network, tiny_site):
    images, rows = evaluation_transform(tiny_site.train.pixels), torch.arange(20)
    by_running = receive(network, "eval", None).features(images, rows)
    by_batch = receive(network, "train", None).features(images, rows)
    assert not torch.allclose(by_running, by_batch)
    network.train()
    assert torch.allclose(by_batch, network(images).detach(), atol=1e-5)


def test_cached_features_are_those_of_the_plain_view(network, tiny_site):
    cached = receive(network, "eval", features_of(network, tiny_site.train))
    fresh = receive(network, "eval", None)
    images, rows = evaluation_transform(tiny_site.train.pixels), torch.arange(len(tiny_site.train))
    pick = torch.tensor([7, 2, 2])
    expected = fresh.features(images, rows)[pick]
    assert torch.allclose(cached.features(images[:3] * 0, pick), expected, atol=1e-5)


def test_kl_and_proximal_measure_what_their_formulas_say(network, tiny_site):
    received, initial = receive(network, "eval", None), deepcopy(network)
    with torch.no_grad():
        network.backbone.layer1.conv1.weight *= 1.5
    network.eval()
    step = step_of(network, received, tiny_site.train, torch.arange(6))
    reference = received.network(step.images)
    kl = kl_regularization_loss(step.features, reference, 0.1)
    assert DRIFT_PENALTIES["kl"](step).item() == pytest.approx(kl.item())
    assert kl.item() > 0
    received = receive(initial, "eval", None, "proximal")
    step = replace(step, received=received)
    proximal = proximal_loss(step.parameters, received.parameters)
    assert DRIFT_PENALTIES["proximal"](step).item() == pytest.approx(proximal.item())
    moved = float((network.backbone.layer1.conv1.weight / 3).detach().square().sum())
    assert proximal.item() == pytest.approx(moved / 2, rel=1e-4)
    assert DRIFT_PENALTIES["none"](step).item() == 0
