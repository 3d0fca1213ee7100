"""Claims about fedklpr_flwr.client.accuracy: four readings of CRR's accuracy."""

import pytest
import torch

from fedklpr_flwr.client.accuracy import hold_out, measure_accuracy
from fedklpr_flwr.model.scoring import evaluate_personal_model, features_of
from fedklpr_flwr.model.shared_model import initial_network


@pytest.fixture
def network(tiny_settings):
    return initial_network(tiny_settings(), pretrained=False)


def test_the_persons_held_out_are_not_trained_on_and_are_the_same_every_round(tiny_site):
    home, aside = hold_out(tiny_site, "heldout", seed=0)
    again, aside_again = hold_out(tiny_site, "heldout", seed=0)
    assert torch.equal(aside.persons, aside_again.persons)
    assert torch.equal(home.train.persons, again.train.persons)
    assert not set(home.train.persons.tolist()) & set(aside.persons.tolist())
    assert len(home.train) + len(aside) == len(tiny_site.train)
    assert len(aside.persons.unique()) == 1, "a tenth of five persons, but at least one"
    assert home.query is tiny_site.query


@pytest.mark.parametrize("kind", ["training", "cross_camera", "rank1_test"])
def test_other_readings_hold_nobody_out(kind, tiny_site):
    assert hold_out(tiny_site, kind, seed=0) == (tiny_site, None)


def test_training_is_what_was_counted(network, tiny_site):
    labels = tiny_site.train.persons
    assert measure_accuracy("training", network, tiny_site, labels, None, 0.625) == 0.625
    assert measure_accuracy("training", network, tiny_site, labels, None, None) is None


def test_rank1_test_is_rank_1_of_the_sites_own_test_set(network, tiny_site):
    found = measure_accuracy("rank1_test", network, tiny_site, tiny_site.train.persons, None, None)
    assert found == evaluate_personal_model(network, tiny_site).rank1


def test_cross_camera_is_the_share_of_pictures_whose_nearest_elsewhere_is_of_their_cluster(
    network, tiny_site
):
    train = tiny_site.train
    labels = train.persons.clone()
    labels[:3] = -1
    features = features_of(network, train)
    right, asked = 0, 0
    for i in range(len(train)):
        if labels[i] < 0:
            continue
        others = [j for j in range(len(train)) if labels[j] >= 0]
        elsewhere = [j for j in others if train.cameras[j] != train.cameras[i]]
        nearest = max(elsewhere, key=lambda j: float(features[i] @ features[j]))
        right, asked = right + int(labels[nearest] == labels[i]), asked + 1
    found = measure_accuracy("cross_camera", network, tiny_site, labels, None, None)
    assert found == pytest.approx(right / asked)
    assert 0 < found <= 1


def test_cross_camera_needs_two_cameras(network, tiny_site):
    labels = torch.where(tiny_site.train.cameras == 0, tiny_site.train.persons, -1)
    assert measure_accuracy("cross_camera", network, tiny_site, labels, None, None) is None


def test_heldout_searches_each_persons_pictures_under_the_other_camera(network, tiny_site):
    _, aside = hold_out(tiny_site, "heldout", seed=0)
    found = measure_accuracy("heldout", network, tiny_site, aside.persons, aside, None)
    assert found == 1.0, "one person alone is always found"
    assert measure_accuracy("heldout", network, tiny_site, aside.persons, None, None) is None
