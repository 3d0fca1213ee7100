"""Federations made of data sets."""

from pathlib import Path

import pytest

from fedklpr_flwr.data.person_image import PersonImage, ReidDataset
from fedklpr_flwr.data.scenarios import by_camera, dirichlet_deal, some_persons
from fedklpr_flwr.errors import DataError


def people(persons: int, shots: int = 2, first: int = 1) -> tuple[PersonImage, ...]:
    return tuple(
        PersonImage(Path(f"{person}_{camera}_{shot}.jpg"), person, camera)
        for person in range(first, first + persons)
        for camera in (0, 3)
        for shot in range(shots)
    )


DATASET = ReidDataset("town", people(60), people(20, 1, 1000), people(20, 3, 1000))


def test_by_camera_each_camera_trains_alone_and_all_are_tested_on_everything():
    clients = by_camera(DATASET)
    assert [client.name for client in clients] == ["town-camera0", "town-camera3"]
    for client, camera in zip(clients, (0, 3), strict=True):
        assert {image.camera_id for image in client.train} == {camera}
        assert len(client.train) == 120
        assert client.query == DATASET.query
        assert client.gallery == DATASET.gallery


def test_some_persons_train_with_all_their_pictures_and_all_are_tested():
    left = some_persons(DATASET, 12, seed=5)
    persons = {image.person_id for image in left.train}
    assert len(persons) == 12
    assert left.train == tuple(image for image in DATASET.train if image.person_id in persons)
    assert (left.query, left.gallery) == (DATASET.query, DATASET.gallery)
    assert some_persons(DATASET, 12, seed=5) == left
    assert {image.person_id for image in some_persons(DATASET, 12, seed=6).train} != persons
    # More persons are the same ones and others: runs of several sizes can be compared.
    assert persons < {image.person_id for image in some_persons(DATASET, 30, seed=5).train}


def test_more_persons_than_there_are_and_unknown_ones_are_named():
    with pytest.raises(DataError, match="town: persons=61, and it has 60 to train on"):
        some_persons(DATASET, 61, 0)
    unknown = ReidDataset("own", (PersonImage(Path("x.jpg"), -1, 0),), (), ())
    with pytest.raises(DataError, match="own: persons=1 of unknown training persons"):
        some_persons(unknown, 1, 0)


@pytest.mark.parametrize("clients", [1, 7, 60])
def test_a_deal_gives_every_picture_to_one_client_and_every_person_whole(clients):
    hands = dirichlet_deal(DATASET, clients, 0.5, 0)
    assert len(hands) == clients
    for part in ("train", "query", "gallery"):
        dealt = [image for hand in hands for image in getattr(hand, part)]
        assert sorted(map(str, dealt)) == sorted(map(str, getattr(DATASET, part)))
    owners: dict[int, set[str]] = {}
    for hand in hands:
        assert hand.train
        for image in hand.train + hand.query + hand.gallery:
            owners.setdefault(image.person_id, set()).add(hand.name)
    assert all(len(names) == 1 for names in owners.values())


def test_a_small_alpha_is_more_unequal_than_a_large_one():
    def largest(alpha: float) -> int:
        return max(len(hand.train) for hand in dirichlet_deal(DATASET, 6, alpha, 3))

    assert largest(0.05) > 1.5 * largest(1000.0)


def test_a_deal_depends_on_the_seed_alone():
    assert dirichlet_deal(DATASET, 5, 0.5, 1) == dirichlet_deal(DATASET, 5, 0.5, 1)
    assert dirichlet_deal(DATASET, 5, 0.5, 1) != dirichlet_deal(DATASET, 5, 0.5, 2)


def test_distractors_are_dealt_one_by_one():
    nobody = tuple(PersonImage(Path(f"n{n}.jpg"), 0, 0) for n in range(9))
    dataset = ReidDataset("town", people(3), (), nobody)
    assert [len(hand.gallery) for hand in dirichlet_deal(dataset, 3, 1.0, 0)] == [3, 3, 3]


def test_a_thousand_clients_are_dealt():
    hands = dirichlet_deal(ReidDataset("city", people(1200, 1), (), ()), 1000, 0.5, 0)
    assert len(hands) == 1000
    assert hands[7].name == "city-007"
    assert all(hand.train for hand in hands)


@pytest.mark.parametrize(
    ("clients", "alpha", "message"),
    [
        (61, 1.0, "61 needs a training person .*town has 60: set data.many.clients=60 or less"),
        (0, 1.0, "clients >= 1"),
        (2, 0.0, "alpha > 0"),
        (2, float("nan"), "alpha > 0"),
    ],
)
def test_an_impossible_deal_is_an_error_with_the_values(clients, alpha, message):
    with pytest.raises(DataError, match=message):
        dirichlet_deal(DATASET, clients, alpha, 0)


def test_a_set_with_nobody_to_train_on_cannot_be_dealt_to_fewer():
    with pytest.raises(DataError, match="gate has 0: take a set with more persons"):
        dirichlet_deal(ReidDataset("gate", (), (), ()), 2, 1.0, 0)


def test_unknown_persons_cannot_be_dealt():
    unknown = ReidDataset("own", (PersonImage(Path("x.jpg"), -1, 0),), (), ())
    with pytest.raises(DataError, match="unknown ones"):
        dirichlet_deal(unknown, 1, 1.0, 0)
