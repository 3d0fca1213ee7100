from dataclasses import replace

import pytest
import torch

from fedklpr_flwr.algorithm.masks import full_mask, pruning_ratio
from fedklpr_flwr.algorithm.pruning_rules import RULES
from fedklpr_flwr.algorithm.pruning_step import PruningMoment, PruningSettings, PruningState
from fedklpr_flwr.algorithm.recovery import RecoveryRule, record_accuracy, record_prune
from fedklpr_flwr.errors import SettingsError

RISING = {"a": torch.arange(1.0, 11.0)}
FALLING = {"a": torch.arange(10.0, 0.0, -1.0)}


class Client:
    """Calls a rule as a local round does, and notes what it decided when."""

    def __init__(self, rule, settings, tensors=RISING):
        self.rule, self.settings = RULES[rule], settings
        self.tensors = tensors
        self.masks, self.state = full_mask(tensors, tensors), PruningState()
        self.number, self.decided, self.rewound = 0, [], []

    def ask(self, hook, **moment):
        step = hook(
            PruningMoment(
                tensors=self.tensors,
                masks=self.masks,
                state=self.state,
                settings=self.settings,
                round_number=self.number,
                **moment,
            )
        )
        self.masks, self.state = step.masks, step.state
        if step.decision:
            self.decided.append((moment.get("epoch", 0), step.decision.action))
        self.rewound.append(step.rewind)
        return step

    def play_round(self, accuracy, *, epochs=2, trained=None, through=None):
        self.number += 1
        self.decided, self.rewound = [], []
        common = {"epochs": epochs, "accuracy_through": through}
        self.ask(self.rule.before_training, **common)
        if epochs == 1:
            self.ask(self.rule.after_epoch, epoch=0.5, accuracy=accuracy, **common)
        for epoch in range(1, epochs + 1):
            self.ask(self.rule.after_epoch, epoch=epoch, accuracy=accuracy, **common)
            self.tensors = trained or self.tensors
        self.ask(self.rule.after_training, epoch=epochs, accuracy=accuracy, **common)
        return self.decided[-1][1] if self.decided else "off"

    @property
    def kept(self):
        return int(self.masks["a"].sum())


def lottery_settings(**changes):
    return PruningSettings(rate=0.2, target=0.5, first_round=1, above=0.2, **changes)


def test_no_rule_changes_nothing_and_says_off():
    client = Client("none", PruningSettings(first_round=1))
    masks = client.masks
    assert [client.play_round(0.9) for _ in range(3)] == ["off"] * 3
    assert client.masks is masks


def test_always_prunes_to_the_target_whatever_the_accuracy():
    client = Client("always", PruningSettings(rate=0.2, target=0.5, first_round=2))
    played = [(client.play_round(0.0), client.kept) for _ in range(5)]
    assert played == [("off", 10), ("pruned", 8), ("pruned", 6), ("pruned", 5), ("at_target", 5)]


@pytest.mark.parametrize("rule", ["always", "recovery"])
@pytest.mark.parametrize(
    ("when", "epochs", "moment"),
    [
        ("before_training", 3, 0),
        ("before_last_epoch", 3, 2),
        ("after_training", 3, 3),
        ("before_training", 1, 0),
        ("before_last_epoch", 1, 0),
        ("after_training", 1, 1),
    ],
)
def test_a_round_decides_once_and_at_the_moment_asked_for(rule, when, epochs, moment):
    client = Client(rule, PruningSettings(rate=0.2, first_round=1, when=when))
    for _ in range(3):
        client.play_round(0.9, epochs=epochs)
    assert client.decided == [(moment, "pruned")]


def test_recovery_holds_after_a_fall_and_prunes_on_when_healed():
    client = Client("recovery", PruningSettings(rate=0.2, target=0.5, first_round=3))
    trace = [0.8, 0.8, 0.7, 0.7, 0.8, 0.8, 0.8]
    played = [(client.play_round(accuracy), client.kept) for accuracy in trace]
    assert played == [
        ("off", 10),
        ("off", 10),
        ("pruned", 8),
        ("held_drop", 8),
        ("held_drop", 8),
        ("pruned", 6),
        ("pruned", 5),
    ]


@pytest.mark.parametrize(
    ("when", "first_round", "uplink", "downlink"),
    [("after_training", 2, 0.414, 0.389), ("before_training", 3, 0.389, 0.364)],
)
def test_recovery_without_pauses_is_the_ideal_schedule(when, first_round, uplink, downlink):
    tensors = {"a": torch.arange(1.0, 100_001.0)}
    client = Client("recovery", PruningSettings(when=when, first_round=first_round), tensors)
    saved_up, saved_down = 0.0, 0.0
    for _ in range(20):
        saved_down += pruning_ratio(client.masks) / 20
        client.play_round(0.9)
        saved_up += pruning_ratio(client.masks) / 20
    assert saved_up == pytest.approx(uplink, abs=5e-4)
    assert saved_down == pytest.approx(downlink, abs=5e-4)


