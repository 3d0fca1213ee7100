"""The one door: names, roots, and files that cannot be used."""

import os

import pytest

from fedklpr_flwr.data.benchmarks import CARDS, READERS, read_dataset
from fedklpr_flwr.errors import DataError

NAMES = [
    "market1501",
    "dukemtmc",
    "cuhk03",
    "prid2011",
    "cuhk01",
    "viper",
    "3dpes",
    "ilids_vid",
    "msmt17",
    "ward",
    "prid450s",
    "pku_reid",
    "folder",
    "pytorch",
    "csv",
    "mot",
]
WARD = ["000100010001.jpg", "000100020001.jpg", "000200010001.jpg", "000200020001.jpg"]


def test_every_set_has_a_reader_and_a_card():
    assert list(READERS) == NAMES
    assert list(CARDS) == NAMES
    own = ("folder", "pytorch", "csv", "mot")
    benchmarks = [CARDS[name] for name in NAMES if name not in own]
    for card in benchmarks:
        assert card.expected
        for word in ("Paper", "Had from:", "Terms:", "Holds:", "Names:", "Split:", "Person ids:"):
            assert word in card.words or word == "Names:", (card.title, word)


def test_an_unknown_name_is_answered_with_what_there_is(tmp_path):
    with pytest.raises(DataError, match=r"market1501.*csv.*drawn:SITE.*'market'"):
        read_dataset("market", tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_root_names_the_path_and_what_was_expected(tmp_path, name):
    with pytest.raises(DataError, match=r"gone: expected .*got nothing"):
        read_dataset(name, tmp_path / "gone")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "csv"])
def test_a_root_that_is_a_file_is_refused(tmp_path, name):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match=r"file: expected .*got a file"):
        read_dataset(name, tmp_path / "file")


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_root_is_refused(tmp_path, name):
    with pytest.raises(DataError, match="got an empty folder"):
        read_dataset(name, tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_a_root_of_another_layout_is_refused(tmp_path, name):
    (tmp_path / "holiday").mkdir()
    (tmp_path / "readme.txt").write_text("x")
    with pytest.raises(DataError, match="expected"):
        read_dataset(name, tmp_path)


def test_an_impossible_name_is_an_error_that_names_the_file(plant, tmp_path):
    root = plant(tmp_path, [*WARD, "holiday.jpg", "000100090001.jpg"])
    with pytest.raises(DataError, match=r"000100090001\.jpg.*and 1 more.*skip_unreadable"):
        read_dataset("ward", root)


def test_impossible_names_can_be_skipped_and_are_counted_in_the_notes(plant, tmp_path):
    root = plant(tmp_path, [*WARD, "holiday.jpg"])
    dataset = read_dataset("ward", root, skip_unreadable=True)
    assert len(dataset.train) == 2
    assert "1 file left out: " in dataset.notes[-1]
    assert "holiday.jpg" in dataset.notes[-1]


def test_skipping_everything_is_an_error(plant, tmp_path):
    root = plant(tmp_path, ["holiday.jpg"])
    with pytest.raises(DataError, match="got no picture that can be used"):
        read_dataset("ward", root, skip_unreadable=True)


def test_a_link_out_of_the_root_is_an_error_and_one_within_is_not(plant, tmp_path):
    root = plant(tmp_path / "set", WARD)
    plant(tmp_path / "elsewhere", ["000300010001.jpg"])
    os.symlink(root / WARD[0], root / "000100010002.jpg")
    assert len(read_dataset("ward", root, seed=1).train) >= 2
    os.symlink(tmp_path / "elsewhere" / "000300010001.jpg", root / "000300010001.jpg")
    with pytest.raises(DataError, match=r"000300010001\.jpg.*got a link to elsewhere"):
        read_dataset("ward", root)


def test_a_folder_that_is_a_link_out_of_the_root_is_an_error(plant, tmp_path):
    root = plant(tmp_path / "set", ["cam_a/000_45.bmp", "cam_a/001_45.bmp"])
    plant(tmp_path / "elsewhere", ["000_90.bmp", "001_90.bmp"])
    os.symlink(tmp_path / "elsewhere", root / "cam_b")
    with pytest.raises(DataError, match=r"cam_b.*got a link to elsewhere"):
        read_dataset("viper", root)


def test_a_root_that_is_itself_a_link_is_fine(plant, tmp_path):
    plant(tmp_path / "set", WARD)
    os.symlink(tmp_path / "set", tmp_path / "link")
    assert len(read_dataset("ward", tmp_path / "link").train) == 2


def test_blanks_and_other_alphabets_in_the_path_are_fine(plant, tmp_path):
    root = plant(tmp_path / "my set – 行人", WARD)
    assert len(read_dataset("ward", root).train) == 2


def test_files_that_are_no_pictures_are_passed_over(plant, tmp_path):
    root = plant(tmp_path, WARD)
    for name in ("Thumbs.db", "readme.txt", "._000100010001.jpg", ".DS_Store"):
        (root / name).write_text("x")
    assert len(read_dataset("ward", root).train) == 2


def test_the_order_does_not_depend_on_the_order_of_writing(plant, tmp_path):
    first = read_dataset("ward", plant(tmp_path / "a", WARD))
    second = read_dataset("ward", plant(tmp_path / "b", reversed(WARD)))
    assert [i.path.name for i in first.train] == [i.path.name for i in second.train]
    assert [i.path.name for i in first.query] == [i.path.name for i in second.query]


def test_drawn_people_are_read_by_the_name_of_their_site(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        read_dataset("drawn:nowhere", tmp_path)


BOXES = ("bounding_box_train", "query", "bounding_box_test")
ODD = {
    "pku_reid": (
        ["001/01_1.jpg", "002/01_1.jpg", "extra/01_1.jpg", "stray.jpg", "001/more/02_1.jpg"],
        ["extra", "stray.jpg", "001/more"],
    ),
    "market1501": (
        [f"{part}/0002_c1s1_000451_0{n}.jpg" for n, part in enumerate(BOXES)]
        + ["bounding_box_train/more/0003_c1s1_000451_03.jpg"],
        ["bounding_box_train/more"],
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_folders_and_files_that_are_not_of_the_layout_are_noted(plant, tmp_path, name):
    files, passed = ODD[name]
    dataset = read_dataset(name, plant(tmp_path, files))
    (note,) = [note for note in dataset.notes if "passed over" in note]
    assert note.partition(": ")[2].split(", ") == passed


def test_a_set_as_it_should_be_has_nothing_passed_over(plant, tmp_path):
    dataset = read_dataset("pku_reid", plant(tmp_path, ["001/01_1.jpg", "002/01_1.jpg"]))
    assert not any("passed over" in note for note in dataset.notes)


def test_a_long_list_of_what_is_left_out_says_how_much_more_there_is(plant, tmp_path):
    root = plant(tmp_path, [*WARD, *(f"odd{number}.jpg" for number in range(25))])
    note = read_dataset("ward", root, skip_unreadable=True).notes[-1]
    assert note.startswith("25 files left out: odd0.jpg")
    assert note.endswith(" and 5 more")
