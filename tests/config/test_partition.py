"""Claims about fedklpr_flwr.config.partition: which clients a configuration's sets become."""

import pytest
import torch
from tiny_federation import PERSONS

from fedklpr_flwr.config.compose import (
    compose_settings,
    read_settings,
    settings_from,
    settings_to_dict,
)
from fedklpr_flwr.config.compose import write_settings as write
from fedklpr_flwr.errors import DataError, SettingsError
from fedklpr_flwr.model.site import open_site

MANY = ("data.scenario=many", "data.many.clients=3")
ASH = "data.clients=[{name: ash, reader: folder, folder: ash}]"


def names(settings):
    return [client.name for client in settings.data.clients]


def test_many_deals_every_set_to_so_many_clients_with_names_of_one_length(tiny_settings):
    settings = tiny_settings("data.scenario=many", "data.many.clients=11", ASH)
    assert names(settings) == [f"ash-{hand:02d}" for hand in range(11)]
    assert [client.hand for client in settings.data.clients] == list(range(11))
    assert len(tiny_settings(*MANY).data.clients) == 3 * 3


def test_the_hands_of_a_set_are_its_pictures_and_no_person_is_in_two(tiny_settings, tmp_path):
    settings, whole = tiny_settings(*MANY, ASH), tiny_settings()
    hands = [open_site(client, settings, tmp_path) for client in settings.data.clients]
    ash = open_site(whole.data.clients[0], whole, tmp_path)
    persons = [set(hand.train.persons.tolist()) for hand in hands]
    assert sum(len(hand.train) for hand in hands) == len(ash.train)
    assert sum(len(hand.gallery) for hand in hands) == len(ash.gallery)
    assert sum(map(len, persons)) == PERSONS["ash"] == len(set.union(*persons))


@pytest.mark.slow
def test_another_seed_or_skew_is_another_deal(tiny_settings, tmp_path):
    def hand(*overrides):
        settings = tiny_settings(*MANY, ASH, *overrides)
        site = open_site(settings.data.clients[0], settings, tmp_path)
        return sorted(set(site.train.persons.tolist())), len(site.train)

    assert hand() == hand()
    assert len({str(hand(f"seed={seed}")) for seed in range(6)}) > 1
    assert len({str(hand(f"data.many.alpha={alpha}")) for alpha in (0.01, 1, 1000)}) > 1


def test_more_clients_than_persons_are_an_error_with_both_numbers(tiny_settings, tmp_path):
    settings = tiny_settings("data.scenario=many", "data.many.clients=7", ASH)
    with pytest.raises(
        DataError, match=r"data\.many\.clients=7 needs a training .*has 6: set .*=6 or less"
    ):
        open_site(settings.data.clients[0], settings, tmp_path)


def test_by_camera_takes_the_number_of_cameras_from_the_card():
    settings = compose_settings("real_small", ("data.root=/sets", "data.scenario=by_camera"))
    assert names(settings) == [
        *("ward-camera0", "ward-camera1", "ward-camera2"),
        *("viper-camera0", "viper-camera1"),
        *("pku_reid-camera0", "pku_reid-camera1"),
    ]


@pytest.mark.slow
def test_by_camera_each_drawn_camera_trains_alone_and_is_tested_on_all(tmp_path):
    settings = compose_settings("smoke", ("data.scenario=by_camera",))
    assert names(settings)[:2] == ["street-camera0", "street-camera1"]
    one, other = (open_site(client, settings, tmp_path) for client in settings.data.clients[:2])
    assert (set(one.train.cameras.tolist()), set(other.train.cameras.tolist())) == ({0}, {1})
    assert torch.equal(one.gallery.pixels, other.gallery.pixels)
    assert len(one.query) == len(other.query) > 0


def test_cameras_of_ones_own_pictures_are_named_by_hand(tiny_settings, tmp_path):
    with pytest.raises(SettingsError, match=r"by_camera.*client ash.*reader=folder.*camera"):
        tiny_settings("data.scenario=by_camera")
    own = "data.clients=[{{name: a, reader: folder, folder: ash, camera: {}}}]"
    alone = "federation.min_clients=1"
    settings = tiny_settings(own.format(1), alone)
    site = open_site(settings.data.clients[0], settings, tmp_path)
    assert set(site.train.cameras.tolist()) == {1}
    settings = tiny_settings(own.format(7), alone)
    with pytest.raises(DataError, match=r"client a trains on camera 7, .*pictures of 0, 1"):
        open_site(settings.data.clients[0], settings, tmp_path)


def test_spread_settings_read_back_as_they_are_and_are_not_spread_twice(tiny_settings, tmp_path):
    settings = tiny_settings(*MANY)
    assert settings_from(settings_to_dict(settings)) == settings
    write(settings, tmp_path / "config.yaml")
    assert read_settings(tmp_path / "config.yaml") == settings


def test_settings_written_before_there_were_scenarios_can_still_be_read(tiny_settings):
    before = settings_to_dict(tiny_settings())
    del before["data"]["scenario"], before["data"]["many"]
    before["data"]["clients"] = [
        {key: client[key] for key in ("name", "reader", "folder")}
        for client in before["data"]["clients"]
    ]
    assert settings_from(before) == tiny_settings()


def test_one_client_can_join_all_hands(tiny_settings, tmp_path):
    settings = tiny_settings(*MANY, ASH, "method=centralised")
    joined = open_site(settings.data.clients[0], settings, tmp_path)
    assert names(settings) == ["joined"]
    assert [part.name for part in joined.parts] == ["ash-0", "ash-1", "ash-2"]
    assert joined.known_persons == PERSONS["ash"]
    assert settings_from(settings_to_dict(settings)) == settings


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (("data.scenario=some",), ["data.scenario=some", "by_camera"]),
        ((*MANY, "deployment=true"), ["data.scenario=many", "only a simulation"]),
        (("data.many.clients=0",), ["data.many.clients=0", "at least 1"]),
        (("data.many.alpha=0",), ["data.many.alpha=0", "0.001"]),
        (
            ("data.clients=[{name: a, reader: folder, folder: ash, hand: 64}]",),
            ["client a has hand=64", "0 to 63"],
        ),
        (
            (
                "method=centralised",
                "data.clients=[{name: a, reader: folder, folder: ash, camera: 0}]",
            ),
            ["data.join=true", "somebody else at every camera"],
        ),
    ],
)
def test_what_cannot_be_spread_is_refused_with_key_and_value(tiny_settings, overrides, parts):
    with pytest.raises(SettingsError) as caught:
        tiny_settings(*overrides, "federation.min_clients=1")
    for part in parts:
        assert part in str(caught.value)


def test_a_set_without_names_cannot_be_dealt_and_says_whose_it_is(tiny_settings, sites, tmp_path):
    blank = "data.clients=[{name: gate, reader: folder, folder: blank}]"
    settings = tiny_settings(*MANY, blank)
    with pytest.raises(DataError, match=r"blank: client gate-0 gets no hand of it: .*unknown ones"):
        open_site(settings.data.clients[0], settings, tmp_path)
