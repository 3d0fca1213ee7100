"""Claims about what of a folder is searched, and what names and folders tell of a picture."""

import pytest

from fedklpr_flwr.data.benchmarks.folder import searched_rows
from fedklpr_flwr.data.benchmarks.picture_tree import PictureTree


def told(root, *names):
    """(path, person, camera) of every picture found in a folder of these files."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    tree = PictureTree(root)
    rows = searched_rows(tree)
    found = [(str(row.path.relative_to(root)), row.person, row.camera) for row in rows]
    return found, [fault.path.name for fault in tree.problems]


@pytest.mark.parametrize(
    ("name", "person", "camera"),
    [
        ("gate/0001.jpg", "", "gate"),
        ("gate/20260101_1200.jpg", "", "gate"),
        ("cam1/cam2_1.jpg", "", "cam1"),
        ("anna/cam2_1.jpg", "anna", "cam2"),
        ("cam3_0001.jpg", "", "cam3"),
        ("c4_0001.jpg", "", "c4"),
        ("frame_0001.jpg", "", ""),
        ("0001.jpg", "", ""),
        ("0002_c1s1_000451_03.jpg", "0002", "c1"),
        ("-1_c6s3_000451_03.jpg", "", "c6"),
        ("p0061_c0_s01.png", "", "c0"),
        ("lobby_cam1_0001.jpg", "", "lobby_cam1"),
    ],
)
def test_folders_and_names_tell_camera_and_person(name, person, camera, tmp_path):
    assert told(tmp_path, name) == ([(name, person, camera)], [])


def test_a_readers_folder_is_searched_in_its_gallery(tmp_path):
    names = ("train/bea/cam1_1.jpg", "query/anna/cam1_1.jpg", "gallery/anna/cam2_1.jpg")
    assert told(tmp_path, *names) == ([("gallery/anna/cam2_1.jpg", "anna", "cam2")], [])


def test_a_readers_folder_without_a_gallery_is_searched_where_it_trains(tmp_path):
    found, _ = told(tmp_path / "a", "train/cam1/1.jpg", "train/cam2/1.jpg")
    assert found == [("train/cam1/1.jpg", "", "cam1"), ("train/cam2/1.jpg", "", "cam2")]
    found, _ = told(tmp_path / "b", "train/bea/cam1_1.jpg", "train/bea/cam2_1.jpg")
    assert found == [
        ("train/bea/cam1_1.jpg", "bea", "cam1"),
        ("train/bea/cam2_1.jpg", "bea", "cam2"),
    ]


def test_what_lies_too_deep_is_named(tmp_path):
    found, problems = told(tmp_path, "gate/1.jpg", "gate/deep/2.jpg", "3.jpg")
    assert found == [("gate/1.jpg", "", "gate"), ("3.jpg", "", "")]
    assert problems == ["deep"]


FLAT = {
    "0007_c1_f0000001.jpg": ("0007", "c1"),
    "anna0007_c1_0.jpg": ("anna0007", "c1"),
    "img0007_c1_0.jpg": ("", "img0007_c1"),
    "lobby_c1_0.jpg": ("", "lobby_c1"),
    "-1_c1_f0000001.jpg": ("", "c1"),
}


@pytest.mark.parametrize("name", FLAT)
@pytest.mark.parametrize("part", ["", "query/", "bounding_box_test/"])
def test_pictures_outside_of_persons_folders_tell_both_themselves(name, part, tmp_path):
    assert told(tmp_path, part + name) == ([(part + name, *FLAT[name])], [])


def test_first_words_that_may_be_places_or_persons_are_a_doubt(tmp_path):
    names = [f"{word}_c{camera}_1.jpg" for word in ("anna", "ben") for camera in (1, 2)]
    told(tmp_path, *names)
    tree = PictureTree(tmp_path)
    assert {row.camera for row in searched_rows(tree)} == {"anna_c1", "anna_c2", "ben_c1", "ben_c2"}
    (doubt,) = tree.doubts
    assert "if anna and ben are persons, put their pictures into folders called so" in doubt


def test_days_and_parts_are_no_persons_of_a_searched_folder(tmp_path):
    found, _ = told(tmp_path, "2026-01-07/cam1/x.jpg", "2026-1-8/cam1_1.jpg", "test/cam1/x.jpg")
    assert {person for _, person, _ in found} == {""}
    assert {camera for _, _, camera in found} == {"cam1"}


def test_spellings_of_one_name_are_one_in_a_search(tmp_path):
    names = ("gallery/Anna/cam1_1.jpg", "gallery/anna/Cam_01_2.jpg", "gallery/ben/c1_1.jpg")
    found, _ = told(tmp_path, *names)
    assert {person for _, person, _ in found} == {"Anna", "ben"}
    assert {camera for _, _, camera in found} == {"Cam_01"}


@pytest.mark.parametrize("below", ["", "gallery"])
def test_a_person_called_0000_whom_a_query_asks_for_is_searched_by_name(below, tmp_path):
    told(tmp_path, "gallery/0000/cam1_1.jpg", "gallery/0001/cam1_1.jpg", "query/0000/cam2_1.jpg")
    rows = searched_rows(PictureTree(tmp_path / below))
    assert {row.person for row in rows} == {"0000", "0001"}
