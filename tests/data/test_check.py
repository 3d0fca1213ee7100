"""A folder beside its card: the verdict, and everything that is wrong."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedklpr_flwr.data.benchmarks.card import Counts
from fedklpr_flwr.data.check import check_dataset
from fedklpr_flwr.errors import DataError


def write_picture(path: Path, seed: int, kind: str = "JPEG") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, kind)


def ward(root: Path, persons=(1, 2, 3, 4), frames=3) -> Path:
    for person in persons:
        for camera in (1, 2, 3):
            for frame in range(1, frames + 1):
                name = f"{person:04d}{camera:04d}{frame:04d}.jpg"
                write_picture(root / name, 1000 * person + 10 * camera + frame)
    return root


def viper(root: Path, persons: int = 632) -> Path:
    for person in range(persons):
        for camera in "ab":
            write_picture(
                root / f"cam_{camera}/{person:03d}_0.bmp", 2 * person + (camera == "b"), "BMP"
            )
    return root


@pytest.mark.slow
def test_the_whole_set_is_official_and_the_json_has_the_agreed_keys(tmp_path):
    report = check_dataset("viper", viper(tmp_path), workers=2)
    assert report.verdict == "official"
    assert report.problems == ()
    assert report.usable
    told = json.loads(json.dumps(report.to_dict()))
    assert set(told) >= {"name", "root", "verdict", "expected", "found", "problems"}
    assert told["found"] == told["expected"]
    assert told["found"]["train"] == {"images": 632, "persons": 316, "cameras": 2}
    assert told["found"]["total"] == {"images": 1264, "persons": 632, "cameras": 2}
    assert "Gray" in report.card


def test_fewer_persons_are_a_part_and_more_are_something_else(tmp_path):
    assert check_dataset("viper", viper(tmp_path / "less", 100)).verdict == "part"
    assert check_dataset("viper", viper(tmp_path / "more", 640)).verdict == "other"


def test_what_cannot_be_read_is_listed_and_not_counted(tmp_path):
    root = ward(tmp_path)
    (root / "000100010001.jpg").write_bytes(b"")
    whole = (root / "000100010002.jpg").read_bytes()
    (root / "000100010002.jpg").write_bytes(whole[: len(whole) // 2])
    report = check_dataset("ward", root, workers=2)
    told = {Path(fault.path).name: fault.why for fault in report.problems}
    assert set(told) == {"000100010001.jpg", "000100010002.jpg"}
    assert "0 bytes" in told["000100010001.jpg"]
    assert report.found.total == Counts(34, 4, 3)
    assert report.verdict == "part"


def test_wrong_names_and_links_to_elsewhere_are_listed(tmp_path):
    root = ward(tmp_path / "set")
    write_picture(root / "holiday.jpg", 5)
    write_picture(tmp_path / "elsewhere.jpg", 6)
    os.symlink(tmp_path / "elsewhere.jpg", root / "000500010001.jpg")
    report = check_dataset("ward", root)
    assert {fault.path.name for fault in report.problems} == {"holiday.jpg", "000500010001.jpg"}
    assert report.found.total == Counts(36, 4, 3)


def test_files_equal_byte_for_byte_are_listed_and_still_counted(tmp_path):
    root = ward(tmp_path)
    copied = (root / "000100010001.jpg").read_bytes()
    (root / "000100010004.jpg").write_bytes(copied)
    (root / "000200010004.jpg").write_bytes(copied)
    report = check_dataset("ward", root)
    assert report.found.total.images == 38
    assert len(report.problems) == 2
    assert sorted("another person" in fault.why for fault in report.problems) == [False, True]


def test_a_bomb_is_listed(tmp_path):
    root = ward(tmp_path)
    Image.new("1", (9000, 8000)).save(root / "000100010009.png")
    (fault,) = check_dataset("ward", root).problems
    assert "9000 x 8000" in fault.why


@pytest.mark.parametrize("kind", ["missing", "file", "empty", "other"])
def test_a_root_that_cannot_be_read_is_one_problem_and_not_usable(tmp_path, kind):
    root = tmp_path / "root"
    if kind == "file":
        root.write_text("x")
    elif kind != "missing":
        root.mkdir()
    if kind == "other":
        (root / "holiday").mkdir()
    report = check_dataset("market1501", root)
    assert not report.usable
    assert report.verdict == "other"
    assert [fault.path for fault in report.problems] == [root]
    assert report.to_dict()["found"]["total"] == {"images": 0, "persons": 0, "cameras": 0}


def test_an_unknown_name_is_an_error(tmp_path):
    with pytest.raises(DataError, match="'nonsense'"):
        check_dataset("nonsense", tmp_path)


def test_a_users_own_pictures_have_no_card_to_compare_with(tmp_path):
    write_picture(tmp_path / "train" / "anna" / "c1_1.jpg", 1)
    write_picture(tmp_path / "train" / "anna" / "c2_1.jpg", 2)
    report = check_dataset("folder", tmp_path)
    assert report.verdict == "other"
    assert report.to_dict()["expected"] is None
    assert report.usable


def test_distractors_are_pictures_but_nobody(tmp_path):
    for number, name in enumerate(
        [
            "bounding_box_train/0002_c1s1_000451_03.jpg",
            "query/0001_c1s1_001051_00.jpg",
            "bounding_box_test/-1_c1s1_000401_03.jpg",
            "bounding_box_test/0000_c1s1_000151_01.jpg",
            "bounding_box_test/0001_c2s1_000301_00.jpg",
        ]
    ):
        write_picture(tmp_path / name, number)
    report = check_dataset("market1501", tmp_path)
    assert report.found.gallery == Counts(2, 1, 2)
    assert report.found.total == Counts(4, 2, 2)


def test_progress_is_told_to_the_end(tmp_path):
    told: list[tuple[int, int]] = []
    check_dataset("ward", ward(tmp_path), progress=lambda done, total: told.append((done, total)))
    assert told[0] == (1, 36)
    assert told[-1] == (36, 36)


def test_a_picture_listed_twice_is_told(tmp_path):
    write_picture(tmp_path / "1.jpg", 1)
    lines = "path,person,camera,split\n1.jpg,a,c,query\n1.jpg,a,d,gallery\n"
    (tmp_path / "people.csv").write_text(lines)
    report = check_dataset("csv", tmp_path)
    assert [fault.why for fault in report.problems] == ["listed more than once"]
    assert not any("repeat" in note for note in report.notes)


def test_rows_that_a_list_repeats_are_counted_in_a_note_and_told_one_by_one(tmp_path):
    for number in range(3):
        write_picture(tmp_path / f"{number}.jpg", number)
    rows = ["0.jpg,a,c,train"] * 3 + ["1.jpg,a,d,train"] * 2 + ["2.jpg,b,d,train"]
    (tmp_path / "people.csv").write_text("\n".join(["path,person,camera,split", *rows]))
    report = check_dataset("csv", tmp_path)
    assert [note for note in report.notes if "repeat" in note] == [
        "rows that repeat a picture of train: 3; it counts each time"
    ]
    told = [(fault.path.name, fault.why) for fault in report.problems]
    assert told == [(name, "listed more than once") for name in ("0.jpg", "0.jpg", "1.jpg")]
    assert report.found.train == Counts(3, 2, 2)


def test_pictures_that_the_reader_passes_over_are_a_problem_from_one_in_a_hundred_on(tmp_path):
    root = ward(tmp_path)
    for number in range(3):
        write_picture(root / "more" / "deeper" / f"{number}.jpg", 50 + number)
    (root / "more" / "notes.txt").write_text("no picture")
    (root / "empty").mkdir()
    (fault,) = check_dataset("ward", root).problems
    assert fault.path == root / "more"
    assert "got pictures that its reader passes over: 3, beside 36 that it reads" in fault.why


@pytest.mark.parametrize(("persons", "problems"), [(33, 1), (34, 0)])
def test_less_than_one_picture_in_a_hundred_passed_over_is_only_noted(persons, problems, tmp_path):
    root = ward(tmp_path, persons=range(1, persons + 1), frames=1)
    write_picture(root / "more" / "1.jpg", 5)
    if persons == 33:
        write_picture(root / "000100010002.jpg", 6)
    report = check_dataset("ward", root)
    assert len(report.problems) == problems
    assert any("passed over: more" in note for note in report.notes)


@pytest.mark.slow
def test_thirty_six_thousand_pictures_keep_pace_with_pillow(tmp_path):
    """Held against Pillow alone, in one thread, on the same machine at nearly the same time."""
    import time

    for part, count in (
        ("bounding_box_train", 13000),
        ("query", 3400),
        ("bounding_box_test", 19600),
    ):
        (tmp_path / part).mkdir()
        for number in range(count):
            pixels = np.random.default_rng(number).integers(0, 256, (16, 8, 3), dtype=np.uint8)
            stream = io.BytesIO()
            Image.fromarray(pixels).resize((64, 128)).save(stream, "JPEG")
            name = f"{1 + number % 1500:04d}_c{1 + number % 6}s1_{number:06d}_00.jpg"
            (tmp_path / part / name).write_bytes(stream.getvalue())
    start = time.monotonic()
    for path in (tmp_path / "query").iterdir():
        Image.open(path).load()
    decoding = (time.monotonic() - start) * 36000 / 3400
    start = time.monotonic()
    report = check_dataset("market1501", tmp_path, workers=os.cpu_count() or 1)
    taken = time.monotonic() - start
    assert report.found.total.images == 36000
    assert taken < 4 * decoding + 20, f"{taken:.0f} s, where Pillow alone needs {decoding:.0f} s"


def test_a_layout_with_nothing_in_it_is_a_problem_of_its_own(tmp_path):
    for part in ("bounding_box_train", "query", "bounding_box_test"):
        (tmp_path / part).mkdir()
    report = check_dataset("market1501", tmp_path)
    assert not report.usable
    (problem,) = report.problems
    assert problem.path == tmp_path
    assert "got no picture that can be used" in problem.why
