"""Claims about LotteryFL and Sub-FedAvg at a client: decisions worked out by hand."""

from dataclasses import replace

import pytest
import torch

from fedklpr_flwr.algorithm.recovery import RecoveryState
from fedklpr_flwr.client.local_round import run_local_round
from fedklpr_flwr.client.state_store import fresh_memory
from fedklpr_flwr.model.personal_model import load_personal_model
from fedklpr_flwr.model.shared_model import full_masks, initial_network
from fedklpr_flwr.reid.network import float_state

STILL = ("training.learning_rate=0", "pruning.batchnorm=keep")


def start(settings):
    """A client that has received a model other than the initial one."""
    network = initial_network(settings, pretrained=False)
    received = {name: 1.5 * value for name, value in float_state(network).items()}
    return received, fresh_memory(full_masks(network, settings))


def play(settings, site, accuracies):
    """Rounds in each of which the client remembers the given accuracy of the round before."""
    received, memory = start(settings)
    initial = float_state(initial_network(settings, pretrained=False))
    for number, accuracy in enumerate(accuracies, start=1):
        memory = replace(memory, recovery=RecoveryState(newest=accuracy))
        network = initial_network(settings, pretrained=False)
        load_personal_model(network, received, memory.masks, {})
        result = run_local_round(network, site, memory, settings, number, initial=initial)
        memory = result.memory
        yield result.update


def shares(updates):
    return [(u.report.crr, round(u.report.pruned, 3)) for u in updates]


# ---------------------------------------------------------------------------- LotteryFL


@pytest.mark.slow
def test_lotteryfl_prunes_while_the_last_accuracy_is_above_its_threshold(tiny_settings, tiny_site):
    settings = tiny_settings("method=lotteryfl", "pruning.target=0.4", *STILL)
    assert settings.pruning.above == 0.2
    played = play(settings, tiny_site, [0.9, None, 0.2, 0.21, 0.9, 0.1, 0.9, 0.9])
    assert shares(played) == [
        ("off", 0.0),  # before pruning.first_round
        ("held_level", 0.0),  # no accuracy yet
        ("held_level", 0.0),  # not above
        ("pruned", 0.2),
        ("pruned", 0.36),  # 0.2 + 0.2 * 0.8
        ("held_level", 0.36),
        ("pruned", 0.4),  # the last step is cut at the target
        ("at_target", 0.4),
    ]


@pytest.mark.parametrize("rewind", ["true", "false"])
def test_lotteryfls_survivors_go_back_to_the_initial_weights_only_when_asked(
    rewind, tiny_settings, tiny_site
):
    settings = tiny_settings("method=lotteryfl", f"pruning.rewind={rewind}", *STILL)
    received, _ = start(settings)
    initial = float_state(initial_network(settings, pretrained=False))
    _, pruned, held = play(settings, tiny_site, [None, 0.9, 0.1])
    for update, source in ((pruned, initial if rewind == "true" else received), (held, received)):
        for name, mask in update.masks.items():
            torch.testing.assert_close(update.tensors[name], source[name] * mask)
    assert pruned.report.crr == "pruned"
    for name, mask in held.masks.items():
        assert torch.equal(mask, pruned.masks[name]), "a round that holds changed the mask"


# ---------------------------------------------------------------------------- Sub-FedAvg


@pytest.mark.slow
def test_subfedavg_prunes_to_its_target_with_a_smaller_last_step(tiny_settings, tiny_site):
    settings = tiny_settings(
        "method=subfedavg",
        "pruning.rate=0.1",
        "pruning.target=0.3",
        "pruning.first_round=1",
        "pruning.mask_distance=0",
        "pruning.above=0",
        "crr.accuracy=cross_camera",
        "training.epochs=2",
        "training.learning_rate=0.01",
    )
    told = shares(play(settings, tiny_site, [None] * 6))
    assert told == [
        ("pruned", 0.1),
        ("pruned", 0.19),
        ("pruned", 0.271),
        ("pruned", 0.3),  # 0.029 is missing: at most 5 % of what is left, and that is cut at it
        ("at_target", 0.3),
        ("at_target", 0.3),
    ]


def test_subfedavg_holds_where_training_no_longer_moves_the_mask(tiny_settings, tiny_site):
    settings = tiny_settings("method=subfedavg", "pruning.above=0", "training.epochs=2", *STILL)
    assert shares(play(settings, tiny_site, [None] * 3)) == [
        ("off", 0.0),
        ("held_drop", 0.0),
        ("held_drop", 0.0),
    ]


def test_subfedavg_holds_where_the_accuracy_does_not_bear_it(tiny_settings, tiny_site):
    settings = tiny_settings(
        "method=subfedavg", "pruning.above=1", "pruning.mask_distance=0", "training.epochs=2"
    )
    assert shares(play(settings, tiny_site, [None] * 3)) == [
        ("off", 0.0),
        ("held_level", 0.0),
        ("held_level", 0.0),
    ]


def test_subfedavg_takes_its_first_mask_in_the_middle_of_an_only_epoch(tiny_settings, tiny_site):
    settings = tiny_settings(
        "method=subfedavg",
        "training.epochs=1",
        "pruning.mask_distance=0",
        "pruning.above=0",
        "crr.accuracy=cross_camera",
        "training.learning_rate=0.01",
    )
    assert shares(play(settings, tiny_site, [None] * 2))[1] == ("pruned", 0.2)


@pytest.mark.slow
def test_subfedavg_measures_through_the_new_mask_what_the_prune_would_cost(
    tiny_settings, tiny_site
):
    def second_round(rate):
        settings = tiny_settings(
            "method=subfedavg",
            "labels.source=identities",
            "training.epochs=2",
            "training.learning_rate=0.001",
            "pruning.above=0.4",
            "pruning.mask_distance=0",
            "pruning.target=0.99",
            f"pruning.rate={rate}",
        )
        return shares(play(settings, tiny_site, [None, 1.0]))[1]

    assert second_round(0.02) == ("pruned", 0.02)
    assert second_round(0.95) == ("held_level", 0.0)
