"""Splits from a seed: disjoint, the same for ever, different by seed."""

from pathlib import Path

import pytest

from fedklpr_flwr.data.benchmarks.seeded_split import (
    one_query_per_camera,
    seeded_order,
    separate,
    training_persons,
)
from fedklpr_flwr.data.person_image import PersonImage


def test_the_order_of_a_seed_is_frozen():
    assert seeded_order(range(1, 9), 0) == [7, 4, 3, 8, 2, 6, 5, 1]
    assert seeded_order(range(1, 9), 0) == seeded_order(reversed(range(1, 9)), 0)
    assert seeded_order(range(20), 0) != seeded_order(range(20), 1)


@pytest.mark.parametrize(("persons", "trained"), [(632, 316), (971, 485), (119, 59), (1, 0)])
def test_half_of_the_persons_train_rounded_down(persons, trained):
    assert len(training_persons(range(persons), 0)) == trained


def test_of_193_persons_93_train_in_3dpes():
    assert len(training_persons(range(193), 5, share=93 / 193)) == 93


def test_repeated_persons_count_once():
    assert training_persons([1, 1, 2, 2, 2, 3, 4], 0) == training_persons([1, 2, 3, 4], 0)


def test_each_person_has_one_query_in_each_camera():
    images = [
        PersonImage(Path(f"{person}_{camera}_{shot}.jpg"), person, camera)
        for person in (1, 2)
        for camera in (0, 1)
        for shot in range(4)
    ]
    query, gallery = one_query_per_camera(images, 0)
    assert [(image.person_id, image.camera_id) for image in query] == [
        (1, 0),
        (1, 1),
        (2, 0),
        (2, 1),
    ]
    assert sorted(map(str, (i.path for i in query + gallery))) == sorted(
        str(i.path) for i in images
    )
    assert one_query_per_camera(images, 1)[0] != query


def test_separating_keeps_the_order():
    images = [PersonImage(Path(f"{n}.jpg"), n, 0) for n in range(5)]
    odd, even = separate(images, lambda image: image.person_id % 2 == 1)
    assert [image.person_id for image in odd] == [1, 3]
    assert [image.person_id for image in even] == [0, 2, 4]
