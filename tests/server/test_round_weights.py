"""Claims about fedklpr_flwr.server.update_weights: what `klaw` makes of the clients' reports."""

from dataclasses import replace

import numpy as np
import pytest
import training_reports as reports
from tiny_federation import PLAIN_GAIN

from fedklpr_flwr.server.robust.direction_trust import Agreement
from fedklpr_flwr.server.robust.update_sketch import compares_directions
from fedklpr_flwr.server.update_weights import weigh
from fedklpr_flwr.wire.layout import layout_of

LAYOUT = layout_of({"conv": np.zeros((2, 3), np.float32)}, ["conv"])
REPORT = replace(reports.REPORT, examples=100, steps=10)


@pytest.fixture
def klaw_of(tiny_settings):
    """`klaw_of([report, ...], "klaw.bound=2")`: the clients' KLAW, in their order."""

    def weights(reports, *overrides, agreements=None):
        clients = [f"site{number}" for number in range(len(reports))]
        settings = tiny_settings("method.aggregation_weights=klaw", *PLAIN_GAIN, *overrides)
        notes = weigh(clients, reports, LAYOUT, settings, agreements=agreements)
        return [notes.klaw[client] for client in clients]

    return weights


def test_more_steps_are_not_counted_as_more_learnt(klaw_of):
    reports = [replace(REPORT, divergence=2.0, steps=40), replace(REPORT, divergence=0.5)]
    assert klaw_of(reports) == pytest.approx([0.8, 0.2])
    assert klaw_of(reports, "klaw.per_step=true") == pytest.approx([0.5, 0.5])


def test_a_client_without_steps_is_divided_by_one(klaw_of):
    reports = [replace(REPORT, divergence=0.0, steps=0, idle=True), REPORT]
    assert klaw_of(reports, "klaw.per_step=true") == pytest.approx([0.0, 1.0])


def test_only_pictures_with_a_label_count_as_data(klaw_of):
    few = replace(REPORT, examples=496, outliers=450)
    assert few.trained == 46
    all_of = replace(REPORT, examples=414)
    weights = klaw_of([few, all_of], "klaw.direction=bounded", "klaw.data_power=1")
    assert weights == pytest.approx([0.1, 0.9])


def test_where_updates_are_not_seen_no_figure_counts_for_more_than_three_medians(tiny_settings):
    """One of seven says that it has a billion pictures: three of nine shares are its."""
    settings = tiny_settings("privacy=secure_aggregation", "method=fedavg")
    said = [replace(REPORT, examples=count) for count in (10**9, *[100] * 6)]
    weight = weigh(list("abcdefg"), said, LAYOUT, settings).weight
    assert weight["a"] == pytest.approx(1 / 3)
    assert weight["b"] == pytest.approx(1 / 9)


def test_more_outliers_than_pictures_are_no_negative_number_of_pictures():
    assert replace(REPORT, examples=5, outliers=9).trained == 0


@pytest.mark.parametrize("direction", ["gain", "alignment"])
def test_bounds_hold_for_readings_that_have_none(direction, klaw_of):
    divergence = {"gain": 100.0, "alignment": 0.001}[direction]
    reports = [replace(REPORT, divergence=divergence), REPORT, REPORT, REPORT]
    wild = klaw_of(reports, f"klaw.direction={direction}")
    assert wild[0] > 0.9
    tamed = klaw_of(reports, f"klaw.direction={direction}", "klaw.bound=2")
    assert tamed == pytest.approx([0.5, 0.5 / 3, 0.5 / 3, 0.5 / 3])


def test_agreement_weighs_by_the_running_cosine(klaw_of):
    agreements = {
        "site0": Agreement(0.8, rounds=3, common=10_000),
        "site1": Agreement(0.4, rounds=3, common=10_000),
        "site2": Agreement(0.1, rounds=3, common=10_000),
    }
    weights = klaw_of([REPORT] * 4, "klaw.direction=agreement", agreements=agreements)
    assert weights == pytest.approx([2 / 4.5, 1 / 4.5, 0.5 / 4.5, 1 / 4.5])


def test_agreement_within_chance_tells_nobody_apart(klaw_of):
    agreements = {
        "site0": Agreement(0.02, rounds=1, common=100),
        "site1": Agreement(0.01, rounds=1, common=100),
    }
    weights = klaw_of([REPORT] * 2, "klaw.direction=agreement", agreements=agreements)
    assert weights == pytest.approx([0.5, 0.5])


@pytest.mark.slow
def test_changes_are_compared_where_klaw_asks_and_weighs(tiny_settings):
    assert not compares_directions(tiny_settings())
    assert compares_directions(tiny_settings("klaw.direction=agreement"))
    unweighed = ("klaw.direction=agreement", "method.aggregation_weights=data_size")
    assert not compares_directions(tiny_settings(*unweighed))
