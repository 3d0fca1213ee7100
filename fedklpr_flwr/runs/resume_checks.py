"""What a resumed run may change: a run goes on as it began, or its figures would mean nothing."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fedklpr_flwr.algorithm.pruning_rate import density_after
from fedklpr_flwr.config.compose import read_settings, settings_to_dict
from fedklpr_flwr.config.round_overrides import first_prune, pruning_schedule, settings_in_round
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.errors import RunError, SettingsError
from fedklpr_flwr.runs.state_checks import MOST_STATE
from fedklpr_flwr.system import run_files
from fedklpr_flwr.system.plain_text import parse_json, read_text
from fedklpr_flwr.wording import counted

MAY_CHANGE = (
    "federation.rounds",
    "federation.min_clients",
    "federation.start_clients",
    "federation.wait_seconds",
    "federation.round_seconds",
    "federation.evaluate_seconds",
    "federation.at_once",
    "report",
    "run",
    "resume",
    "data.root",
    "data.cache",
    "wire.level",
)
"""Keys, and groups of keys, that neither the model's state nor a client's memory depends on."""


def check_resumed(settings: Settings, folder: Path) -> None:
    """Refuse settings that a run cannot go on with; nothing is written.

    Args:
        settings: the settings to go on with.
        folder: a run folder; one in which no model was committed yet takes any settings.

    Raises:
        SettingsError: a key differs from how the run began, or fewer rounds than done are asked.
        RunError: the folder's own files cannot be read.
    """
    state = folder / run_files.STATE
    if not state.exists():
        return
    earlier = settings_of_run(folder)
    changed = [
        f"{key}={now} (the run has {began})"
        for key, began, now in differences(earlier, settings)
        if not is_among(key, MAY_CHANGE)
    ]
    if changed:
        raise SettingsError(
            f"resume={folder} cannot change {', '.join(changed)}: leave it out (a default that is "
            "newer than the run: give what the run has), or start a new run from its model with "
            f"model.weights={folder}"
        )
    done = _rounds_done(state)
    if settings.federation.rounds < done:
        raise SettingsError(
            f"federation.rounds={settings.federation.rounds}: {folder} has merged "
            f"{counted(done, 'round')} already; ask for more than {done}"
        )
    _check_stages(settings, earlier, done, folder)
    _check_shared_mask(settings, earlier, done, folder)
    _check_regrowth(settings, earlier, done, folder)


def resumed_notes(settings: Settings, folder: Path) -> list[str]:
    """Say in what a resumed run differs from one that had its number of rounds from the start.

    Clients with masks of their own prune on from what they have, whenever that began.

    Args:
        settings: the settings to go on with, which check_resumed has let through.
        folder: a run folder; there is nothing to say of one in which no model was committed yet.
    """
    state = folder / run_files.STATE
    if not state.exists() or settings.method.pruning == "none":
        return []
    earlier = settings_of_run(folder)
    began, begins = first_prune(earlier), first_prune(settings)
    if began == begins or min(began, begins) > _rounds_done(state):
        return []
    return [
        f"pruning.after={settings.pruning.after:g}: with federation.rounds="
        f"{earlier.federation.rounds} pruning began in round {began}, with "
        f"{settings.federation.rounds} from the start it would have in round {begins}; the run "
        "goes on, and is not equal to one that long"
    ]


def differences(earlier: Settings, now: Settings) -> list[tuple[str, Any, Any]]:
    """List the settings in which two runs differ: dotted key, the earlier value, the value now."""
    began, is_now = (dict(_flat(settings_to_dict(one))) for one in (earlier, now))
    keys = sorted(began.keys() | is_now.keys())
    return [
        (key, began.get(key), is_now.get(key)) for key in keys if began.get(key) != is_now.get(key)
    ]


def settings_of_run(folder: Path) -> Settings:
    """Read the settings that a run began with.

    Raises:
        RunError: its config.yaml is damaged, or another version wrote it.
    """
    try:
        return read_settings(folder / run_files.CONFIG)
    except SettingsError as error:
        raise RunError(
            f"{folder / 'config.yaml'} is damaged, or another version of fedklpr wrote it "
            f"({error}): start a new run from its model with model.weights={folder}"
        ) from error


def _check_stages(now: Settings, earlier: Settings, done: int, folder: Path) -> None:
    """Stages begin after shares of the rounds: another number of rounds would move what is past."""
    for number in range(1, done + 1):
        if settings_in_round(now, number).method != settings_in_round(earlier, number).method:
            raise SettingsError(
                f"federation.rounds={now.federation.rounds}: stages begin after shares of the "
                f"rounds, and round {number} of {folder} was of another stage; keep "
                f"federation.rounds={earlier.federation.rounds}, or start a new run with "
                f"model.weights={folder}"
            )


def _check_shared_mask(now: Settings, earlier: Settings, done: int, folder: Path) -> None:
    """A mask that all derive from the round would grow again, or fall at once."""
    kept = [density_after(done, *pruning_schedule(one)) for one in (now, earlier)]
    if now.pruning.masks == "consensus" and kept[0] != kept[1]:
        raise SettingsError(
            f"federation.rounds={now.federation.rounds}: pruning begins after a share of the "
            "rounds (pruning.after), and the mask of all clients (pruning.masks=consensus) would "
            f"be another after round {done} of {folder}; keep "
            f"federation.rounds={earlier.federation.rounds}, or start a new run with "
            f"model.weights={folder}"
        )


def _check_regrowth(now: Settings, earlier: Settings, done: int, folder: Path) -> None:
    """Less and less changes places towards the last round: with more rounds much would again."""
    rounds = now.federation.rounds, earlier.federation.rounds
    first = min(first_prune(now), first_prune(earlier))
    if now.pruning.regrow > 0 and rounds[0] != rounds[1] and first <= done:
        raise SettingsError(
            f"federation.rounds={rounds[0]}: the share that regrows (pruning.regrow="
            f"{now.pruning.regrow:g}) falls to nothing towards round {rounds[1]}, and round {done} "
            f"of {folder} had its own; keep federation.rounds={rounds[1]}, or start a new run with "
            f"model.weights={folder}"
        )


def _rounds_done(state: Path) -> int:
    try:
        return int(parse_json(read_text(state, MOST_STATE))["round"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{state} is damaged ({type(error).__name__}): start a new run from its model with "
            f"model.weights={state.parent}"
        ) from error


def is_among(key: str, items: Sequence[str]) -> bool:
    """Whether a dotted key is one of some keys, or belongs to one of some groups of keys."""
    return any(key == item or key.startswith(f"{item}.") for item in items)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
