import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedklpr_flwr.algorithm.weighting import (
    agreement_weights,
    cap_weights,
    combined_weights,
    cosine_weights,
    data_size_weights,
    divergence_weights,
    pruning_weights,
    scaled_by_data,
    uniform_weights,
    within_share,
)
from fedklpr_flwr.errors import MergeError

shares = st.lists(st.floats(0, 1e3), min_size=1, max_size=9)


def assert_weights(actual, expected):
    assert actual.dtype == np.float64
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-300)


def test_who_learnt_more_weighs_more():
    assert_weights(divergence_weights([1.0, 3.0]), [0.25, 0.75])


def test_alignment_is_the_inverse_and_a_clone_does_not_take_over():
    assert_weights(divergence_weights([1.0, 3.0], "alignment"), [0.75, 0.25])
    clone = divergence_weights([0.0, 1.0, 1.0], "alignment")
    floor = 0.01 * 2 / 3
    assert_weights(clone, np.array([1 / floor, 1, 1]) / (1 / floor + 2))
    assert clone[0] < 1


@pytest.mark.parametrize("direction", ["gain", "alignment", "bounded"])
def test_equal_or_no_divergence_is_uniform(direction):
    assert_weights(divergence_weights([0.0, 0.0, 0.0], direction), [1 / 3] * 3)
    assert_weights(divergence_weights([0.2, 0.2], direction), [0.5, 0.5])


def test_idle_clients_weigh_nothing_and_take_nothing():
    active = [True, False, True]
    assert_weights(divergence_weights([1.0, 9.0, 3.0], active=active), [0.25, 0, 0.75])
    assert_weights(divergence_weights([1.0, 0.0, 3.0], "alignment", active=active), [0.75, 0, 0.25])
    assert_weights(pruning_weights([0.5, 0.9, 0.0], active=active), [2 / 3, 0, 1 / 3])
    assert_weights(data_size_weights([10, 99, 30], active=active), [0.25, 0, 0.75])
    assert_weights(cosine_weights([1.0, 2.0, 1.0], active=active), [0.5, 0, 0.5])
    assert_weights(uniform_weights(3, active=active), [0.5, 0, 0.5])


def test_where_all_are_idle_all_weights_are_nought():
    nobody = [False, False]
    klaw = divergence_weights([1.0, 2.0], active=nobody)
    praw = pruning_weights([0.1, 0.2], active=nobody)
    for weights in (klaw, praw, combined_weights(klaw, praw), cap_weights(klaw)):
        assert weights.tolist() == [0.0, 0.0]


def test_pruning_weights_by_hand():
    ratios = [0.0, 0.5, 0.75]
    assert_weights(pruning_weights(ratios), np.array([1, 2, 4]) / 7)
    assert_weights(pruning_weights(ratios, "density"), np.array([1, 0.5, 0.25]) / 1.75)
    pruned = pruning_weights(ratios, "pruned", prunable=100)
    assert_weights(pruned, np.array([0.01, 0.51, 0.76]) / 1.28)


@pytest.mark.parametrize("formula", ["inverse_density", "pruned", "density"])
def test_while_nobody_has_pruned_all_weigh_the_same(formula):
    assert_weights(pruning_weights([0.0, 0.0, 0.0, 0.0], formula), [0.25] * 4)


def test_inverse_density_gives_every_client_the_same_mass_over_coordinates():
    masks = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [0, 1, 0, 0]])
    weights = pruning_weights(1 - masks.mean(axis=1))
    mass = (weights[:, None] * masks).sum(axis=1)
    assert_weights(mass, np.full(3, mass[0]))


def test_combined_weights_by_hand():
    klaw, praw = [0.25, 0.75], [0.6, 0.4]
    assert_weights(combined_weights(klaw, praw), [0.15 / 0.45, 0.3 / 0.45])
    assert_weights(combined_weights(klaw, praw, "mean"), [0.425, 0.575])
    assert_weights(combined_weights(klaw, [0.5, 0.5]), klaw)