def test_an_idle_round_never_allows_a_second_prune():
    client = Client("recovery", PruningSettings(rate=0.2, first_round=1))
    actions = [client.play_round(accuracy) for accuracy in (0.8, 0.8, None, 0.8, 0.8)]
    assert actions == ["held_level", "pruned", "pruned", "held_level", "pruned"]


def test_rollback_restores_the_masks_from_before_the_prune_that_hurt():
    settings = PruningSettings(rate=0.2, first_round=3, recovery=RecoveryRule(rollback=True))
    client = Client("recovery", settings)
    client.play_round(0.8)
    client.play_round(0.8)
    before = client.masks
    assert client.play_round(0.5) == "pruned"
    assert client.state.masks_before_last_prune is before
    client.play_round(0.5)
    assert client.masks is before
    assert client.state.masks_before_last_prune is None


def test_without_rollback_no_earlier_mask_is_kept():
    client = Client("recovery", PruningSettings(rate=0.2, first_round=3))
    for accuracy in (0.8, 0.8, 0.5, 0.5):
        client.play_round(accuracy)
    assert client.kept == 8
    assert client.state.masks_before_last_prune is None


@pytest.mark.parametrize(("seen", "action", "kept"), [(0.49, "held_level", 10), (0.5, "pruned", 8)])
def test_the_guard_keeps_the_old_masks_if_the_new_ones_cost_too_much(seen, action, kept):
    asked = []

    def through(masks):
        asked.append(int(masks["a"].sum()))
        return seen

    client = Client("recovery", PruningSettings(rate=0.2, first_round=3, guard=True))
    actions = [client.play_round(0.9, through=through) for _ in range(3)]
    assert (actions[-1], client.kept, asked) == (action, kept, [8])
    assert (client.state.recovery.last_prune_round == 3) == (action == "pruned")


def test_lottery_by_hand():
    client = Client("lottery", lottery_settings())
    trace = [0.1, 0.2, 0.5, 0.5, 0.5, 0.5]
    played = [(client.play_round(accuracy), client.kept) for accuracy in trace]
    assert played == [
        ("held_level", 10),  # nothing measured yet
        ("held_level", 10),  # .1
        ("held_level", 10),  # .2 is not above .2
        ("pruned", 8),
        ("pruned", 6),  # .2 of 8 is 1.6, so 2
        ("pruned", 5),  # .2 of 6 is 1.2, so 1, and that is the target
    ]
    assert client.play_round(0.5) == "at_target"
    assert client.masks["a"].tolist() == [False] * 5 + [True] * 5


def test_lottery_prunes_whatever_the_last_rounds_lost():
    client = Client("lottery", lottery_settings())
    assert [client.play_round(accuracy) for accuracy in (0.9, 0.5, 0.3)][1:] == ["pruned"] * 2


def test_lottery_rewinds_only_where_asked_and_only_when_it_prunes():
    for rewind in (True, False):
        client = Client("lottery", lottery_settings(rewind=rewind))
        client.play_round(0.9)
        assert client.rewound == [False] * len(client.rewound)
        client.play_round(0.9)
        assert client.rewound == [rewind, False, False, False]


def test_sub_fedavg_prunes_what_is_smallest_after_the_last_epoch():
    settings = PruningSettings(rate=0.2, target=0.5, first_round=1)
    client = Client("sub_fedavg", settings)
    assert client.play_round(0.6, epochs=5, trained=FALLING) == "pruned"
    assert client.masks["a"].tolist() == [True] * 8 + [False] * 2
    assert client.decided == [(5, "pruned")]
    assert client.state.candidate is None


def test_sub_fedavg_holds_where_training_no_longer_moves_the_candidate():
    client = Client("sub_fedavg", PruningSettings(rate=0.2, first_round=1))
    assert client.play_round(0.6, epochs=5) == "held_drop"
    assert client.kept == 10
    moved_little = PruningSettings(rate=0.2, first_round=1, mask_distance=0.4)
    client = Client("sub_fedavg", moved_little)
    assert client.play_round(0.6, epochs=5, trained=FALLING) == "held_drop"


def test_sub_fedavg_asks_for_the_accuracy_through_the_new_masks():
    asked = []

    def through(masks):
        asked.append(masks["a"].tolist())
        return 0.5

    client = Client("sub_fedavg", PruningSettings(rate=0.2, first_round=1))
    action = client.play_round(0.9, epochs=5, trained=FALLING, through=through)
    assert (action, client.kept) == ("held_level", 10)
    assert asked == [[True] * 8 + [False] * 2]
    assert client.play_round(0.5, epochs=5, trained=RISING) == "held_level"


