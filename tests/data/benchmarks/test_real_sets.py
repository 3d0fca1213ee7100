"""The readers on real pictures, where they lie beside the project."""

from pathlib import Path

import pytest

from fedklpr_flwr.data.check import check_dataset

BESIDE = Path(__file__).parents[3].parent
REAL = BESIDE / "shared" / "data"


@pytest.mark.parametrize(
    ("name", "verdict", "total", "train", "query", "gallery"),
    [
        ("ward", "part", (4653, 70, 3), 35, (105, 35, 3), 35),
        ("viper", "official", (1264, 632, 2), 316, (316, 316, 1), 316),
        ("pku_reid", "part", (992, 62, 2), 31, (62, 31, 2), 31),
    ],
)
def test_real_sets_are_read_whole(name, verdict, total, train, query, gallery):
    if not (REAL / name).is_dir():
        pytest.skip(f"no real pictures at {REAL / name}")
    report = check_dataset(name, REAL / name, workers=2)
    found = report.found
    assert report.verdict == verdict
    assert (found.total.images, found.total.persons, found.total.cameras) == total
    assert found.train.persons == train
    assert (found.query.images, found.query.persons, found.query.cameras) == query
    assert found.gallery.persons == gallery
    assert all("same bytes" in fault.why for fault in report.problems)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "folder", "verdict", "train", "query", "gallery"),
    [
        # 19,732 files in the gallery, of which 3,819 are junk.
        ("market1501", "market1501", "official", (12936, 751, 6), (3368, 750, 6), (15913, 750, 6)),
        ("cuhk01", "cuhk01", "official", (1940, 485, 2), (972, 486, 1), (972, 486, 1)),
        ("cuhk03", "cuhk03_plain", "part", (7239, 743, 2), (200, 100, 2), (738, 100, 2)),
    ],
)
def test_large_real_sets_are_read_whole(name, folder, verdict, train, query, gallery):
    root = BESIDE / "sets" / folder
    if not root.is_dir():
        pytest.skip(f"no real pictures at {root}")
    report = check_dataset(name, root, workers=2)
    assert report.verdict == verdict
    found = [
        (part.images, part.persons, part.cameras)
        for part in (report.found.train, report.found.query, report.found.gallery)
    ]
    assert found == [train, query, gallery]
    assert all("same bytes" in fault.why for fault in report.problems)
