"""Claims about data.newest_days: old training pictures are left out, and nothing else."""

import os

import pytest

from fedklpr_flwr.config.settings import Client
from fedklpr_flwr.data.newest_pictures import newest_pictures
from fedklpr_flwr.data.person_image import PersonImage, ReidDataset
from fedklpr_flwr.model.site import list_pictures, open_site

DAY = 86_400
NOON = 1_700_000_000


@pytest.fixture
def dataset(tmp_path):
    """Training pictures of 0, 1, 2 and 30 days before the newest, and old ones to search."""

    def picture(days):
        path = tmp_path / f"{days}.jpg"
        path.write_bytes(b"")
        os.utime(path, (NOON, NOON - days * DAY))
        return PersonImage(path, -1, 0)

    train = tuple(map(picture, (30, 0, 2, 1)))
    return ReidDataset("folder", train, (picture(400),), (picture(500),))


def ages(images):
    return [int(image.path.stem) for image in images]


def test_a_camera_whose_clock_is_fast_does_not_make_all_others_old(dataset):
    ahead = dataset.train[1].path
    os.utime(ahead, (NOON, 2_114_380_800))  # 2037: touched here just now
    for image in dataset.train[2:]:
        os.utime(image.path)
    assert ages(newest_pictures(dataset, 60).train) == [0, 2, 1]


@pytest.mark.parametrize(("days", "kept"), [(30, [30, 0, 2, 1]), (2, [0, 2, 1]), (0, [0])])
def test_age_counts_from_the_newest_picture_and_the_order_stays(dataset, days, kept):
    found = newest_pictures(dataset, days)
    assert ages(found.train) == kept
    assert (found.query, found.gallery) == (dataset.query, dataset.gallery)


def test_what_was_left_out_is_counted_in_a_note(dataset):
    assert newest_pictures(dataset, 2).notes == (
        "too old to be trained on: 1 picture of 4, more than 2 days older than the newest "
        "(data.newest_days)",
    )
    assert newest_pictures(dataset, 30).notes == ()
    assert newest_pictures(dataset, None) is dataset


def test_a_file_that_is_gone_stays_listed_for_who_opens_it(dataset):
    dataset.train[0].path.unlink()
    assert len(newest_pictures(dataset, 1).train) == 3


def test_a_client_trains_on_what_is_new_and_its_note_is_said(sites, tiny_settings, tmp_path):
    settings = tiny_settings("data.newest_days=5")
    client = Client(name="ash", reader="folder", folder="ash")
    everything = list_pictures(client, settings, tmp_path)[0].train
    old = everything[0].path
    before = old.stat()
    os.utime(old, (before.st_atime, before.st_mtime - 40 * DAY))
    try:
        site = open_site(client, settings, tmp_path)
    finally:
        os.utime(old, (before.st_atime, before.st_mtime))
    assert len(site.train) == len(everything) - 1
    assert any("too old" in note for note in site.source.left_out_notes)
