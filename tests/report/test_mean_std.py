"""Claims about fedklpr_flwr.report.mean_std: means over seeds, and differences seed by seed."""

import pytest

from fedklpr_flwr.report.mean_std import Paired, Spread, paired_difference, spread_of


def test_a_spread_is_the_mean_and_the_sample_deviation_of_what_is_known():
    assert spread_of([1.0, None, 3.0]) == Spread(2.0, pytest.approx(2**0.5), 2)
    assert spread_of([0.5]) == Spread(0.5, None, 1)
    assert spread_of([None]) is None


def test_a_paired_difference_sees_what_two_spreads_hide():
    ours, theirs = {0: 0.50, 1: 0.60, 2: 0.70}, {0: 0.48, 1: 0.59, 2: 0.67, 3: 0.9}
    mean, error, count = paired_difference(ours, theirs)
    assert (mean, count) == (pytest.approx(0.02), 3)
    # differences .02 .01 .03: s = .01, so the standard error is .01 / sqrt(3)
    assert error == pytest.approx(0.01 / 3**0.5)


def test_without_a_seed_in_common_there_is_no_difference():
    assert paired_difference({0: 0.5}, {1: 0.5}) is None
    assert paired_difference({0: None}, {0: 0.5}) is None
    assert paired_difference({0: 0.5}, {0: 0.4}) == Paired(pytest.approx(0.1), None, 1)


@pytest.mark.parametrize(
    ("mean", "error", "not_below"),
    [
        (-0.009, None, True),
        (-0.011, None, False),
        (-0.011, 0.012, True),
        (-0.03, 0.02, False),
        (-0.009, 0.001, True),
        (0.2, 0.0, True),
    ],
)
def test_below_is_by_more_than_a_point_and_more_than_a_standard_error(mean, error, not_below):
    assert Paired(mean, error, 3).not_below is not_below