def test_an_idle_client_stays_idle_in_the_combination():
    klaw, praw = [0.25, 0.0, 0.75], [0.5, 0.0, 0.5]
    assert combined_weights(klaw, praw)[1] == 0
    assert combined_weights(klaw, praw, "mean")[1] == 0


def test_data_size_and_cosine_weights_by_hand():
    assert_weights(data_size_weights([100, 300]), [0.25, 0.75])
    assert_weights(data_size_weights([0, 0]), [0.5, 0.5])
    assert_weights(cosine_weights([0.1, 0.3]), [0.25, 0.75])


def test_a_small_cosine_distance_does_not_delete_a_client():
    assert cosine_weights([0.0009, 0.5])[0] == pytest.approx(0.0009 / 0.5009)


def test_the_cap_shares_the_excess_in_proportion():
    assert_weights(cap_weights([0.7, 0.2, 0.1]), [0.5, 0.5 * 2 / 3, 0.5 / 3])
    assert_weights(cap_weights([0.4, 0.3, 0.3]), [0.4, 0.3, 0.3])
    assert_weights(cap_weights([0.9, 0.1]), [0.5, 0.5])
    assert_weights(cap_weights([1.0]), [1.0])


def test_sharing_may_lift_another_client_to_the_cap():
    assert_weights(cap_weights([0.6, 0.3, 0.05, 0.05], 0.35), [0.35, 0.35, 0.15, 0.15])


def test_a_cap_too_low_to_meet_becomes_the_equal_share():
    assert_weights(cap_weights([0.8, 0.1, 0.1], 0.1), [1 / 3] * 3)
    assert_weights(cap_weights([0.8, 0.0, 0.2], 0.1), [0.5, 0.0, 0.5])


@given(shares, st.floats(0.01, 1))
def test_weights_sum_to_one_and_stay_under_the_cap(values, cap):
    weights = divergence_weights(values)
    assert weights.sum() == pytest.approx(1)
    capped = cap_weights(weights, cap)
    assert capped.sum() == pytest.approx(1)
    assert capped.max() <= max(cap, 1 / len(values)) * (1 + 1e-9)


@given(shares)
def test_scaling_every_divergence_changes_no_weight(values):
    if max(values) > 1e-3:
        once = divergence_weights(np.maximum(values, 1e-6))
        again = divergence_weights(np.maximum(values, 1e-6) * 7)
        np.testing.assert_allclose(once, again, rtol=1e-9)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.1])
def test_a_value_that_cannot_be_is_refused_with_its_index(bad):
    calls = [
        divergence_weights,
        pruning_weights,
        data_size_weights,
        cosine_weights,
        cap_weights,
        lambda values: combined_weights(values, [0.5, 0.5]),
    ]
    for call in calls:
        with pytest.raises(MergeError, match="client number 1"):
            call([0.5, bad])


def test_a_client_that_says_it_pruned_everything_is_refused():
    with pytest.raises(MergeError, match=r"below 1\.0"):
        pruning_weights([0.1, 1.0])


def test_unknown_words_and_lengths_are_refused():
    with pytest.raises(MergeError, match="'loss'"):
        divergence_weights([1.0], "loss")
    with pytest.raises(MergeError, match="'p'"):
        pruning_weights([0.1], "p")
    with pytest.raises(MergeError, match="'max'"):
        combined_weights([1.0], [1.0], "max")
    with pytest.raises(MergeError, match="1 and 2"):
        combined_weights([1.0], [0.5, 0.5])
    with pytest.raises(MergeError, match="shape"):
        uniform_weights(3, active=[True])
    with pytest.raises(MergeError, match="cap"):
        cap_weights([0.5, 0.5], 0.0)


