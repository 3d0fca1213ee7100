"""The run folder: what a federation leaves on the server's disk, whole after a crash at any moment.

    config.yaml                    the composed settings
    run.jsonl                      one line a client and round, one a round
    report.md                      the final table
    status.json                    running | finished | failed, and why
    boxes.json                     of real boxes, how each was when it said its name
    state.json                     the last merged round, and what the server knows of each client
    global.safetensors             the merged model after that round
    downlink.safetensors           the same as it went down, only where the wire is lossy
    clients/NAME/mask.safetensors  each client's mask after it
    payloads/                      replies of the open round, gone when it is merged
    changes/                       what the last merges changed, for who missed it

A merged round is committed by a journal: every new file is first written under `*.next`, then
commit.json lists the moves, then they are made. Whoever opens the folder finishes or drops an
interrupted commit.
"""

import json
import os
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from fedklpr_flwr.errors import RunError
from fedklpr_flwr.runs.kept_changes import KeptChanges
from fedklpr_flwr.runs.lock import SERVER, hold
from fedklpr_flwr.runs.state_checks import MOST_STATE, VERSION, check_record, journal_moves
from fedklpr_flwr.runs.stored_arrays import StoredArrays
from fedklpr_flwr.server.robust.direction_trust import Agreement
from fedklpr_flwr.system import run_files
from fedklpr_flwr.system.array_check import array_check
from fedklpr_flwr.system.atomic_file import remove_leftovers, replacing, write_atomically
from fedklpr_flwr.system.plain_text import parse_json, read_small, read_text

_START_ANEW = "restore the folder from a copy, or start anew in another"


@dataclass
class ClientState:
    """What the server knows of one client.

    Attributes:
        base_round: the last round in which its update was merged; 0 = never.
        mask_hash: the mask it holds since then.
        delivered: the name of the payload that brought it the merged model; empty = not sent yet.
        examples: pictures it trains from, as last reported.
        pruned: share of the prunable weights that its mask prunes.
        cosine: how its changes have agreed with the others', None = not asked.
        compared: the rounds in which they were compared.
        holds: the name of the payload that brought it the model that the next change builds on: the
            last it answered to, or was sent whole; where clients have masks, the last it was sent.
        held_round: the merged round of that model.
        kept_run: in a run that continues another, the run under whose key its memory lies until it
            is merged in this one; its mask is then that run's. Empty = it starts in this one.
        kept_round: the round of that memory.
        releases: noised updates that may have left it, with privacy=local_dp: tasks to train that
            it was sent, whatever came of them, or as many as it counted itself.
    """

    base_round: int
    mask_hash: str
    delivered: str = ""
    examples: int = 0
    pruned: float = 0.0
    cosine: float | None = None
    compared: int = 0
    releases: int = 0
    holds: str = ""
    held_round: int = 0
    kept_run: str = ""
    kept_round: int = 0

    @property
    def has_mask(self) -> bool:
        """Whether the run folder has a mask of it: from its last merge, or the run before."""
        return self.base_round > 0 or bool(self.kept_run)

    @property
    def agreement(self) -> Agreement | None:
        """How its changes have agreed with the others' in its rounds before."""
        return None if self.cosine is None else Agreement(self.cosine, max(1, self.compared))


@dataclass
class ServerState:
    """A federation after a merged round.

    Attributes:
        run: the run's key, kept across resumes; clients' memories lie under it.
        round: the last merged round; 0 = the initial model.
        tensors: float32 arrays by name: the merged model. With wire.values=change they stay in the
            run folder once they are committed.
        sent: the same as it goes down; another only where the wire is lossy.
        residual: what went down owes the merged model; empty where the wire is lossless.
        clients: by client name.
        change: with wire.values=change what brought the model before to `sent`, as a payload of
            every coordinate; `tensors` then have all that was not told yet. Empty = nothing.
        pending: rows of that round's training that are not in run.jsonl yet.
        pairs: all clients' pictures that became wrong, right, and that were compared, after that
            round's merge (`crr.pooled`); noughts where they are not counted.
        continues: the key of the run that this one continues; empty = it began anew.
        initial: with wire.values=change the name of the model that it began from, where a client
            can make it itself.
    """

    run: str
    round: int
    tensors: Mapping[str, np.ndarray]
    sent: dict[str, np.ndarray]
    residual: dict[str, np.ndarray] = field(default_factory=dict)
    clients: dict[str, ClientState] = field(default_factory=dict)
    pending: list[dict[str, Any]] = field(default_factory=list)
    change: bytes = b""
    pairs: tuple[int, int, int] = (0, 0, 0)
    continues: str = ""
    initial: str = ""


