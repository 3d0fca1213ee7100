"""Claims about data.most_per_camera_day: so many of a camera and day, evenly over the day."""

import os
from datetime import datetime

import pytest

from fedklpr_flwr.data.camera_day_limit import evenly_spaced, limited_pictures
from fedklpr_flwr.data.person_image import PersonImage, ReidDataset
from fedklpr_flwr.model.site import open_site

SECOND = 1_000_000_000


@pytest.fixture
def dataset(tmp_path):
    """Camera 0: 9 to 15 o'clock on one day and 9 on the next; camera 1: 9 and 10; one to search."""

    def picture(camera, day, hour):
        path = tmp_path / f"{camera}-{day}-{hour:02d}.jpg"
        path.write_bytes(b"")
        moment = datetime(2026, 3, day, hour).timestamp()
        os.utime(path, (moment, moment))
        return PersonImage(path, -1, camera)

    busy = [picture(0, 4, hour) for hour in (15, 9, 12, 10, 14, 11, 13)]
    train = (*busy, picture(0, 5, 9), picture(1, 4, 9), picture(1, 4, 10))
    return ReidDataset("folder", train, (picture(2, 4, 9),), ())


def names(images):
    return [image.path.stem for image in images]


@pytest.mark.parametrize(
    ("most", "hours"), [(1, [12]), (2, [15, 9]), (3, [15, 9, 12]), (4, [15, 9, 11, 13])]
)
def test_a_busy_day_is_thinned_evenly_and_the_order_stays(dataset, most, hours):
    found = limited_pictures(dataset, most)
    others = ["0-5-09", "1-4-09", "1-4-10"]
    expected = [f"0-4-{hour:02d}" for hour in hours]
    assert sorted(names(found.train)[: len(hours)]) == sorted(expected)
    assert names(found.train)[len(hours) :] == (others if most > 1 else ["0-5-09", "1-4-09"])
    assert names(found.train) == [
        name for name in names(dataset.train) if name in names(found.train)
    ]
    assert found.query == dataset.query


def test_what_was_left_out_is_counted_in_a_note(dataset):
    assert limited_pictures(dataset, 3).notes == (
        "more than a camera's day may have: 4 pictures of 10, of 1 day of cameras with more than "
        "3 (data.most_per_camera_day)",
    )
    assert limited_pictures(dataset, 7) is dataset
    assert limited_pictures(dataset, None) is dataset


def test_the_same_files_give_the_same_choice_in_whatever_order_they_are_listed(dataset):
    turned = ReidDataset("folder", dataset.train[::-1], (), ())
    there = {image.path for image in limited_pictures(turned, 3).train}
    assert there == {image.path for image in limited_pictures(dataset, 3).train}


def test_a_burst_does_not_take_the_quiet_hours_places():
    burst = [1000 * SECOND + n for n in range(50)]
    times = [0, *burst, 2000 * SECOND, 3000 * SECOND]
    assert evenly_spaced(times, 4) == [0, 1, 51, 52]


def test_moments_that_are_all_one_are_spread_over_the_list():
    assert evenly_spaced([7] * 9, 3) == [0, 4, 8]
    assert evenly_spaced([7] * 9, 9) == list(range(9))


def test_a_file_that_is_gone_stays_listed_for_who_opens_it(dataset):
    gone = dataset.train[1].path
    gone.unlink()
    assert gone in {image.path for image in limited_pictures(dataset, 1).train}


def test_a_client_trains_on_no_more_and_its_note_is_said(tiny_settings, tmp_path):
    settings = tiny_settings("data.most_per_camera_day=5", "labels.source=clusters")
    site = open_site(settings.data.clients[0], settings, tmp_path)
    assert site.train.cameras.bincount().tolist() == [5, 5]
    assert any("a camera's day" in note for note in site.source.left_out_notes)
