"""Claims about benchmark rows and memory.py: what a row says, and what is counted."""

import json
from functools import partial

import numpy as np
import pytest

from experiments.benchmarks.memory import peak_mb, resident_mb
from experiments.benchmarks.rows import (
    make_row,
    median_seconds,
    ratio_at_least,
    ratio_at_most,
    table_lines,
    value_at_least,
    value_at_most,
    write_rows,
)


def test_a_row_has_the_promised_keys_and_the_ratio_of_value_to_anchor():
    assert make_row("a", 3, "s", 4, 0.8) == {
        "name": "a", "value": 3, "unit": "s", "anchor": 4, "ratio": 0.75, "must": 0.8, "ok": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("bound", "must", "ok"),
    [
        (ratio_at_most, 2.0, True),
        (ratio_at_most, 1.9, False),
        (ratio_at_least, 2.0, True),
        (ratio_at_least, 2.1, False),
        (value_at_most, 10, True),
        (value_at_most, 9, False),
        (value_at_least, 10, True),
        (value_at_least, 11, False),
    ],
)
def test_a_bound_looks_at_what_its_name_says(bound, must, ok):
    assert make_row("a", 10, "s", 5, must, bound)["ok"] is ok


def test_a_fast_wrong_answer_is_not_ok():
    assert not make_row("a", 1, "s", 2, 1.0, equal=False)["ok"]
    assert not make_row("a", 1, "s", 2, equal=False)["ok"]


def test_bytes_are_not_rounded_and_measures_are():
    row = make_row("a", 25_123_457, "bytes", 3.123456789)
    assert (row["value"], row["anchor"]) == (25_123_457, 3.12346)


def test_works_take_turns():
    order = []
    median_seconds(2, partial(order.append, "a"), partial(order.append, "b"))
    assert order == ["a", "b", "a", "b", "a", "b"]


def test_the_table_says_which_bound_is_missed():
    rows = [make_row("met", 1, "s", 2, 1.0), make_row("missed", 3, "s", 2, 1.0)]
    heading, met, missed = table_lines([*rows])
    assert heading.split() == ["value", "unit", "anchor", "ratio", "must", "ok"]
    assert met.split() == ["met", "1", "s", "2", "0.5", "1", "yes"]
    assert missed.split() == ["missed", "3", "s", "2", "1.5", "1", "NO"]


def test_rows_are_written_as_a_json_list(tmp_path):
    rows = [make_row("a", 1, "s", 2)]
    write_rows(rows, tmp_path / "new" / "rows.json")
    assert json.loads((tmp_path / "new" / "rows.json").read_text()) == rows


def test_the_peak_counts_what_is_freed_again():
    before = resident_mb()
    peak = peak_mb(lambda: np.ones(20_000_000).sum())
    assert 140 < peak - before < 260
    assert resident_mb() - before < 100
