"""Claims about fedklpr_flwr.algorithm.pruning_rate: the curve, and how it bears a pause."""

import pytest

from fedklpr_flwr.algorithm.pruning_rate import next_rate
from fedklpr_flwr.errors import SettingsError


def ratios(schedule, count, rate=0.1, target=0.5):
    found = [0.0]
    for _ in range(count):
        taken = next_rate(found[-1], schedule, rate, target)
        found.append(min(target, found[-1] + taken * (1 - found[-1])))
    return found


def test_cubic_follows_its_curve_in_as_many_prunes_as_the_geometric_one_needs():
    curve = [0.5 * (1 - (1 - step / 7) ** 3) for step in range(8)]
    assert ratios("cubic", 7) == pytest.approx(curve)
    geometric = ratios("geometric", 7)
    assert geometric[6] < 0.5 == geometric[7] == curve[7]
    assert all(c > g for c, g in zip(curve[1:7], geometric[1:7], strict=True))


def test_at_the_target_a_cubic_schedule_takes_nothing_more():
    assert next_rate(0.5, "cubic", 0.1, 0.5) == 0.0
    assert ratios("cubic", 9)[-1] == pytest.approx(0.5)


def test_a_geometric_schedule_takes_the_same_share_of_what_is_left():
    assert [next_rate(p, "geometric", 0.1, 0.5) for p in (0.0, 0.3, 0.5)] == [0.1, 0.1, 0.1]


@pytest.mark.parametrize(("rate", "target"), [(0.0, 0.5), (0.1, 0.0)])
def test_without_a_rate_or_a_target_nothing_is_taken(rate, target):
    assert next_rate(0.0, "cubic", rate, target) == 0.0


def test_another_schedule_does_not_exist():
    with pytest.raises(SettingsError, match="'linear'"):
        next_rate(0.0, "linear", 0.1, 0.5)
