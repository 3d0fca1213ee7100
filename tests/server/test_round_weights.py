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
    """`klaw_of([report, ...], "klaw.bound=2")`: the clients' weights by KLAW, in their order."""

    def weights(reports, *overrides, agreements=None):
        clients = [f"site{number}" for number in range(len(reports))]
        settings = tiny_settings("method.aggregation_weights=klaw", *PLAIN_GAIN, *overrides)
        notes = weigh(clients, reports, LAYOUT, settings, agreements=agreements)
        return [notes.weight[client] for client in clients]

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


@pytest.fixture
def bounded_settings(tiny_settings):
    return lambda *words: tiny_settings("method=fedklpr", "klaw.bound=2", *words)


EIGHT = [f"site{number}" for number in range(8)]


def weights_of(reports, settings, **asked):
    weight = weigh(EIGHT, reports, LAYOUT, settings, **asked).weight
    return [weight[client] for client in EIGHT]


def test_the_bound_holds_for_the_weight_itself_whatever_was_pruned(bounded_settings):
    """One that pruned .65 among unpruned ones, and learnt half as much, would weigh .45."""
    pruned = replace(REPORT, pruned=0.65, divergence=0.5)
    free = weights_of([pruned, *[REPORT] * 7], bounded_settings("klaw.bound=null"))
    assert free[0] > 0.4
    weights = weights_of([pruned, *[REPORT] * 7], bounded_settings())
    assert weights == pytest.approx([0.25, *[0.75 / 7] * 7])
    unpruned = replace(REPORT, divergence=3.0)
    weights = weights_of([unpruned, *[replace(REPORT, pruned=0.65)] * 7], bounded_settings())
    assert weights[0] == pytest.approx(1 / 16)


def test_clients_that_pruned_alike_weigh_as_klaw_says(bounded_settings):
    reports = [replace(REPORT, divergence=1 + n / 9, pruned=0.3) for n in range(8)]
    settings = bounded_settings("klaw.data_power=0.5")
    notes = weigh(EIGHT, reports, LAYOUT, settings)
    assert notes.weight == pytest.approx(notes.klaw)
    assert len(set(notes.klaw.values())) > 4


@pytest.mark.parametrize("seed", range(20))
def test_no_weight_is_beyond_the_bound_and_all_sum_to_one(seed, bounded_settings):
    random = np.random.default_rng(seed)
    reports = [
        replace(
            REPORT,
            examples=int(random.integers(35, 13_000)),
            divergence=float(random.exponential()),
            pruned=float(random.uniform(0, 0.65)),
        )
        for _ in EIGHT
    ]
    weights = weights_of(reports, bounded_settings("klaw.data_power=0.5"))
    shares = np.array([report.examples for report in reports], float)
    times = np.array(weights) / (shares / shares.sum())
    assert sum(weights) == pytest.approx(1)
    assert np.all((times > 0.5 - 1e-9) & (times < 2 + 1e-9))


def test_who_is_trusted_by_half_is_bounded_by_half_of_its_share(bounded_settings):
    half, out = {"site0": 0.5}, {"site0": 0.0}
    settings = bounded_settings()
    assert weights_of([REPORT] * 8, settings, factors=half)[0] == pytest.approx(0.5 / 7.5)
    loud = [replace(REPORT, pruned=0.65), *[REPORT] * 7]
    assert weights_of(loud, settings, factors=half)[0] == pytest.approx(2 * 0.5 / 7.5)
    assert weights_of(loud, settings, factors=out) == pytest.approx([0.0, *[1 / 7] * 7])


def test_a_billion_pictures_count_for_three_medians_where_the_sites_are_real(bounded_settings):
    """The bound follows what clients say of their data: `defence.norm_bound` holds that back."""
    liar = [replace(REPORT, examples=10**9), *[REPORT] * 7]
    assert weights_of(liar, bounded_settings())[0] > 0.49, "a study holds nothing back"
    weights = weights_of(liar, bounded_settings("deployment=true"))
    root = 3**0.5
    assert weights[0] == pytest.approx(root / (root + 7))


def test_sites_of_35_to_13000_pictures_count_as_they_are_in_a_study(bounded_settings):
    counts = [35, 46, 632, 1000, 2000, 4000, 7365, 12_936]
    reports = [replace(REPORT, examples=count) for count in counts]
    weights = weights_of(reports, bounded_settings("klaw.data_power=1"))
    assert weights == pytest.approx([count / sum(counts) for count in counts])


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
