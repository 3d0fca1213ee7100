"""Claims about server.robust.norm_bound: nobody moves the model further than others do."""

import numpy as np
import pytest

from fedklpr_flwr.algorithm.merge.contribution import ArrayValues
from fedklpr_flwr.server.robust.norm_bound import (
    ShortenedValues,
    bounded,
    damaged,
    furthest,
    norm_bound,
    pooled_pairs,
    shortening,
    squared_distance,
    unbounded_note,
)


def f32(*values):
    return np.array(values, np.float32)


def test_the_distance_is_of_held_coordinates():
    sent = f32(1, 1, 1, 1).reshape(2, 2)
    assert squared_distance(f32(4, 5), np.array([[True, False], [False, True]]), sent) == 25.0
    assert squared_distance(f32(4, 5, 1, 1).reshape(2, 2), None, sent) == 25.0


def test_who_stands_out_is_shortened_to_the_bound_and_nobody_else():
    lengths = {"a": (1.0, 1.0), "b": (1.2, 0.0), "c": (0.8, 1.0), "d": (30.0, 2.0)}
    assert shortening(lengths, 3.0) == {"d": pytest.approx((3.3 / 30, 1.0))}
    assert shortening(lengths, None) == {}


def test_two_clients_have_no_median_to_stand_out_from():
    assert shortening({"a": (1.0, 1.0), "b": (99.0, 1.0)}, 3.0) == {}


def test_where_nobody_else_moved_nobody_may():
    lengths = {"a": (0.0, 0.0), "b": (0.0, 0.0), "c": (5.0, 0.0)}
    assert shortening(lengths, 3.0) == {"c": (0.0, 1.0)}


def test_a_reported_divergence_counts_for_no_more_than_the_bound():
    three, two = np.ones(3, np.bool_), np.ones(2, np.bool_)
    assert bounded([1.0, 2.0, 1e9], three, 3.0, [False] * len(three)).tolist() == [1.0, 2.0, 6.0]
    assert bounded([1.0, 1e9], two, 3.0, [False] * len(two)).tolist() == [1.0, 1e9]
    assert bounded([1.0, 2.0, 1e9], three, None, [False] * len(three)).tolist() == [1.0, 2.0, 1e9]


def test_who_is_shortened_counts_as_the_median_at_most_whatever_it_says():
    three = np.ones(3, np.bool_)
    assert bounded([1.0, 2.0, 1e9], three, 3.0, [False, False, True]).tolist() == [1.0, 2.0, 2.0]
    assert bounded([0.5, 2.0, 3.0], three, 3.0, [True, False, False]).tolist() == [0.5, 2.0, 3.0]


def test_ten_times_beyond_the_bound_is_damage_and_left_out():
    lengths = {"a": (1.0, 1.0), "b": (1.0, 1.0), "long": (29.0, 1.0), "damaged": (31.0, 1.0)}
    lengths |= {"c": (1.0, 1.0), "statistics": (1.0, 99.0)}
    assert damaged(shortening(lengths, 3.0)) == {"damaged"}


def test_idle_clients_draw_no_median_to_zero():
    active = np.array([True, False, True, False, False, True, False])
    said = [1.0, 0.0, 2.0, 0.0, 0.0, 1e9, 0.0]
    assert bounded(said, active, 3.0, [False] * len(active)).tolist() == [
        1.0,
        0.0,
        2.0,
        0.0,
        0.0,
        6.0,
        0.0,
    ]


def test_shortened_values_lie_between_what_was_sent_and_what_came():
    sent = f32(0, 10, 20, 30)
    whole = ShortenedValues(ArrayValues(f32(4, 6, 24, 22)), sent, 0.5)
    assert whole.block(0, 0, slice(0, 4)).tolist() == [2, 8, 22, 26]
    kept = ShortenedValues(ArrayValues(f32(14, 34)), sent, 0.25)
    assert kept.size == 2
    assert kept.block(1, 2, np.array([1])).tolist() == [31]


def test_real_boxes_are_bounded_unless_they_say_how(tiny_settings):
    assert norm_bound(tiny_settings()) is None
    assert norm_bound(tiny_settings("deployment=true")) == 3.0
    assert norm_bound(tiny_settings("defence.norm_bound=5", "deployment=true")) == 5.0


def test_who_moves_ten_times_as_far_as_all_others_is_found_by_weights_or_by_the_rest():
    assert furthest({"a": (1.0, 1.0), "b": (9.9, 9.9)}) is None
    assert furthest({"a": (1.0, 1.0), "b": (12.0, 1.0)}) == ("b", 12.0)
    assert furthest({"a": (1.0, 500.0), "b": (12.0, 1.0)}) == ("a", 500.0)
    assert furthest({"a": (99.0, 1.0)}) is None, "alone nobody stands out"
    assert furthest({"a": (0.0, 0.0), "b": (0.0, 0.0)}) is None, "lengths that were not measured"


def test_two_real_boxes_are_told_that_nothing_is_bounded(tiny_settings):
    real = tiny_settings("deployment=true")
    assert "2 clients have no median" in unbounded_note(real, 2)
    assert unbounded_note(real, 3) is None
    assert unbounded_note(tiny_settings(), 2) is None


def test_pairs_of_all_clients_are_added_up_as_they_are_where_none_stands_out():
    assert pooled_pairs([(3, 2, 100), (0, 0, 0), (5, 1, 40), (2, 2, 200)]) == (10, 5, 340)
    assert pooled_pairs([]) == (0, 0, 0)


@pytest.mark.parametrize("boasts", [(10**9, 0, 10**9), (0, 10**9, 10**9)])
def test_a_billion_pairs_count_for_three_medians_and_keep_their_ratio(boasts):
    honest = [(30, 30, 600)] * 6
    worse, better, compared = pooled_pairs([*honest, boasts])
    assert compared == 6 * 600 + 3 * 600
    assert (worse, better) == (180 + 1800 * (boasts[0] > 0), 180 + 1800 * (boasts[1] > 0))
    assert pooled_pairs([*honest, (10**8, 2 * 10**8, 10**9)]) == (360, 540, 5400)


def test_two_clients_pairs_have_no_median():
    assert pooled_pairs([(0, 0, 10), (1, 2, 10**9), (0, 0, 0)]) == (1, 2, 10**9 + 10)
