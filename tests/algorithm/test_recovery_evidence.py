"""Claims about algorithm.recovery_evidence: a fall is seen, and chance is not taken for one."""

import math
from dataclasses import replace

import numpy as np
import pytest

from fedklpr_flwr.algorithm.recovery import RecoveryRule, RecoveryState, decide_pruning
from fedklpr_flwr.algorithm.recovery_evidence import (
    VERDICTS,
    Evidence,
    Pairs,
    log_likelihood_ratio,
    mcnemar_z,
    paired_verdict,
    sequential_verdict,
)

ALLOWED = 0.01
DISCORDANCE = 0.1


def drawn_pairs(generator, pictures, fall):
    """One round: each picture judged differently with 10 %, worse more often where it fell."""
    rates = [(DISCORDANCE + fall) / 2, (DISCORDANCE - fall) / 2]
    worse, better, _ = generator.multinomial(pictures, [*rates, 1 - sum(rates)])
    return Pairs(int(worse), int(better), pictures)


@pytest.mark.parametrize("test", VERDICTS)
@pytest.mark.parametrize("pictures", [384, 3000])
def test_without_a_change_it_holds_in_fewer_than_eight_of_a_hundred_rounds(test, pictures):
    generator, evidence, held = np.random.default_rng(7), Evidence(), 0
    rounds = 4000
    for _ in range(rounds):
        verdict = VERDICTS[test](evidence, drawn_pairs(generator, pictures, 0.0), ALLOWED)
        evidence, held = verdict.after, held + verdict.fallen
    assert held / rounds < 0.08


def decided(rule, state, pairs):
    """What is decided in a round in which nothing but the pairs decides."""
    return decide_pruning(
        state, rule, accuracy=1.0, ratio=0.1, target=0.9, round_number=5, first_round=2,
        compare=lambda: pairs,
    )  # fmt: skip


@pytest.mark.parametrize("discordance", [0.1, 0.38])
@pytest.mark.parametrize("pictures", [384, 1000, 3000])
@pytest.mark.parametrize("test", VERDICTS)
def test_no_lucky_model_before_a_prune_holds_for_long(test, pictures, discordance):
    """A model stays the reference until the next prune; pictures that go either way, by chance."""
    generator, rule = np.random.default_rng(7), RecoveryRule(0, ALLOWED, test=test, patience=2)
    held = rounds = 0
    for _ in range(300):
        open_ = generator.random(pictures) < 2 * discordance
        evidence, prunes = Evidence(), 0
        was = open_ & (generator.random(pictures) < 0.5)
        while prunes < 4:
            now = open_ & (generator.random(pictures) < 0.5)
            pairs = Pairs(int((was & ~now).sum()), int((now & ~was).sum()), pictures)
            decision = decided(rule, RecoveryState(evidence=evidence), pairs)
            evidence, rounds = decision.evidence, rounds + 1
            held += not decision.prunes
            if decision.prunes:
                was, prunes = now, prunes + 1
    assert held / rounds < 0.08


@pytest.mark.parametrize(("patience", "actions"), [(2, "hhphhp"), (0, "pppppp"), (None, "hhhhhh")])
def test_it_holds_as_long_as_there_is_patience(patience, actions):
    rule, state = RecoveryRule(0, ALLOWED, test="paired", patience=patience), RecoveryState()
    told = ""
    for _ in range(6):
        decision = decided(rule, state, Pairs(300, 100, 3000))
        state, told = replace(state, evidence=decision.evidence), told + "hp"[decision.prunes]
    assert told == actions


@pytest.mark.parametrize("test", VERDICTS)
def test_three_points_are_seen_within_two_rounds_of_three_thousand_pictures(test):
    generator = np.random.default_rng(7)
    missed, tries = 0, 500
    for _ in range(tries):
        evidence, seen = Evidence(), False
        for _ in range(2):
            verdict = VERDICTS[test](evidence, drawn_pairs(generator, 3000, 0.03), ALLOWED)
            evidence, seen = verdict.after, seen or verdict.fallen
        missed += not seen
    assert missed / tries < 0.02


