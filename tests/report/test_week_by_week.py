"""Claims about the report across runs that continue each other: a line each, and alarms."""

import pytest

from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.report.html_report import html_report
from fedklpr_flwr.report.site_inspection import Look
from fedklpr_flwr.report.summary import write_report
from fedklpr_flwr.report.week_by_week import WeekByWeek, read_week_by_week, week_of
from fedklpr_flwr.runs.rows import Row, append_rows, round_row
from fedklpr_flwr.runs.trusted_runs import write_own_settings

LOOK = Look(pictures=False)


def rows_of(scores, *, shift=0.1, new=None, gone=None, examples=100):
    """The rows of a run of one round: each client's Rank-1 at its end; mAP is half of it."""
    began = [Row(0, name, rank1=0.1, map=0.05, status="merged") for name in scores]
    ended = [
        Row(
            1,
            name,
            rank1=rank1,
            map=None if rank1 is None else rank1 / 2,
            status="merged",
            examples=examples,
            clusters=7,
            outliers=0,
            cosine_distance=shift,
            pictures_new=new,
            pictures_gone=gone,
        )
        for name, rank1 in scores.items()
    ]
    return [*began, round_row(began, 1.0, {}), *ended, round_row(ended, 1.0, {})]


def chain(*runs):
    """A chain of runs, each (Rank-1 of ash, its shift)."""
    weeks = [
        week_of(f"w{number}", rows_of({"ash": rank1}, shift=shift))
        for number, (rank1, shift) in enumerate(runs)
    ]
    return WeekByWeek(tuple(weeks))


def write_week(folder, before, rows):
    """A run folder of this user's that continues another, as far as a report reads it."""
    folder.mkdir()
    words = () if before is None else (f"run.continues={before}",)
    write_own_settings(compose_settings("smoke", ("federation.rounds=1", *words)), folder)
    append_rows(folder / "run.jsonl", rows)
    (folder / "status.json").write_text('{"status": "finished"}')
    return folder


@pytest.fixture
def weeks(tmp_path):
    """Three runs: birch joins in the second, and in the third something is wrong."""
    first = write_week(tmp_path / "w1", None, rows_of({"ash": 0.5}, shift=0.9))
    rows = rows_of({"ash": 0.6, "birch": 0.2}, new=30, gone=4)
    second = write_week(tmp_path / "w2", first, rows)
    rows = rows_of({"ash": 0.4, "birch": 0.2}, shift=0.4, new=0, gone=0, examples=120)
    return first, second, write_week(tmp_path / "w3", second, rows)


def test_a_chain_is_told_from_its_first_run_to_the_one_looked_at(weeks):
    assert read_week_by_week(weeks[2]).cells == [
        ["w1", "100", "-", "-", "7", "0.500", "0.250", "0.900"],
        ["w2", "200", "60", "8", "14", "0.400", "0.200", "0.100"],
        ["w3", "240", "0", "0", "14", "0.300", "0.150", "0.400"],
    ]
    assert [week.name for week in read_week_by_week(weeks[1]).weeks] == ["w1", "w2"]


def test_a_run_that_continues_no_other_has_no_such_section(weeks):
    assert not read_week_by_week(weeks[0]).is_chain
    write_report(weeks[0])
    assert "Run after run" not in (weeks[0] / "report.md").read_text()
    assert "Run after run" not in html_report(weeks[0], LOOK)


def test_report_and_page_show_the_chain_and_its_alarms(weeks):
    write_report(weeks[2])
    told, page = (weeks[2] / "report.md").read_text(), html_report(weeks[2], LOOK)
    for text in (told, page):
        assert "Run after run" in text
        assert "Rank-1 fell from 0.400 to 0.300" in text
        assert "2 clients scored in both" in text
        assert "feature shift is 0.400, and was 0.100 at most" in text
    assert "| w2 | 200 | 60 | 8 | 14 | 0.400 | 0.200 | 0.100 |" in told


def test_who_joined_or_left_makes_no_fall():
    before = week_of("before", rows_of({"ash": 0.5, "birch": 0.9}))
    after = week_of("after", rows_of({"ash": 0.5, "cedar": 0.1}))
    assert WeekByWeek((before, after)).alarms() == []


@pytest.mark.parametrize(
    ("runs", "fell"),
    [
        ([(0.50, 0.1), (0.49, 0.1)], False),
        ([(0.50, 0.1), (0.40, 0.1)], True),
        ([(0.50, 0.1), (0.40, 0.1), (0.31, 0.1)], False),
        ([(0.50, 0.1), (0.40, 0.1), (0.25, 0.1)], True),
        ([(0.50, 0.1), (0.60, 0.1), (0.55, 0.1)], True),
        ([(0.50, 0.1), (None, 0.1)], False),
    ],
)
def test_a_fall_is_an_alarm_where_no_run_before_fell_as_far(runs, fell):
    assert any("Rank-1 fell" in sentence for sentence in chain(*runs).alarms()) is fell


@pytest.mark.parametrize(
    ("shifts", "rose"),
    [
        ((0.9, 0.3), False),
        ((0.1, 0.3), False),
        ((0.1, 0.2, 0.31), True),
        ((0.1, 0.2, 0.29), False),
        ((0.1, 0.2, 0.5, 0.6), False),
        ((0.1, None, 0.6), False),
        ((0.1, 0.2, None), False),
    ],
)
def test_a_shift_is_an_alarm_against_runs_that_began_from_a_model_alone(shifts, rose):
    told = chain(*((0.5, shift) for shift in shifts)).alarms()
    assert any("feature shift" in sentence for sentence in told) is rose


def test_a_run_before_that_is_gone_or_somebody_elses_ends_the_chain(weeks):
    (weeks[1] / ".made-here").unlink()
    theirs = read_week_by_week(weeks[2])
    assert [week.name for week in theirs.weeks] == ["w2", "w3"]
    (weeks[1] / "config.yaml").unlink()
    cut = read_week_by_week(weeks[2])
    assert [week.name for week in cut.weeks] == ["w3"]
    assert str(weeks[1]) in cut.remark
    write_report(weeks[2])
    assert "cannot be read here any more" in (weeks[2] / "report.md").read_text()


def test_a_run_that_says_it_continues_itself_is_no_chain(tmp_path):
    loop = write_week(tmp_path / "loop", tmp_path / "loop", rows_of({"ash": 0.5}))
    assert not read_week_by_week(loop).is_chain


def test_what_is_withheld_stays_so():
    rows = rows_of({"ash": None}, shift=None, examples=None)
    week = week_of("private", rows)
    assert (week.pictures, week.rank1, week.shift, week.scores) == (None, None, None, {})
