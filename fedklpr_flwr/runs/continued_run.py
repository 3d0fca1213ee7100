"""A run that begins where a finished one ended: which may be continued, and how it begins."""

from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.errors import RunError, SettingsError
from fedklpr_flwr.model.consensus import is_consensus
from fedklpr_flwr.protocol.update_codec import quantise_downlink
from fedklpr_flwr.runs.checkpoint import ClientState, RunFolder, ServerState, read_state
from fedklpr_flwr.runs.record_reader import read_status
from fedklpr_flwr.runs.resume_checks import differences, is_among, settings_of_run
from fedklpr_flwr.runs.trained_models import open_run
from fedklpr_flwr.system import run_files
from fedklpr_flwr.system.atomic_file import write_atomically
from fedklpr_flwr.wording import counted

MUST_STAY = (
    *("seed", "deployment", "method", "stages", "privacy", "model"),
    *("pruning.depthwise", "pruning.stem", "pruning.masks"),
    *("data.scenario", "data.many", "data.join"),
)
"""Keys, and groups of keys, that models, masks, histories and counted privacy are made by.

The seed is one of them: it says who of a site's people is tested, and nobody shall be tested whom
the run before was trained on.
"""


def check_continued(settings: Settings, before: Path) -> None:
    """Refuse to continue what cannot be continued by these settings; nothing is written.

    Args:
        settings: of the new run.
        before: the run folder that it continues.

    Raises:
        RunError: that is no run folder, its run is not finished, or its files cannot be read.
        SettingsError: what its models and memories depend on is another.
    """
    asked = f"--continue {before}"
    if not (before / run_files.STATE).is_file():
        raise RunError(
            f"{asked}: expected the folder of a finished run, it has no {run_files.STATE}"
        )
    earlier = settings_of_run(before)
    _check_finished(before, earlier.federation.rounds)
    changed = [
        f"{key}={now} (the run has {began})"
        for key, began, now in differences(earlier, settings)
        if is_among(key, MUST_STAY)
    ]
    if changed:
        raise SettingsError(
            f"{asked} cannot change {', '.join(changed)}: leave it out, or start a new run from "
            f"its model alone with model.weights={before}"
        )


def _check_finished(before: Path, rounds: int) -> None:
    status, done = read_status(before)[0], read_state(before).round
    if status != "finished" or done < rounds:
        raise RunError(
            f"--continue {before}: its run is not finished ({done} of {counted(rounds, 'round')}, "
            f"status {status}): first go on with resume={before}"
        )


def begin_from(before: Path, settings: Settings, folder: RunFolder) -> ServerState:
    """Commit round 0 of a run that continues another: its merged model, every client's mask.

    Args:
        before: the folder of the finished run.
        settings: of the new run.
        folder: its open folder, in which nothing was committed yet.

    Returns:
        The new run's state. A client that had no mask yet begins as one that joins late.

    Raises:
        RunError, WeightsError: the run before cannot be read, or is of another network.
    """
    earlier = open_run(before, trust=True).state
    sent, residual = quantise_downlink(earlier.tensors, {}, settings.wire.whole)
    clients, masks = {}, []
    for name, known in earlier.clients.items():
        clients[name] = _begun(known, earlier.run, settings)
        mask = before / run_files.CLIENTS / name / run_files.MASK
        if clients[name].kept_run and mask.is_file():
            write_atomically(folder.next_mask_file(name), mask.read_bytes())
            masks.append(name)
        elif clients[name].kept_run and not is_consensus(settings):
            raise RunError(
                f"--continue {before}: {mask} is gone; restore the folder from a copy, or start a "
                f"new run from its model alone with model.weights={before}"
            )
    state = ServerState(
        run=uuid4().hex[:16],
        round=0,
        tensors=earlier.tensors,
        sent=sent,
        residual=residual,
        clients=clients,
        continues=earlier.run,
    )
    folder.commit(state, masks)
    return state


def _begun(known: ClientState, run: str, settings: Settings) -> ClientState:
    """What is known of a client when the run after begins."""
    kept = (run, known.base_round) if known.base_round else (known.kept_run, known.kept_round)
    return replace(
        known,
        base_round=0,
        delivered="",
        holds="",
        # Where all clients prune by one schedule it begins anew, and the masks with it.
        pruned=0.0 if is_consensus(settings) else known.pruned,
        kept_run=kept[0],
        kept_round=kept[1],
    )
