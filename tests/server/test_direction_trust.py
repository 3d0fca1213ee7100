"""Claims about server.robust.direction_trust: noise and poison go another way, and weigh less."""

import numpy as np
import pytest

from fedklpr_flwr.server.robust import direction_trust as alignment
from fedklpr_flwr.server.robust.direction_trust import Agreement, running_cosines, trust
from fedklpr_flwr.server.robust.update_sketch import SampledChange

SAMPLED = 40_000
WAY = np.random.default_rng(0).standard_normal(SAMPLED).astype(np.float32)
ALL = np.ones(SAMPLED, np.bool_)


def change(seed, way=1.0, own=2.0, held=None):
    """A client's change: the common way, and twice as much of its own."""
    noise = np.random.default_rng(seed).standard_normal(SAMPLED).astype(np.float32)
    held = ALL if held is None else held
    return SampledChange(np.where(held, way * WAY + own * noise, 0).astype(np.float32), held)


def six(**others):
    return {**{f"good-{n}": change(n) for n in range(1, 7)}, **others}


def factors_of(changes, before=None):
    return trust(running_cosines(changes, before or {}), 0.3)


def test_noise_and_flipped_updates_weigh_nothing_and_honest_ones_whole():
    factors = factors_of(six(noise=change(8, way=0), flipped=change(9, way=-3)))
    assert factors["flipped"] == 0
    assert factors["noise"] < 0.25
    assert all(factors[f"good-{n}"] == 1 for n in range(1, 7))


def test_a_huge_update_leads_nobody_astray():
    huge = change(8, way=0, own=1e6)
    factors = factors_of(six(huge=huge, twin=huge))
    assert all(factors[f"good-{n}"] == 1 for n in range(1, 7))


def test_two_that_send_the_same_noise_do_not_vouch_for_each_other():
    same = change(8, way=0)
    factors = factors_of(six(noise=same, twin=same))
    assert factors["noise"] == factors["twin"] < 0.25
    assert all(factors[f"good-{n}"] == 1 for n in range(1, 7))


@pytest.mark.parametrize("chunk", [1, 4 * 999, 2**20])
def test_the_cosines_are_those_of_a_slow_loop(chunk, monkeypatch):
    monkeypatch.setattr(alignment, "_CHUNK", chunk * (SAMPLED // 30 if chunk == 1 else 1))
    random = np.random.default_rng(6)
    changes = [change(n, way=n % 3, held=random.random(SAMPLED) < 0.4) for n in range(4)]
    cosines, common = alignment._pairs(changes)
    for i, one in enumerate(changes):
        for j, other in enumerate(changes):
            both = one.held & other.held
            a, b = one.values[both].astype(np.float64), other.values[both].astype(np.float64)
            assert common[i, j] == both.sum()
            assert cosines[i, j] == pytest.approx(a @ b / np.sqrt(a @ a * (b @ b)))


def test_clients_that_hold_nothing_in_common_say_nothing_of_each_other():
    halves = np.arange(SAMPLED) % 2 == 0
    cosines, common = alignment._pairs([change(1, held=halves), change(2, held=~halves)])
    assert cosines[0, 1] == common[0, 1] == 0


def test_only_weights_that_both_hold_are_compared():
    held = np.random.default_rng(3).random(SAMPLED) < 0.3
    factors = factors_of(six(sparse=change(9, held=held), poison=change(9, way=-1, held=held)))
    assert factors["sparse"] == 1
    assert factors["poison"] == 0


def test_where_nobody_agrees_nobody_can_be_told_from_anybody():
    assert set(factors_of({str(n): change(n, way=0) for n in range(5)}).values()) == {1.0}


def test_a_client_that_changed_nothing_is_not_asked():
    still = SampledChange(np.zeros(SAMPLED, np.float32), ALL)
    factors = factors_of(six(still=still))
    assert "still" not in factors
    assert factors["good-1"] == 1


def test_two_clients_or_no_question_give_no_answer():
    assert factors_of({"a": change(1), "b": change(2)}) == {}
    assert factors_of(six(unknown=None)) == {}


def test_earlier_rounds_count_so_that_chance_does_not_free_noise_nor_hush_the_honest():
    agreed = {**{f"good-{n}": Agreement(0.4, 5) for n in range(1, 7)}, "noise": Agreement(0.0, 5)}
    lucky = six(noise=change(8, way=0.1))  # one round by chance a little the common way
    alone = factors_of(lucky)["noise"]
    assert 0 < factors_of(lucky, agreed)["noise"] < alone / 1.5
    other = six(**{"good-6": change(6, way=0.02)})  # and an honest one a round across
    assert factors_of(other)["good-6"] < 0.5
    assert factors_of(other, agreed)["good-6"] == 1


@pytest.mark.parametrize("rounds", [1, 2, 10])
def test_what_chance_makes_of_a_running_mean_is_what_its_formula_says(rounds):
    draws = np.random.default_rng(rounds).standard_normal((rounds, 100_000))
    mean = draws[0]
    for drawn in draws[1:]:
        mean = mean + alignment._NEW * (drawn - mean)
    assert Agreement(0.5, rounds, 400).chance == pytest.approx(mean.std() / 20, rel=0.02)


def test_a_weak_agreement_of_many_rounds_tells_what_one_round_cannot():
    weak = 3 / SAMPLED**0.5  # within the chance of one round, beyond that of ten
    found = {f"good-{n}": weak for n in range(6)} | {"noise": 0.0}
    once = trust({client: Agreement(cosine, 1, SAMPLED) for client, cosine in found.items()}, 0.3)
    often = trust({client: Agreement(cosine, 10, SAMPLED) for client, cosine in found.items()}, 0.3)
    assert set(once.values()) == {1.0}
    assert often.pop("noise") == 0
    assert set(often.values()) == {1.0}
