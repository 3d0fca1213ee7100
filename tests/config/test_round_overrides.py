"""Claims about fedklpr_flwr.config.round_overrides: choices that change on the way."""

import pytest

from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.config.round_overrides import first_prune, first_round, settings_in_round
from fedklpr_flwr.model.shared_model import shared_layout


@pytest.mark.parametrize(
    ("after", "rounds", "first"),
    [
        (0.3, 10, 4),
        (0.6, 10, 7),
        (0.3, 20, 7),
        (0.6, 20, 13),
        (0.6, 15, 10),  # 0.6 * 15 is a hair under 9 in floats
        (0.0, 10, 2),  # round 1 has nothing to specialise
        (0.3, 2, 2),
        (1.0, 10, 11),  # never
    ],
)
def test_a_stage_begins_after_its_share_of_the_rounds(after, rounds, first):
    assert first_round(after, rounds) == first


def test_feducc_is_generic_then_specialised_then_patches(tiny_settings):
    settings = tiny_settings("method=feducc", "federation.rounds=10")
    seen = [settings_in_round(settings, number).method for number in range(11)]
    assert [m.personal_parts for m in seen] == ["none"] * 4 + ["batchnorm"] * 7
    assert [m.local_loss for m in seen] == ["clusters"] * 7 + ["clusters_patches"] * 4
    assert {m.name for m in seen} == {"feducc"}


def test_without_stages_the_settings_stay_themselves(tiny_settings):
    settings = tiny_settings()
    assert all(settings_in_round(settings, number) is settings for number in range(5))


def test_asking_twice_changes_nothing(tiny_settings):
    settings = tiny_settings("method=feduccplus", "federation.rounds=10")
    once = settings_in_round(settings, 8)
    assert settings_in_round(once, 8) == once


def test_what_travels_shrinks_with_the_stage(tiny_settings):
    settings = tiny_settings("method=feducc", "federation.rounds=10")
    whole = shared_layout(settings)
    assert shared_layout(settings, 3) == whole
    later = shared_layout(settings, 4)
    assert {spec.name for spec in later} < {spec.name for spec in whole}
    assert [spec for spec in whole if spec in later] == list(later), "the order changed"
    assert shared_layout(settings, 10) == later


@pytest.mark.parametrize(
    ("rounds", "after", "first"),
    [
        (20, "0.33", 7),
        (10, "0.33", 4),
        (3, "0.33", 2),
        (20, "null", 2),
        (20, "0", 2),
        (20, "1", 21),
    ],
)
def test_pruning_begins_after_a_share_of_the_rounds(rounds, after, first):
    words = (f"federation.rounds={rounds}", f"pruning.after={after}")
    assert first_prune(compose_settings("drawn", words)) == first


def test_a_later_first_round_counts_for_more_than_the_share_of_the_rounds():
    words = ("federation.rounds=20", "pruning.after=0.33", "pruning.first_round=9")
    assert first_prune(compose_settings("drawn", words)) == 9
