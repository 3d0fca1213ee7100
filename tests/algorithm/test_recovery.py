import json

import pytest

from fedklpr_flwr.algorithm.recovery import (
    RecoveryRule,
    RecoveryState,
    decide_pruning,
    record_accuracy,
    record_prune,
)
from fedklpr_flwr.errors import MemoryStateError, SettingsError


def decide(state, rule=None, *, ratio=0.1, target=0.5, round_number=5, first_round=1):
    return decide_pruning(
        state,
        rule or RecoveryRule(),
        accuracy=state.newest,
        ratio=ratio,
        target=target,
        round_number=round_number,
        first_round=first_round,
    )


def remembering(*accuracies):
    state = RecoveryState()
    for number, accuracy in enumerate(accuracies, start=1):
        state = record_accuracy(state, number, accuracy)
    return state


def play(accuracies, rule=None, first_round=3):
    """The default order: decide in round t by the accuracy of t - 1, then train and measure."""
    state, actions = RecoveryState(), []
    for number, accuracy in enumerate(accuracies, start=1):
        decision = decide(state, rule, round_number=number, first_round=first_round)
        actions.append(decision.action)
        if decision.prunes:
            state = record_prune(state, number, state.newest)
        state = record_accuracy(state, number, accuracy)
    return actions


def test_a_fall_after_a_prune_holds_until_it_is_healed():
    trace = [0.80, 0.80, 0.70, 0.70, 0.795, 0.80]
    assert play(trace) == ["off", "off", "pruned", "held_drop", "held_drop", "pruned"]


def test_the_previous_round_forgives_a_fall_after_one_round():
    trace = [0.80, 0.80, 0.70, 0.70, 0.70]
    rule = RecoveryRule(reference="previous_round")
    assert play(trace, rule) == ["off", "off", "pruned", "held_drop", "pruned"]


def test_small_losses_prune_on_until_one_is_below_the_value_before_the_last_prune():
    trace = [0.80, 0.80, 0.795, 0.79, 0.779, 0.779, 0.785, 0.785]
    assert play(trace) == [
        "off",
        "off",
        "pruned",  # .80 against .80
        "pruned",  # .795 against .80
        "pruned",  # .79 against .795
        "held_drop",  # .779 is more than .01 below .79
        "held_drop",
        "pruned",  # .785 is back within .01
    ]


def test_only_the_best_reference_sees_a_slow_fall():
    trace = [0.80, 0.80, 0.795, 0.79, 0.785, 0.78]
    assert play(trace)[-1] == "pruned"
    best = play(trace, RecoveryRule(reference="best"))
    assert best == ["off", "off", "pruned", "pruned", "pruned", "held_drop"]


def test_a_fall_of_exactly_the_allowed_drop_still_prunes():
    state = record_prune(remembering(0.7, 0.7), 2, 0.7)
    assert decide(record_accuracy(state, 3, 0.69)).action == "pruned"
    assert decide(record_accuracy(state, 3, 0.6899)).action == "held_drop"


@pytest.mark.parametrize(("accuracy", "action"), [(0.49, "held_level"), (0.5, "pruned")])
def test_the_level_is_a_floor_that_may_be_met(accuracy, action):
    assert decide(remembering(accuracy, accuracy)).action == action


def test_nothing_is_pruned_without_an_accuracy():
    assert decide(RecoveryState()).action == "held_level"


def test_a_first_accuracy_prunes_by_its_level_alone_but_never_in_round_1():
    first = decide(remembering(0.9), round_number=2)
    assert first.action == "pruned"
    assert first.reference is None
    assert decide(remembering(0.4), round_number=2).action == "held_level"
    assert decide(remembering(0.9), round_number=1).action == "held_drop"


def test_one_measurement_never_allows_two_prunes():
    state = remembering(0.9, 0.9)
    assert decide(state, round_number=3).prunes
    idle = record_accuracy(record_prune(state, 3, state.newest), 3, None)
    assert decide(idle, round_number=4).action == "held_level"


def test_the_window_comes_before_the_accuracy():
    assert decide(RecoveryState(), round_number=2, first_round=3).action == "off"
    assert decide(remembering(0.1, 0.1), ratio=0.5).action == "at_target"
    assert decide(remembering(0.9, 0.9), ratio=0.499).action == "pruned"
    assert decide(remembering(0.9, 0.9), ratio=0.0, target=0.0).action == "at_target"


def test_level_nought_and_drop_one_never_hold():
    trace = [0.9, 0.1, 0.8, 0.0, 0.5]
    actions = play(trace, RecoveryRule(level=0, drop=1))
    assert actions == ["off", "off", "pruned", "pruned", "pruned"]


def test_rollback_is_asked_for_only_right_after_the_prune_that_hurt():
    rule = RecoveryRule(rollback=True)
    hurt = record_accuracy(record_prune(remembering(0.8, 0.8), 3, 0.8), 3, 0.6)
    assert decide(hurt, rule, round_number=4).roll_back
    assert not decide(hurt, round_number=4).roll_back
    later = record_accuracy(hurt, 4, 0.6)
    decision = decide(later, rule, round_number=5)
    assert decision.action == "held_drop"
    assert not decision.roll_back


def test_rollback_is_asked_for_when_pruning_comes_after_training():
    rule = RecoveryRule(rollback=True)
    state = record_prune(remembering(0.8, 0.8, 0.8), 3, 0.8)
    assert decide(record_accuracy(state, 4, 0.6), rule, round_number=4).roll_back


def test_a_second_accuracy_of_a_round_takes_the_place_of_the_first():
    state = record_accuracy(remembering(0.6, 0.7), 2, 0.65)
    assert state.history == ((1, 0.6), (2, 0.65))
    assert (state.newest, state.best) == (0.65, 0.7)


def test_recording_changes_no_earlier_state():
    state = remembering(0.6)
    record_accuracy(state, 2, 0.9)
    record_prune(state, 2, 0.9)
    assert state == remembering(0.6)


def test_a_state_survives_json():
    for state in (RecoveryState(), record_prune(remembering(0.8, 0.75), 3, 0.75)):
        assert RecoveryState.from_dict(json.loads(json.dumps(state.to_dict()))) == state


def test_damaged_states_and_impossible_rules_are_refused():
    for damaged in ({}, {"history": 3}, RecoveryState().to_dict() | {"best": "high"}):
        with pytest.raises(MemoryStateError, match="delete"):
            RecoveryState.from_dict(damaged)
    with pytest.raises(SettingsError, match="'worst'"):
        RecoveryRule(reference="worst")
    with pytest.raises(SettingsError, match=r"1\.2"):
        RecoveryRule(level=1.2)
    with pytest.raises(SettingsError, match="-1"):
        record_accuracy(RecoveryState(), 1, -1)
