"""Claims about fedklpr_flwr.client.round_plan: how long, and how fast."""

import pytest

from fedklpr_flwr.client.round_plan import final_plan, round_plan


def test_a_round_has_one_rate_until_it_drops(tiny_settings):
    settings = tiny_settings("training.epochs=3", "training.lr_drop_round=5")
    rate = settings.training.learning_rate
    assert [round_plan(settings, number).rate(2) for number in (1, 4)] == [rate, rate]
    assert round_plan(settings, 5).rate(1) == pytest.approx(rate / 10)
    assert round_plan(settings, 5).epochs == 3


def test_a_round_ends_early_only_from_its_round_on_and_where_it_is_asked(tiny_settings):
    asked = tiny_settings("training.epochs=5", "early_stop.precision=0.95")
    first, second = round_plan(asked, 1), round_plan(asked, 2)
    never = round_plan(tiny_settings("training.epochs=5"), 2)
    perfect = (2, 1.0, 1.0)
    assert second.ends_after(*perfect)
    assert not first.ends_after(*perfect)
    assert not never.ends_after(*perfect)
    assert not second.ends_after(2, 0.95, 0.9)
    assert second.ends_after(2, 0.96, 0.9)
    assert second.ends_after(2, 0.1, 1.0), "the last batch was all right"
    assert all(plan.ends_after(5, 0.0, 0.0) for plan in (first, second, never))


def test_the_final_round_warms_up_and_drops_as_the_baselines_code_does(tiny_settings):
    settings = tiny_settings("training.final_epochs=50", "training.learning_rate=0.00035")
    plan = final_plan(settings, 20)
    base = 3.5e-5
    assert plan.epochs == 50
    assert plan.rate(1) == pytest.approx(0.01 * base)
    assert plan.rate(3) == pytest.approx((0.01 + 0.99 * 2 / 5) * base)
    for epoch, factor in ((6, 1), (20, 1), (21, 0.1), (40, 0.1), (41, 0.01), (50, 0.01)):
        assert plan.rate(epoch) == pytest.approx(factor * base), epoch
    assert not plan.ends_after(49, 1.0, 1.0)


def test_without_warm_up_the_final_round_starts_at_its_rate(tiny_settings):
    settings = tiny_settings("training.final_epochs=2", "training.final_warmup=0")
    assert final_plan(settings, 2).rate(1) == pytest.approx(settings.training.learning_rate / 10)


def test_rounds_and_the_final_round_draw_their_own_random_numbers(tiny_settings):
    settings = tiny_settings()
    plans = [round_plan(settings, 1), round_plan(settings, 2), final_plan(settings, 2)]
    assert len({plan.stream for plan in plans}) == 3
