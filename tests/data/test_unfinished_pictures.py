"""Claims about data.settle_seconds: who is being written waits, who is broken is still named."""

import os
import time

import pytest
from tiny_federation import write_pictures

from fedklpr_flwr.config.settings import Client
from fedklpr_flwr.data.person_image import PersonImage, ReidDataset
from fedklpr_flwr.data.picture_cache import pictures_fingerprint
from fedklpr_flwr.data.unfinished_pictures import finished_pictures
from fedklpr_flwr.errors import DataError
from fedklpr_flwr.model import site
from fedklpr_flwr.model.site import open_site


@pytest.fixture
def files(tmp_path):
    """Four whole pictures of a person, c0_0.png to c1_1.png."""
    write_pictures(tmp_path / "gate" / "train", [0], 2, 0)
    return sorted((tmp_path / "gate" / "train" / "p0").iterdir())


def cut(path, age=0.0):
    """Leave half of a file, as a copy that goes on, last written so many seconds ago."""
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    changed = time.time() - age
    os.utime(path, (changed, changed))
    return whole


def dataset_of(files):
    train, query, gallery = ([PersonImage(path, 1, 0)] for path in files[:3])
    return ReidDataset("folder", (*train, PersonImage(files[3], 1, 1)), (*query,), (*gallery,))


def test_what_is_young_and_not_whole_is_left_out_of_every_list_and_counted(files):
    for path in files[:3]:
        cut(path)
    found = finished_pictures(dataset_of(files), 60)
    assert [len(images) for images in found.lists.values()] == [1, 0, 0]
    assert found.train[0].path == files[3]
    assert found.notes == (
        "still being written: 3 pictures of 4, younger than 60 s and not whole "
        "(data.settle_seconds), left for the next round",
    )


def test_young_and_whole_or_old_and_broken_stays(files):
    cut(files[0], age=100)
    dataset = dataset_of(files)
    assert finished_pictures(dataset, 60) is dataset
    cut(files[1])
    assert finished_pictures(dataset, 0) is dataset


def test_a_date_to_come_does_not_keep_a_broken_picture_waiting_for_ever(files, monkeypatch):
    cut(files[0], age=-10_000)
    assert len(finished_pictures(dataset_of(files), 60).train) == 1
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 100)
    assert len(finished_pictures(dataset_of(files), 60).train) == 2


def test_a_box_goes_on_without_it_and_has_it_the_next_time(files, tiny_settings, tmp_path):
    gate = Client(name="gate", reader="folder", folder=str(tmp_path / "gate"))
    box = tiny_settings("deployment=true", "labels.source=clusters")
    everything = open_site(gate, box, tmp_path / "cache")
    whole = cut(files[0])
    waiting = open_site(gate, box, tmp_path / "cache")
    assert len(waiting.train) == len(everything.train) - 1 == 3
    assert any("left for the next round" in note for note in waiting.source.left_out_notes)
    files[0].write_bytes(whole)
    after = open_site(gate, box, tmp_path / "cache")
    assert (after.train.pixels == everything.train.pixels).all()
    assert after.source.left_out_notes == everything.source.left_out_notes


def test_a_simulation_and_an_old_file_are_told_by_name_as_ever(files, tiny_settings, tmp_path):
    gate = Client(name="gate", reader="folder", folder=str(tmp_path / "gate"))
    cut(files[0])
    with pytest.raises(DataError, match=r"c0_0\.png.*truncated"):
        open_site(gate, tiny_settings(), tmp_path / "cache")
    cut(files[0], age=100)
    with pytest.raises(DataError, match=r"c0_0\.png"):
        open_site(gate, tiny_settings("deployment=true"), tmp_path / "cache")


def test_a_name_that_a_camera_writes_under_until_it_is_done_waits_too(
    files, tiny_settings, tmp_path
):
    gate = Client(name="gate", reader="folder", folder=str(tmp_path / "gate"))
    box = tiny_settings("deployment=true", "labels.source=clusters")
    half = files[0].rename(files[0].with_name(f"{files[0].name}.part"))
    waiting = open_site(gate, box, tmp_path / "cache")
    assert len(waiting.train) == 3
    assert any(
        "1 file left for the next round: c0_0.png.part" in n for n in waiting.source.left_out_notes
    )
    long_ago = time.time() - 100
    os.utime(half, (long_ago, long_ago))
    with pytest.raises(DataError, match=r"c0_0\.png\.part"):
        open_site(gate, box, tmp_path / "cache")


def test_a_picture_that_is_deleted_between_listing_and_decoding_is_gone(
    files, tiny_settings, tmp_path, monkeypatch
):
    """Its owner may delete it at any time; a broken one that stays is still an error."""
    gate = Client(name="gate", reader="folder", folder=str(tmp_path / "gate"))
    listed = site.list_pictures

    def then_deleted(*asked):
        found = listed(*asked)
        files[0].unlink(missing_ok=True)
        return found

    monkeypatch.setattr(site, "list_pictures", then_deleted)
    assert len(open_site(gate, tiny_settings(), tmp_path / "cache").train) == 3


def test_a_listed_picture_that_is_gone_has_a_fingerprint_of_its_own(files):
    train = dataset_of(files).train
    whole = pictures_fingerprint(train)
    files[0].unlink()
    assert pictures_fingerprint(train) not in (whole, pictures_fingerprint(train[1:]))