def test_bounded_alignment_by_hand():
    # The median is 2: factors 4, 1 and 0.2, held within [1/2, 2].
    assert_weights(divergence_weights([0.5, 2.0, 10.0], "bounded"), np.array([2, 1, 0.5]) / 3.5)
    idle = [True, False, True, True]
    assert_weights(
        divergence_weights([0.5, 99.0, 2.0, 10.0], "bounded", active=idle),
        np.array([2, 0, 1, 0.5]) / 3.5,
    )


def test_a_client_that_diverges_takes_over_by_gain_and_not_when_bounded():
    # As Market-1501's federation went: one client's divergence rises, the others stay calm.
    divergences, pictures = [2.0, 0.1, 0.1, 0.1], [1000, 1000, 1000, 1000]
    gain = divergence_weights(divergences)
    assert gain[0] > 0.85
    assert divergence_weights(divergences, "bounded")[0] == pytest.approx(0.5 / 3.5)
    safe = within_share(gain, data_size_weights(pictures), 2.0)
    assert_weights(safe, [0.5, 0.5 / 3, 0.5 / 3, 0.5 / 3])


def test_a_client_that_hardly_learns_takes_over_by_alignment_and_not_when_bounded():
    # As PKU-Reid did: 46 of its 496 pictures had a label, and so it hardly moved.
    divergences, trained = [0.004, 0.1, 0.1], [46, 500, 1000]
    alignment = divergence_weights(divergences, "alignment")
    assert alignment[0] > 0.9
    counted = scaled_by_data(divergence_weights(divergences, "bounded"), trained, 1.0)
    assert_weights(counted, np.array([92, 500, 1000]) / 1592)
    safe = within_share(alignment, data_size_weights(trained), 2.0)
    assert safe[0] == pytest.approx(2 * 46 / 1546)


def test_agreement_by_hand_and_unknown_is_typical():
    weights = agreement_weights([0.1, 0.4, np.nan, -0.3, 2.0], 0.4)
    assert_weights(weights, np.array([0.5, 1, 1, 0.5, 2]) / 5)


@pytest.mark.parametrize("typical", [None, 0.0, -0.1])
def test_without_a_typical_agreement_all_weigh_the_same(typical):
    active = [True, True, False]
    assert_weights(agreement_weights([0.3, -0.3, 0.9], typical, active=active), [0.5, 0.5, 0])


def test_data_count_by_their_power():
    weights = [0.5, 0.5, 0.0]
    assert_weights(scaled_by_data(weights, [100, 400, 900], 0.5), [1 / 3, 2 / 3, 0])
    assert_weights(scaled_by_data(weights, [100, 400, 900], 1.0), [0.2, 0.8, 0])
    assert_weights(scaled_by_data(weights, [100, 400, 900], 0.0), weights)


def test_a_bound_of_one_leaves_the_data_alone_and_a_wide_one_the_weights():
    weights, shares = [0.7, 0.2, 0.1], [0.2, 0.3, 0.5]
    assert_weights(within_share(weights, shares, 1.0), shares)
    np.testing.assert_allclose(within_share(weights, shares, 100.0), weights, rtol=1e-9)
    with pytest.raises(MergeError, match=r"klaw\.bound must be at least 1, it is 0\.5"):
        within_share(weights, shares, 0.5)


@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 5000)), min_size=1, max_size=9),
    st.floats(1.0, 10.0),
)
def test_no_weight_leaves_its_bounds_whatever_was_said(said, bound):
    divergences, pictures = [d for d, _ in said], [n for _, n in said]
    shares = data_size_weights(pictures)
    for direction in ("gain", "alignment", "bounded"):
        weights = within_share(divergence_weights(divergences, direction), shares, bound)
        assert weights.sum() == pytest.approx(1)
        assert np.all(weights <= shares * bound * (1 + 1e-9))
        assert np.all(weights >= shares / bound * (1 - 1e-9))


def test_nobody_active_stays_nobody_within_the_bounds():
    assert within_share([0.0, 0.0], [0.0, 0.0], 2.0).tolist() == [0.0, 0.0]
