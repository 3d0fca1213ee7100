"""Claims about protocol.figures: one table, which the typed fields and every list agree with."""

from dataclasses import MISSING, asdict, fields
from types import NoneType
from typing import get_args

import pytest

from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.protocol.figures import CURVES, FIGURES, SCORES
from fedklpr_flwr.protocol.local_privacy import without_withheld
from fedklpr_flwr.protocol.training_report import TrainingReport
from fedklpr_flwr.reid.ranking import RankingScores
from fedklpr_flwr.runs.rows import MAY_BE_NULL, Row, round_row, withhold

TYPES = {
    "number": {float},
    "count": {int},
    "truth": {bool},
    "word": {str},
    "status": {str},
    "reason": {str, bool},
}
BESIDE_THE_REPORT = {"releases", "rank1_local", "map_local"}


def types_of(item):
    return set(get_args(item.type) or (item.type,)) - {NoneType}


def test_a_line_of_run_jsonl_has_the_figures_of_the_table_and_no_others():
    in_rows = {name for name, figure in FIGURES.items() if figure.in_rows}
    assert {item.name for item in fields(Row)} == {"round", "client"} | in_rows


def test_a_report_has_what_the_table_says_comes_with_training():
    trained = {name for name, figure in FIGURES.items() if figure.reply == "train"}
    assert {item.name for item in fields(TrainingReport)} == trained - BESIDE_THE_REPORT


@pytest.mark.parametrize("of", [Row, TrainingReport])
def test_a_field_is_of_the_tables_kind(of):
    for item in fields(of):
        figure = FIGURES.get(item.name)
        if figure and figure.kind != "seconds":
            assert types_of(item) == TYPES[figure.kind], item.name


def test_what_a_report_may_leave_unsaid_has_a_default():
    for item in fields(TrainingReport):
        has_default = (item.default, item.default_factory) != (MISSING, MISSING)
        assert has_default == bool(FIGURES[item.name].only), item.name


def test_what_may_be_unsaid_or_withheld_may_be_null_in_a_line():
    for name, figure in FIGURES.items():
        said_for_sure = figure.kind == "seconds" or figure.over_clients == "any"
        hidden = figure.withheld != "no" or figure.only
        if figure.in_rows and hidden and not said_for_sure:
            assert name in MAY_BE_NULL, name


def test_the_lists_made_from_the_table():
    assert {*SCORES, "queries"} == {item.name for item in fields(RankingScores)}
    assert {"cosine_distance", "camera_split", "rank1_final", "epsilon", "trust"} <= {*CURVES}
    assert {"alignment", "shortened", "map_final", "cluster_recall"} <= {*CURVES}
    assert not {"crr", "idle", "seconds", "status", "failed", "degenerate"} & {*CURVES}


def test_a_line_withholds_what_is_made_of_pictures_and_keeps_the_rest():
    row = Row(1, "a", rank1=0.5, pruned=0.5, accuracy=0.5, divergence=0.5, clusters=3, weight=0.5)
    before = asdict(row)
    withhold(row)
    changed = {key for key, value in asdict(row).items() if value != before[key]}
    pairs = {"pairs_worse", "pairs_better", "pairs_compared"}
    assert changed == {"accuracy", "divergence", "clusters", "outliers", "idle", *pairs}
    assert row.divergence is row.idle is None


SAID = {
    "status": "ok",
    "examples": 12,
    "loss": 2.5,
    "clusters": 4,
    "idle": True,
    "accuracy": 0.75,
    "seconds": {"train": 1.5},
    "pruned": 0.25,
    "rank1_local": 0.5,
    "pictures_changed": True,
    "releases": 3,
}


@pytest.mark.parametrize(
    ("overrides", "left"),
    [
        ((), SAID),
        (
            ("privacy=local_dp", "pruning.first_round=1"),
            {
                "status": "ok",
                "examples": 1,
                "loss": 0.0,
                "clusters": 0,
                "idle": False,
                "pruned": 0.25,
                "pictures_changed": False,
                "releases": 3,
            },
        ),
    ],
)
def test_a_reply_is_left_whole_or_without_what_is_made_of_pictures(overrides, left):
    assert without_withheld(SAID, compose_settings("smoke", overrides)) == left


def test_accuracies_are_let_out_where_they_are_asked_for():
    asked = compose_settings("smoke", ("privacy=local_dp", "privacy.scores=true"))
    assert without_withheld({"rank1": 0.5, "accuracy": 0.5}, asked) == {"rank1": 0.5}


def test_a_figure_that_the_table_does_not_have_never_leaves_a_private_site():
    private = compose_settings("smoke", ("privacy=local_dp",))
    with pytest.raises(KeyError, match="colour"):
        without_withheld({"colour": 3}, private)


@pytest.mark.parametrize(
    ("name", "values", "combined"),
    [
        ("map", (0.5, None, 0.25), 0.375),
        ("map", (None, None, None), None),
        ("clusters", (1, 2, 3), 6),
        ("clusters", (1, None, 3), None),
        ("epsilon", (1.0, None, 3.0), 3.0),
        ("idle", (True, True, True), True),
        ("idle", (True, None, True), None),
        ("pictures_changed", (False, True, False), True),
        ("trust", (0.5, 0.5, 0.5), None),
    ],
)
def test_clients_figures_become_the_rounds_as_the_table_says(name, values, combined):
    rows = [Row(1, client, **{name: value}) for client, value in zip("abc", values, strict=True)]
    assert getattr(round_row(rows, 1.0, {}), name) == combined
