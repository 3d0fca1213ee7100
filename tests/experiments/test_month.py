"""Claims about experiments.month: a month of weekly runs on real boxes loses nobody and nothing."""

import json
from collections import Counter

import pytest

from experiments.month import Pictures, main, schedule

BOXES = ("airport", "street", "yard")


@pytest.mark.parametrize(("weeks", "boxes"), [(3, 3), (4, 3), (6, 5), (8, 6)])
def test_each_thing_happens_once_and_nobody_returns_before_he_left(weeks, boxes):
    names = tuple("abcdef"[:boxes])
    planned = schedule(weeks, names)
    events = {event: (week, box) for week, pairs in planned.items() for event, box in pairs}
    assert Counter(event for pairs in planned.values() for event, _ in pairs) == Counter(
        ["joins", "leaves", "returns", "is updated", "loses its disk", "certificate renewed"]
    )
    assert events["joins"][1] == names[-1]
    assert 1 < events["leaves"][0] < events["returns"][0] <= weeks
    assert events["leaves"][1] == events["returns"][1] not in (names[-1], events["is updated"][1])


def test_pictures_come_week_by_week_and_the_test_is_there_at_once(tmp_path):
    pictures = Pictures(tmp_path, 4, 0)
    folder = pictures.open("yard")

    def there(part):
        return {path for path in (folder / part).rglob("*") if path.is_file()}

    searched, counts = there("query") | there("gallery"), []
    for week in range(1, 5):
        pictures.bring("yard", week)
        counts.append(len(there("train")))
    assert counts == sorted({*counts}), "new pictures each week"
    assert counts[0] >= counts[-1] // 2
    assert there("query") | there("gallery") == searched != set()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_small_month_loses_nobody_and_leaves_nothing_behind(tmp_path, capsys):
    told = tmp_path / "month.json"
    words = ["--weeks", "3", "--boxes", "3", "--rounds", "1", "--folder", str(tmp_path / "month")]
    status = main([*words, "--json", str(told)])
    month = json.loads(told.read_text())
    assert (status, month["wrong"]) == (0, []), capsys.readouterr().err
    boxes = {week["number"]: len(week["boxes"]) for week in month["weeks"]}
    assert boxes == {1: 2, 2: 2, 3: 3}
    assert month["weeks"][1]["statuses"] == {"absent": 1, "merged": 2}
