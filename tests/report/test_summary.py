"""Claims about fedklpr_flwr.report.summary: the table at the end of a run."""

import pytest

from fedklpr_flwr.report.summary import (
    HEADINGS,
    closing_lines,
    recovery_trace,
    table,
    totals,
    write_report,
)
from fedklpr_flwr.runs.rows import Row, append_rows


def row(number, client, rank1=None, **more):
    more = {"status": "merged", "clusters": 6} | more
    return Row(number, client, rank1=rank1, rank5=rank1, map=rank1, **more)


ROWS = [
    row(0, "b", 0.10, bytes_down=1_000_000, bytes_dense=1_000_000),
    row(0, "a", 0.20, bytes_down=1_000_000, bytes_dense=1_000_000),
    row(0, None, 0.15, bytes_down=2_000_000),
    row(1, "a", 0.30, bytes_up=400_000, bytes_dense=2_000_000, bytes_paper=900_000),
    row(1, "b", failed="no disk", status="failed"),
    row(1, None, 0.30, bytes_up=400_000),
    row(2, "a", 0.50, bytes_up=600_000, bytes_dense=2_000_000, pruned=0.25, accuracy=0.8),
    row(2, "b", 0.40, bytes_message_up=7, crr="held_drop", pruned=0.1),
    row(2, None, 0.45, bytes_up=600_000, pruned=0.175),
]


def test_the_table_sets_round_0_against_the_last_for_each_client_and_the_mean():
    lines = table(ROWS)
    assert [line[0] for line in lines] == ["a", "b", "mean, total"]
    assert all(len(line) == len(HEADINGS) for line in lines)
    assert lines[0][1] == "0.200 -> 0.500"
    assert lines[1][1] == "0.100 -> 0.400"
    assert lines[2][1] == "0.150 -> 0.450"
    assert lines[0][4:8] == ["6", "25.0%", "1.00", "1.00"]
    assert (lines[0][8], lines[1][8]) == ("ok", "failed 1x")


def test_clusters_stand_in_the_table_with_the_pictures_they_are_of():
    found = row(1, "a", 0.3, clusters=5, examples=30, outliers=4)
    (line, _) = table([row(0, "a", 0.1), found])
    assert line[4] == "5 of 26"
    assert table([found, row(1, None, clusters=5, examples=30, outliers=4)])[-1][4] == "5 of 26"
    assert table([row(1, "a", status="absent")])[0][4] == "-"
    assert table([row(1, "a", clusters=None, outliers=None)])[0][4] == "-", "withheld"


def test_who_was_away_is_not_called_ok():
    here = row(1, "a", 0.3, bytes_message_down=9)
    away = row(1, "b", status="absent")
    rows = [here, away, row(2, "b", failed="no answer"), row(2, "a", bytes_message_down=9)]
    assert [line[8] for line in table(rows)] == ["ok", "away 1x, failed 1x", "ok"]


def test_labels_that_teach_little_are_named_with_the_cure():
    fault = "30 pictures all in one cluster"
    one = row(2, "own", 0.2, status="merged", clusters=1, degenerate=fault)
    (said,) = [line for line in closing_lines([one]) if "labels" in line]
    assert said.startswith("labels that teach little: own: 30 pictures all in one cluster. What")
    assert "labels.k1" in said
    assert not any("labels" in line for line in closing_lines(ROWS))


def test_a_client_that_is_not_there_in_a_round_has_a_dash():
    (late, _) = table([row(0, None, 0.1), row(1, "late", 0.3), row(1, None, 0.3)])
    assert late[1] == "- -> 0.300"


def test_totals_count_clients_once_and_not_the_rounds_own_lines():
    sums = totals(ROWS)
    assert sums[:4] == (3_000_000, 7, 6_000_000, 900_000)
    assert sums.saved == pytest.approx(0.5)
    assert sums.saved_paper == pytest.approx(0.85)
    assert totals([]).saved == 0


def test_the_closing_lines_tell_the_largest_epsilon_where_one_is_counted():
    private = [*ROWS[:-1], row(2, None, epsilon=12.345)]
    assert any("no site has more than epsilon=12.3" in line for line in closing_lines(private))
    assert not any("epsilon" in line for line in closing_lines(ROWS))


def test_the_closing_lines_say_what_was_saved():
    first, second = closing_lines(ROWS)
    assert "3.00 MB" in first
    assert "50.0% less" in first
    assert "85.0% less" in second


def test_who_is_found_worse_than_before_any_training_is_named():
    worse = [*ROWS[:-1], row(3, "a", 0.19), row(3, "b", 0.12), row(3, None, 0.15)]
    (said,) = [line for line in closing_lines(worse) if "lower than before" in line]
    assert "at a (0.200 -> 0.190):" in said
    assert not any("lower than before" in line for line in closing_lines(ROWS))


def test_the_closing_lines_say_what_the_bytes_were_spent_on():
    parts = {"bytes_masks": 20, "bytes_vectors": 100, "bytes_front": 30, "bytes_paper": 4000}
    one = row(1, "a", bytes_up=600, bytes_down=400, **parts)
    assert (
        "of that masks 2.0%, batch norm and biases 10.0%, weights 85.0%, the rest 3.0%; "
        "8.00 bits a number"
    ) in closing_lines([one])


@pytest.mark.parametrize("missing", ["bytes_paper", "bytes_up"])
def test_bytes_of_nothing_are_no_fault(missing):
    parts = {"bytes_masks": 20, "bytes_paper": 4000, "bytes_up": 600} | {missing: 0}
    assert any(line.startswith("sent ") for line in closing_lines([row(1, "a", **parts)]))


def test_the_closing_lines_say_how_coarsely_changes_were_told():
    one = row(3, None, step_up=1.4, step_down=0.7, owed=0.421)
    (line,) = [said for said in closing_lines([one]) if "steps of" in said]
    assert line == (
        "in round 3 weights were told in steps of 1.4 up and 0.7 down, in root mean squares of "
        "their change; what updates cut off, and tell next time, was 0.42 of what was learnt"
    )
    assert not any("steps of" in said for said in closing_lines(ROWS))


def test_the_recovery_trace_sets_accuracy_and_decision_beside_rank_1():
    lines = recovery_trace(ROWS)[2:]
    assert [line.split(" | ")[0].strip("| ") for line in lines] == ["a", "a", "b", "b"]
    assert lines[1] == "| a | 2 | 0.800 | - | - | off | 25.0% | 0.500 |"
    assert "held_drop" in lines[3]


def test_the_recovery_trace_shows_what_was_compared_and_what_came_of_it():
    compared = {"pairs_worse": 31, "pairs_better": 12, "pairs_compared": 400}
    (line,) = recovery_trace([row(2, "a", crr="held_drop", crr_statistic=2.9, **compared)])[2:]
    assert "| 31, 12, 400 | 2.900 | held_drop |" in line


def test_the_report_is_written_from_the_rows_alone(tmp_path):
    append_rows(tmp_path / "run.jsonl", ROWS)
    write_report(tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    for part in ("| a | 0.200 -> 0.500", "50.0% less", "## Cross-round recovery", "held_drop"):
        assert part in text


def test_a_run_without_rows_has_an_empty_table():
    assert [line[0] for line in table([])] == ["mean, total"]
