"""Claims about fedklpr_flwr.runs.rows: the lines of run.jsonl."""

import json
import math

import pytest

from fedklpr_flwr.errors import RunError
from fedklpr_flwr.runs.progress_line import progress_line
from fedklpr_flwr.runs.rows import (
    Row,
    append_rows,
    keep_finished_rounds,
    read_rows,
    round_row,
    withhold,
)

CONTRACT = """round client rank1 rank5 map rank1_local pruned crr accuracy klaw praw weight clusters
    outliers idle bytes_up bytes_down bytes_message_up bytes_message_down bytes_dense bytes_paper
    seconds status failed server_peak_mb"""

TWO = [
    Row(
        1,
        "a",
        rank1=0.5,
        map=0.4,
        pruned=0.2,
        crr="pruned",
        weight=0.75,
        clusters=3,
        bytes_up=100,
        bytes_dense=300,
        status="merged",
    ),
    Row(
        1,
        "b",
        pruned=0.4,
        crr="held_drop",
        weight=0.25,
        idle=True,
        bytes_up=50,
        bytes_down=10,
        bytes_dense=300,
        status="failed",
        failed="no disk",
    ),
]


def test_a_line_has_every_key_that_others_rely_on(tmp_path):
    append_rows(tmp_path / "run.jsonl", TWO)
    first = json.loads((tmp_path / "run.jsonl").read_text().splitlines()[0])
    assert set(CONTRACT.split()) <= set(first)


def test_rows_come_back_as_they_were_appended(tmp_path):
    path = tmp_path / "run.jsonl"
    append_rows(path, TWO[:1])
    append_rows(path, TWO[1:])
    assert read_rows(path) == TWO


def test_a_rounds_own_line_is_sums_of_counts_and_means_of_shares():
    summary = round_row(TWO, 512.0, {"train": 2.0})
    assert (summary.round, summary.client) == (1, None)
    assert (summary.bytes_up, summary.bytes_down, summary.bytes_dense) == (150, 10, 600)
    assert (summary.weight, summary.clusters) == (1.0, 3)
    assert summary.pruned == pytest.approx(0.3)
    assert (summary.rank1, summary.rank5) == (0.5, None), "the mean over those who have a score"
    assert summary.idle is False
    assert (summary.status, summary.failed) == ("1 merged, not scored: b", "b")
    assert summary.crr == "pruned 1", "b's update was not merged, so it decided nothing"
    assert (summary.server_peak_mb, summary.seconds) == (512.0, {"train": 2.0})


def test_a_half_written_last_line_is_left_out(tmp_path):
    path = tmp_path / "run.jsonl"
    append_rows(path, TWO)
    whole = path.read_text()
    for cut in range(1, len(whole.splitlines(keepends=True)[1])):
        path.write_text(whole[:-cut])
        rows = read_rows(path)
        assert rows in (TWO[:1], TWO), "a cut line was read as something else"


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    path = tmp_path / "run.jsonl"
    append_rows(path, TWO)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], "{damaged\n", lines[1]]))
    with pytest.raises(RunError, match=r"run\.jsonl, line 2 is damaged"):
        read_rows(path)


def test_a_missing_file_asks_whether_this_is_a_run_folder(tmp_path):
    with pytest.raises(RunError, match="is its folder a run folder"):
        read_rows(tmp_path / "run.jsonl")


