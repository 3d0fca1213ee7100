"""The readers on real pictures, where they lie beside the project."""

from pathlib import Path

import pytest

from fedklpr_flwr.data.check import check_dataset

REAL = Path(__file__).parents[3].parent / "shared" / "data"


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