def test_sub_fedavg_takes_its_first_candidate_half_way_through_a_single_epoch():
    client = Client("sub_fedavg", PruningSettings(rate=0.2, first_round=1))
    client.number = 1
    client.ask(client.rule.after_epoch, epoch=0.5)
    assert client.state.candidate["a"].tolist() == [False] * 2 + [True] * 8
    client.tensors = FALLING
    client.ask(client.rule.after_epoch, epoch=1)
    assert client.state.candidate["a"].tolist() == [False] * 2 + [True] * 8
    client.ask(client.rule.after_training, epoch=1, accuracy=0.9)
    assert client.decided == [(1, "pruned")]


def test_sub_fedavg_slows_down_before_the_target_and_then_stays():
    rising = {"a": torch.arange(1.0, 101.0)}
    falling = {"a": torch.arange(100.0, 0.0, -1.0)}
    settings = PruningSettings(rate=0.2, target=0.5, first_round=2)
    client = Client("sub_fedavg", settings, rising)
    played = []
    for number in range(8):
        before, after = (rising, falling) if number % 2 else (falling, rising)
        client.tensors = before
        played.append((client.play_round(0.9, epochs=2, trained=after), client.kept))
    assert played == [
        ("off", 100),
        ("pruned", 80),
        ("pruned", 64),  # .5 - .2 is not below .2
        ("pruned", 61),  # .5 - .36 is: .05 of 64
        ("pruned", 58),
        ("pruned", 55),
        ("pruned", 52),
        ("pruned", 50),
    ]
    assert client.play_round(0.9, trained=rising) == "at_target"


def test_sub_fedavg_holds_a_client_that_trained_nothing():
    client = Client("sub_fedavg", PruningSettings(first_round=1))
    client.number = 1
    client.ask(client.rule.before_training)
    client.ask(client.rule.after_training)
    assert client.decided == [(0, "held_level")]


@pytest.mark.parametrize("rule", ["recovery", "always", "lottery", "sub_fedavg"])
def test_less_than_one_weight_to_the_target_is_at_the_target(rule):
    seven = {"a": torch.arange(1.0, 8.0)}
    settings = PruningSettings(rate=0.5, target=0.5, first_round=1, recovery=RecoveryRule(level=0))
    client = Client(rule, settings, seven)
    actions = []
    for number in range(12):
        client.tensors = seven if number % 2 else {"a": seven["a"].flip(0)}
        flipped = {"a": client.tensors["a"].flip(0)}
        actions.append(client.play_round(0.9, trained=flipped))
    assert client.kept == 4
    # Sub-FedAvg's candidates no longer differ there, which it says first.
    assert actions[-1] in ("at_target", "held_drop")
    assert (actions[-1] == "held_drop") == (rule == "sub_fedavg")


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_changes_neither_weights_nor_masks_nor_state(rule):
    tensors = {"a": torch.arange(1.0, 11.0)}
    masks = full_mask(tensors, tensors)
    recovery = record_accuracy(record_accuracy(PruningState().recovery, 1, 0.9), 2, 0.9)
    state = PruningState(recovery=recovery)
    settings = PruningSettings(rate=0.2, first_round=1)
    moment = PruningMoment(tensors, masks, state, settings, round_number=3, accuracy=0.9)
    for when in ("before_training", "before_last_epoch", "after_training"):
        there = replace(moment, settings=replace(settings, when=when))
        for hook in (RULES[rule].before_training, RULES[rule].after_epoch):
            hook(there)
        RULES[rule].after_training(replace(there, epoch=1))
    assert tensors["a"].tolist() == RISING["a"].tolist()
    assert masks["a"].all()
    assert state == PruningState(recovery=recovery)


def test_the_state_that_comes_back_knows_the_prune():
    client = Client("recovery", PruningSettings(rate=0.2, first_round=3))
    for accuracy in (0.8, 0.9, 0.85):
        client.play_round(accuracy)
    by_hand = record_accuracy(record_accuracy(PruningState().recovery, 1, 0.8), 2, 0.9)
    by_hand = record_accuracy(record_prune(by_hand, 3, 0.9), 3, 0.85)
    assert client.state == PruningState(recovery=by_hand)


def test_impossible_settings_are_refused():
    with pytest.raises(SettingsError, match="'sometimes'"):
        PruningSettings(when="sometimes")
    with pytest.raises(SettingsError, match=r"rate.*1\.5"):
        PruningSettings(rate=1.5)
    with pytest.raises(SettingsError, match=r"target.*-1"):
        PruningSettings(target=-1)
