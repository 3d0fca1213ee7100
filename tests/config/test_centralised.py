"""Claims about the centralised end of the scale: one client with the pictures of all sites."""

from dataclasses import replace

import pytest
import torch

from fedklpr_flwr.config.compose import settings_from, settings_to_dict
from fedklpr_flwr.model.scoring import evaluate_personal_model, mean_scores
from fedklpr_flwr.model.shared_model import initial_network
from fedklpr_flwr.model.site import join_sites, open_site


def relabelled(site, name, *, persons, cameras):
    train = replace(site.train, persons=torch.tensor(persons), cameras=torch.tensor(cameras))
    return replace(site, name=name, train=train)


def test_nobody_and_no_camera_of_one_site_is_taken_for_one_of_another(tiny_site):
    count = len(tiny_site.train)
    one = relabelled(
        tiny_site, "one", persons=[0] * 9 + [7] * 10 + [-1], cameras=[0] * 10 + [2] * 10
    )
    two = relabelled(tiny_site, "two", persons=[0] * 19 + [-1], cameras=[0] * 20)
    joined = join_sites("both", [one, two, one])
    assert len(joined.train) == 3 * count
    # Persons 0 and 7, then 8, then 9 and 16; cameras 0 and 2, then 3, then 4 and 6.
    assert set(joined.train.persons.tolist()) == {0, 7, 8, 9, 16, -1}
    assert joined.known_persons == 5
    assert joined.train.persons[count - 1] == -1
    assert set(joined.train.cameras.tolist()) == {0, 2, 3, 4, 6}
    assert torch.equal(joined.train.pixels[count : 2 * count], two.train.pixels)


def test_each_site_is_searched_by_itself_and_the_mean_is_told(tiny_settings, tmp_path):
    settings = tiny_settings("method=centralised")
    (identity,) = settings.data.clients
    joined = open_site(identity, settings, tmp_path)
    assert [part.name for part in joined.parts] == [c.name for c in settings.data.joined]
    network = initial_network(settings, pretrained=False)
    scores = [evaluate_personal_model(network, part) for part in joined.parts]
    found = evaluate_personal_model(network, joined)
    assert found.map == pytest.approx(sum(s.map for s in scores) / len(scores))
    assert found.queries == sum(s.queries for s in scores)


def test_the_mean_passes_over_sites_without_a_test_set():
    assert mean_scores([None, None]) is None
    assert mean_scores([]) is None


def test_it_trains_as_many_batches_as_all_sites_together_and_waits_for_one_client(tiny_settings):
    alone, all_of_them = tiny_settings("method=fedavg"), tiny_settings("method=centralised")
    assert all_of_them.training.max_batches == (
        len(alone.data.clients) * alone.training.max_batches
    )
    assert all_of_them.federation.min_clients == 1
    assert all_of_them.data.sites == alone.data.clients
    unlimited = tiny_settings("method=centralised", "training.max_batches=null")
    assert unlimited.training.max_batches is None


def test_joined_settings_read_back_as_they_are_and_are_not_joined_twice(tiny_settings):
    settings = tiny_settings("method=centralised")
    assert settings_from(settings_to_dict(settings)) == settings
