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