def test_z_by_hand_and_exact_for_few():
    assert mcnemar_z(Pairs(60, 40, 1000)) == 2.0
    assert mcnemar_z(Pairs(0, 0, 1000)) == 0.0
    # P(B >= 5 of 5) = 1/32, whose normal quantile is 1.863.
    assert mcnemar_z(Pairs(5, 0, 50)) == pytest.approx(1.8627, abs=1e-4)
    assert mcnemar_z(Pairs(0, 3, 50)) < -5, "certain cases have a finite z"
    slow = sum(math.comb(9, k) for k in (7, 8, 9)) / 2**9
    assert 0.5 * math.erfc(mcnemar_z(Pairs(7, 2, 99)) / math.sqrt(2)) == pytest.approx(slow)


def test_the_likelihood_ratio_is_that_of_every_pair_in_turn():
    pairs, fall = Pairs(30, 20, 500), 0.02
    share = (0.1 + fall) / 0.2
    slow = sum([math.log(share / 0.5)] * 30) + sum([math.log((1 - share) / 0.5)] * 20)
    assert log_likelihood_ratio(pairs, fall) == pytest.approx(slow)
    assert log_likelihood_ratio(Pairs(0, 0, 500), fall) == 0.0
    assert math.isfinite(log_likelihood_ratio(Pairs(1, 3, 4000), fall))


def test_who_holds_goes_on_only_once_it_has_healed():
    fallen = paired_verdict(Evidence(), Pairs(70, 40, 1000), ALLOWED)
    assert fallen.fallen
    half = Pairs(57, 43, 1000)  # z = 1.4: no reason to hold, none to go on either
    assert paired_verdict(fallen.after, half, ALLOWED).fallen
    assert not paired_verdict(Evidence(), half, ALLOWED).fallen
    assert not paired_verdict(fallen.after, Pairs(55, 45, 1000), ALLOWED).fallen


def test_a_fall_too_small_to_matter_does_not_hold_however_sure_it_is():
    sure = Pairs(600, 500, 50_000)
    assert mcnemar_z(sure) > 3
    assert not paired_verdict(Evidence(), sure, ALLOWED).fallen
    assert not paired_verdict(Evidence(holding=True), sure, ALLOWED).fallen


@pytest.mark.parametrize("held", [False, True])
def test_few_pairs_of_many_pictures_are_no_fall_however_one_sided_they_are(held):
    """Five of 30,000 is .017 points where one point is allowed."""
    few = Pairs(5, 0, 30_000)
    assert log_likelihood_ratio(few, 2 * ALLOWED) > math.log(0.90 / 0.05)
    verdict = sequential_verdict(Evidence(holding=held), few, ALLOWED)
    assert (verdict.fallen, verdict.after) == (False, Evidence())
    assert sequential_verdict(Evidence(), Pairs(5, 0, 300), ALLOWED).fallen


def test_what_one_round_cannot_prove_several_can():
    evidence, verdicts = Evidence(), []
    for _ in range(6):
        verdict = sequential_verdict(evidence, Pairs(12, 6, 180), ALLOWED)
        evidence = verdict.after
        verdicts.append(verdict.fallen)
    assert verdicts[0] is False
    assert verdicts[-1] is True
    assert sequential_verdict(Evidence(), Pairs(12, 6, 180), ALLOWED).after.carried.compared == 180


def test_after_a_verdict_the_count_begins_anew():
    verdict = sequential_verdict(Evidence(), Pairs(150, 150, 3000), ALLOWED)
    assert (verdict.fallen, verdict.after) == (False, Evidence())
    fallen = sequential_verdict(Evidence(), Pairs(200, 100, 3000), ALLOWED)
    assert (fallen.fallen, fallen.after) == (True, Evidence(holding=True))


def test_no_pictures_prove_nothing():
    for judge in VERDICTS.values():
        assert not judge(Evidence(), Pairs(), ALLOWED).fallen
        assert judge(Evidence(holding=True), Pairs(), ALLOWED).statistic == 0


def test_evidence_survives_json():
    evidence = Evidence(True, Pairs(3, 2, 90), 2)
    assert Evidence.from_dict(evidence.to_dict()) == evidence
    older = {"holding": True, "carried": evidence.to_dict()["carried"]}
    assert Evidence.from_dict(older) == Evidence(True, Pairs(3, 2, 90), 1)