def test_keys_of_a_newer_version_are_ignored(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_text(json.dumps({"round": 1, "client": "a", "colour": "red"}) + "\n")
    assert read_rows(path) == [Row(1, "a")]


def rows_of(*rounds):
    """Whole rounds: a client's line and the round's own."""
    return [row for n in rounds for row in (Row(n, "a"), Row(n, None))]


def test_only_rounds_that_are_merged_and_written_whole_are_kept(tmp_path):
    path = tmp_path / "run.jsonl"
    append_rows(path, [*rows_of(0, 1), Row(2, "a")])
    assert keep_finished_rounds(path, 2) == 1
    assert read_rows(path) == rows_of(0, 1)
    append_rows(path, rows_of(2, 3))
    assert keep_finished_rounds(path, 2) == 2
    assert read_rows(path) == rows_of(0, 1, 2)


def test_a_run_without_rows_has_no_finished_round(tmp_path):
    assert keep_finished_rounds(tmp_path / "run.jsonl", 0) == -1


def test_the_progress_line_says_what_a_glance_asks():
    line = progress_line(round_row(TWO, 1.0, {"train": 2.0, "evaluate": 1.5}), 10)
    for part in ("1/10", "Rank-1 0.500", "mAP 0.400", "pruned 30%", "73% less", "3.5 s"):
        assert part in line
    assert "failed: b" in line
    assert "Rank-1 -" in progress_line(Row(1, None), 10)


def test_who_is_away_is_named_and_who_is_not_chosen_is_not():
    asked = Row(1, "a", status="merged", bytes_message_down=5)
    rested = Row(1, "b", status="absent", bytes_message_down=5)
    rows = [asked, rested, Row(1, "yard", status="absent")]
    summary = round_row(rows, 1.0, {})
    assert summary.status == "1 merged, absent: yard"
    assert "1 merged, absent: yard" in progress_line(summary, 3)


def test_a_mean_without_a_site_that_failed_says_so():
    scored = Row(1, "a", status="merged", rank1=0.5, map=0.4)
    failed = Row(1, "yard", status="merged", failed="killed in evaluation")
    assert round_row([scored, failed], 1.0, {}).status == "2 merged, not scored: yard"
    nameless = Row(1, "yard", status="merged")  # no query of its own, and nothing went wrong
    assert round_row([scored, nameless], 1.0, {}).status == "2 merged"


def test_round_0_merges_nobody():
    line = progress_line(round_row([Row(0, "a", status="merged", bytes_message_down=5)], 1, {}), 3)
    assert "1 evaluated" in line
    assert "merged" not in line


def test_a_rounds_decisions_count_only_who_was_merged_in_it():
    rows = [
        Row(3, "a", crr="pruned", status="merged"),
        Row(3, "b", crr="held_drop", status="merged"),
        Row(3, "c", crr="pruned", status="merged"),
        Row(3, "d", status="absent"),
        Row(3, "e", status="late"),
    ]
    assert round_row(rows, 1.0, {}).crr == "held_drop 1, pruned 2"
    evaluated = [Row(0, "a", status="merged"), Row(0, "b", status="merged")]
    assert round_row(evaluated, 1.0, {}).crr == "", "nobody trains in round 0"
    assert "pruned 0%  " in progress_line(round_row(evaluated, 1.0, {}), 3)


def test_what_is_withheld_is_null_in_the_line_and_no_zero_in_the_rounds_own():
    rows = [Row(2, "a", loss=0.0, cosine_distance=0.0, status="merged", epsilon=3.25), Row(2, "b")]
    withhold(rows[0])
    assert (rows[0].clusters, rows[0].idle, rows[0].loss) == (None, None, None)
    summary = round_row(rows, 1.0, {})
    assert (summary.clusters, summary.outliers, summary.idle) == (None, None, None)
    assert (summary.cosine_distance, summary.epsilon) == (None, 3.25)
    line = progress_line(summary, 4)
    assert "Rank-1 withheld" in line
    assert "epsilon 3.25" in line
    assert "epsilon" not in progress_line(round_row(TWO, 1.0, {}), 4)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_is_none_is_never_written(value, tmp_path):
    path = tmp_path / "run.jsonl"
    append_rows(path, TWO)
    before = path.read_text()
    with pytest.raises(ValueError, match="JSON"):
        append_rows(path, [Row(2, "a", loss=value)])
    assert path.read_text() == before


def test_a_number_that_is_none_in_a_file_of_the_first_runs_is_read_as_absent(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_text('{"round": 1, "client": "a", "rank1": NaN, "map": Infinity, "loss": 0.5}\n')
    assert read_rows(path) == [Row(1, "a", loss=0.5)]


@pytest.mark.parametrize("line", ["[1, 2]", "3", "null", '"text"', '{"client": "a"}'])
def test_a_line_that_is_no_row_is_named(line, tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(RunError, match="line 1 is damaged"):
        read_rows(path)


def test_rows_that_cannot_be_written_say_what_to_do(tmp_path):
    with pytest.raises(RunError, match=r"cannot be written: .*; make room, then resume"):
        append_rows(tmp_path, TWO)