class RunFolder:
    """An open run folder; only one process may have it open.

    Args:
        path: the folder, made if it does not exist.

    Raises:
        RunError: it cannot be written, another run has it open, or an interrupted commit of it
            cannot be finished.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = hold(path, SERVER)
        try:
            (path / run_files.CLIENTS).mkdir(exist_ok=True)
            (path / run_files.PAYLOADS).mkdir(exist_ok=True)
            for place in (path, *path.glob("clients/*"), path / run_files.PAYLOADS):
                remove_leftovers(place)
            self._finish_commit()
        except OSError as error:
            self.close()
            raise RunError(f"run.dir={path} cannot be written: {error.strerror}") from error
        except RunError:
            self.close()
            raise

    @property
    def rows_file(self) -> Path:
        """Where the rows are appended."""
        return self.path / run_files.ROWS

    @property
    def changes(self) -> KeptChanges:
        """What the last merges changed."""
        return KeptChanges(self.path / run_files.CHANGES)

    @property
    def has_state(self) -> bool:
        """Whether a round, or the initial model, was committed here."""
        return (self.path / run_files.STATE).exists()

    def mask_file(self, client: str) -> Path:
        """A client's mask after the last merged round."""
        return self.path / run_files.CLIENTS / client / run_files.MASK

    def next_mask_file(self, client: str) -> Path:
        """Where a client's mask of the open round is written, which is not committed yet.

        Raises:
            RunError: its folder cannot be made, because the disk is full for one.
        """
        target = self.mask_file(client)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(target.parent, error) from error
        return _next(target)

    def payload_file(self, round_number: int, client: str) -> Path:
        """Where a client's reply waits for the merge."""
        return self.path / run_files.PAYLOADS / f"{round_number:04d}-{client}.payload"

    def write_status(self, status: str, message: str = "") -> None:
        """Say how the run stands: running, finished or failed."""
        content = {"status": status, "message": message, "pid": os.getpid()}
        write_atomically(self.path / run_files.STATUS, json.dumps(content).encode())

    def write_boxes(self, boxes: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep how each box was when it said its name, for `fedklpr deploy status`."""
        write_atomically(self.path / run_files.BOXES, json.dumps(boxes).encode())

    def commit(self, state: ServerState, new_masks: list[str]) -> None:
        """Make a merged round the folder's state, all of it or none of it.

        Args:
            state: the federation after the round.
            new_masks: clients whose `next_mask_file` was written.
        """
        model, book = self.path / run_files.MODEL, self.path / run_files.STATE
        _write(_next(model), dict(state.tensors), {"round": str(state.round)})
        write_atomically(_next(book), _book(state))
        down = self.path / run_files.DOWNLINK
        if _owes(state):
            joined = _joined(state)
            _write(_next(down), joined, {"check": array_check(joined)})
        targets = [model, down, book, *(self.mask_file(client) for client in new_masks)]
        moves = [str(target.relative_to(self.path)) for target in targets]
        write_atomically(self.path / run_files.JOURNAL, json.dumps(moves).encode())
        self._finish_commit()
        self._leave_on_disk(state)

    def note(self, state: ServerState) -> None:
        """Keep what changed about the clients since the commit of the same round."""
        write_atomically(self.path / run_files.STATE, _book(state))

    def load_state(self) -> ServerState:
        """The last committed state; see `read_state`."""
        state = read_state(self.path)
        self._leave_on_disk(state)
        return state

    def _leave_on_disk(self, state: ServerState) -> None:
        """Let go of the merged model where merges begin from what went down."""
        if state.change:
            state.tensors = StoredArrays(self.path / run_files.MODEL, state.tensors)

    def drop_payloads(self) -> None:
        """Forget the open round's replies."""
        shutil.rmtree(self.path / run_files.PAYLOADS, ignore_errors=True)
        (self.path / run_files.PAYLOADS).mkdir(exist_ok=True)

    def close(self, *, done: bool = False) -> None:
        """Let the folder go; `done` also removes what only an open round needs."""
        if done:
            shutil.rmtree(self.path / run_files.PAYLOADS, ignore_errors=True)
        self._lock.close()

    def _finish_commit(self) -> None:
        journal = self.path / run_files.JOURNAL
        try:
            if journal.exists():
                for name in _moves(journal):
                    target = self.path / name
                    if _next(target).exists():
                        os.replace(_next(target), target)
                journal.unlink()
            for stray in (*self.path.glob("*.next"), *self.path.glob("clients/*/*.next")):
                stray.unlink()
        except OSError as error:
            raise _unwritable(self.path, error) from error


def committed(folder: Path, name: str) -> Path:
    """Where a committed file lies: not moved into place yet, if its commit was interrupted.

    Args:
        folder: the run folder; nothing is written in it.
        name: of a file that a round writes, as state.json.

    Raises:
        RunError: the commit's journal is damaged.
    """
    target, journal = folder / name, folder / run_files.JOURNAL
    if journal.exists() and name in _moves(journal) and _next(target).exists():
        return _next(target)
    return target


def _moves(journal: Path) -> list[str]:
    try:
        return journal_moves(
            read_small(journal), (run_files.MODEL, run_files.DOWNLINK, run_files.STATE)
        )
    except (ValueError, TypeError) as error:
        raise RunError(
            f"{journal} is damaged: {error}. Which round the folder holds cannot be told: "
            f"{_START_ANEW}"
        ) from error


def _write(path: Path, arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Write arrays, from where they lie and once more, not twice more as `save` has them."""
    with replacing(path) as temporary:
        try:
            save_file(arrays, temporary, metadata=metadata)
        except SafetensorError as error:
            raise OSError(str(error)) from error


def _next(target: Path) -> Path:
    return target.with_name(target.name + ".next")


def read_state(path: Path) -> ServerState:
    """The last committed state of a run folder, which need not be open.

    Raises:
        RunError: there is none, it is damaged, or another version wrote it.
    """
    try:
        record = parse_json(read_text(committed(path, run_files.STATE), MOST_STATE))
        check_record(record, path / run_files.STATE)
        tensors = load_file(committed(path, run_files.MODEL))
        # A downlink file may be left over from rounds of a lossy wire.
        down = _load_downlink(path, tensors) if record["owes"] else (tensors, {}, b"")
        clients = {name: ClientState(**known) for name, known in record["clients"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise RunError(
            f"{path} holds no run that can be resumed: {error}; {_START_ANEW}"
        ) from error
    if down is None:
        down = tensors, {}, b""
        clients = {
            name: replace(known, delivered="", holds="", held_round=0)
            for name, known in clients.items()
        }
    worse, better, compared = record.get("pairs", (0, 0, 0))
    return ServerState(
        run=record["run"],
        round=record["round"],
        tensors=tensors,
        sent=down[0],
        residual=down[1],
        clients=clients,
        pending=record["pending"],
        change=down[2],
        pairs=(worse, better, compared),
        continues=record.get("continues", ""),
        initial=record.get("initial", ""),
    )


def _load_downlink(
    path: Path, tensors: dict[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], bytes] | None:
    """What went down after the last merge, what it owes, and as which change.

    None where the file is damaged: nobody knows then what clients hold, and each is sent the whole.
    """
    file = committed(path, run_files.DOWNLINK)
    try:
        with safe_open(str(file), framework="np") as opened:
            check = (opened.metadata() or {}).get("check")
        both = load_file(file)
        if check not in (None, array_check(both)):
            raise ValueError("its checksum is another")
    except (OSError, ValueError, SafetensorError) as error:
        told = f"{file} is damaged ({error}): every client is sent the whole model"
        warnings.warn(told, stacklevel=3)
        return None
    change = both["change"].tobytes() if "change" in both else b""
    owed = {} if change else {name: both[f"residual/{name}"] for name in tensors}
    return {name: both[f"sent/{name}"] for name in tensors}, owed, change


def _book(state: ServerState) -> bytes:
    arrays = ("tensors", "sent", "residual", "change")
    record = {key: value for key, value in vars(state).items() if key not in arrays}
    record["clients"] = {name: asdict(known) for name, known in state.clients.items()}
    return json.dumps({**record, "owes": _owes(state), "version": VERSION}).encode()


def _owes(state: ServerState) -> bool:
    """Whether what went down is not the merged model itself."""
    return bool(state.residual or state.change)


def _unwritable(path: Path, error: OSError) -> RunError:
    return RunError(f"{path} cannot be written: {error.strerror or error}; make room, then resume")


def _joined(state: ServerState) -> dict[str, np.ndarray]:
    sent = {f"sent/{name}": array for name, array in state.sent.items()}
    owed = {f"residual/{name}": array for name, array in state.residual.items()}
    change = {"change": np.frombuffer(state.change, np.uint8)} if state.change else {}
    return sent | owed | change
