"""Claims about fedklpr_flwr.runs.resume_checks: a run goes on as it began."""

import json
from contextlib import nullcontext
from dataclasses import replace

import pytest

from fedklpr_flwr.config.compose import compose_settings, write_settings
from fedklpr_flwr.errors import RunError, SettingsError
from fedklpr_flwr.runs.resume_checks import check_resumed, resumed_notes


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


@pytest.fixture
def six_rounds(tmp_path):
    """`six_rounds(done, words...)`: a folder in which so many of six rounds are merged."""

    def begin(done, *words):
        def settings(rounds):
            return compose_settings("smoke", (*words, f"federation.rounds={rounds}"))

        write_settings(settings(6), tmp_path / "config.yaml")
        (tmp_path / "state.json").write_text(json.dumps({"round": done}))
        return tmp_path, settings

    return begin


@pytest.mark.parametrize(
    ("regrow", "done", "rounds", "fits"),
    [(0.2, 4, 6, True), (0.2, 4, 9, False), (0.2, 4, 5, False), (0.2, 1, 9, True), (0, 4, 9, True)],
)
def test_another_number_of_rounds_must_not_move_what_regrew(regrow, done, rounds, fits, six_rounds):
    """The share that regrows follows a cosine over all rounds, from the first prune on."""
    words = ("method.pruning=always", "pruning.after=null", "pruning.first_round=2")
    folder, settings = six_rounds(done, *words, f"pruning.regrow={regrow}")
    refused = pytest.raises(SettingsError, match=r"rounds=\d: .*pruning\.regrow=0\.2.*rounds=6")
    with nullcontext() if fits else refused:
        check_resumed(settings(rounds), folder)


@pytest.mark.parametrize("schedule", ["geometric", "cubic"])
@pytest.mark.parametrize(
    ("done", "rounds", "is_told"), [(4, 6, False), (2, 9, False), (3, 9, True), (4, 5, True)]
)
def test_it_is_said_where_pruning_of_own_masks_would_have_begun_in_another_round(
    schedule, done, rounds, is_told, six_rounds
):
    """By 0.34 pruning begins in round 3 of six, in round 4 of nine, in round 2 of five."""
    words = ("method.pruning=always", "pruning.after=0.34", f"pruning.schedule={schedule}")
    folder, settings = six_rounds(done, *words)
    check_resumed(settings(rounds), folder)
    notes = resumed_notes(settings(rounds), folder)
    assert len(notes) == is_told
    if is_told:
        assert "federation.rounds=6 pruning began in round 3" in notes[0]
        assert f"with {rounds} from the start" in notes[0]


def test_a_schedule_alone_does_not_depend_on_the_number_of_rounds(six_rounds):
    words = ("pruning.after=null", "pruning.schedule=cubic")
    folder, settings = six_rounds(4, *words)
    assert resumed_notes(settings(9), folder) == []
    folder, settings = six_rounds(4, "method=fedavg", "pruning.after=0.34")
    assert resumed_notes(settings(9), folder) == []
