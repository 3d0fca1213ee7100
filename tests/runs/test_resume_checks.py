"""Claims about fedklpr_flwr.runs.resume_checks: a run goes on as it began."""

import json
from contextlib import nullcontext
from dataclasses import replace

import pytest

from fedklpr_flwr.config.compose import compose_settings, write_settings
from fedklpr_flwr.errors import RunError, SettingsError
from fedklpr_flwr.runs.resume_checks import check_resumed


@pytest.fixture
def begun(tmp_path):
    """A folder in which two of three rounds are merged."""
    settings = compose_settings("smoke", ("federation.rounds=3",))
    write_settings(settings, tmp_path / "config.yaml")
    (tmp_path / "state.json").write_text(json.dumps({"round": 2}))
    return tmp_path, settings


@pytest.mark.parametrize(
    "word",
    [
        "method=fedavg",
        "model=mobilenet_v2",
        "seed=1",
        "data=drawn",
        "pruning.rate=0.3",
        "model.height=96",
        "training.learning_rate=0.1",
        "wire.values=int8",
        "federation.fraction=0.5",
        "data.skip_unreadable=true",
    ],
)
def test_what_the_models_state_depends_on_cannot_change(word, begun):
    folder, _ = begun
    other = compose_settings(
        "smoke",
        (
            "federation.rounds=3",
            word,
        ),
    )
    with pytest.raises(SettingsError, match=r"resume=.* cannot change .*model\.weights="):
        check_resumed(other, folder)


def test_every_changed_key_is_named_with_both_values(begun):
    folder, settings = begun
    with pytest.raises(SettingsError, match=r"seed=7 \(the run has 0\)"):
        check_resumed(replace(settings, seed=7), folder)


@pytest.mark.parametrize(
    "word",
    [
        "federation.rounds=9",
        "federation.round_seconds=10",
        "report.wandb=offline",
        "data.root=/moved",
        "wire.level=tight",
        "resume=/elsewhere",
    ],
)
def test_what_only_says_how_it_goes_on_may_change(word, begun):
    folder, _ = begun
    check_resumed(
        compose_settings(
            "smoke",
            (
                "federation.rounds=3",
                word,
            ),
        ),
        folder,
    )


def test_fewer_rounds_than_are_merged_are_refused(begun):
    folder, settings = begun
    two, one = (
        replace(settings, federation=replace(settings.federation, rounds=n)) for n in (2, 1)
    )
    check_resumed(two, folder)
    with pytest.raises(SettingsError, match="has merged 2 rounds already"):
        check_resumed(one, folder)


def test_a_folder_without_a_model_takes_any_settings(tmp_path):
    check_resumed(compose_settings("smoke", ("method=fedavg",)), tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"round": "x"}'])
def test_a_damaged_state_is_named(text, begun):
    folder, settings = begun
    (folder / "state.json").write_text(text)
    with pytest.raises(RunError, match=r"state\.json is damaged.*model\.weights="):
        check_resumed(settings, folder)


def test_a_config_of_another_version_is_named_with_what_to_do(begun):
    folder, settings = begun
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text + "future_key: 1\n")
    with pytest.raises(RunError, match=r"config\.yaml.*another version.*model\.weights="):
        check_resumed(settings, folder)


@pytest.mark.parametrize(("rounds", "fits"), [(3, True), (4, False), (10, False)])
def test_more_rounds_must_not_move_a_stage_that_has_begun(rounds, fits, tmp_path):
    """FedUCC's second stage begins after 0.3 of the rounds, its third after 0.6."""

    def settings(number):
        return compose_settings("smoke", ("method=feducc", f"federation.rounds={number}"))

    write_settings(settings(3), tmp_path / "config.yaml")
    (tmp_path / "state.json").write_text(json.dumps({"round": 2}))
    refused = pytest.raises(SettingsError, match=r"round 2 of .* was of another stage")
    with nullcontext() if fits else refused:
        check_resumed(settings(rounds), tmp_path)


@pytest.mark.parametrize(
    ("masks", "rounds", "fits"),
    [("consensus", 6, True), ("consensus", 9, False), ("client", 9, True)],
)
def test_more_rounds_must_not_move_a_mask_of_all_clients(masks, rounds, fits, tmp_path):
    """By 0.34 of six rounds pruning begins in round 3, of nine in round 4."""
    shared = (f"pruning.masks={masks}", "method.pruning=always", "pruning.after=0.34")

    def settings(number):
        return compose_settings("smoke", (*shared, f"federation.rounds={number}"))

    write_settings(settings(6), tmp_path / "config.yaml")
    (tmp_path / "state.json").write_text(json.dumps({"round": 4}))
    refused = pytest.raises(SettingsError, match=r"mask of all clients .* another after round 4")
    with nullcontext() if fits else refused:
        check_resumed(settings(rounds), tmp_path)
