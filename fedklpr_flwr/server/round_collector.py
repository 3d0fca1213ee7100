"""The open round on the server: replies spooled, checked, accounted for, then merged."""

import resource
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from logging import WARNING
from typing import Any, Literal

from flwr.app import Message
from flwr.common.logger import log

from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.errors import MergeError, WireError
from fedklpr_flwr.model.mask_file import Masks
from fedklpr_flwr.protocol.flower_messages import message_bytes, read_payload, read_report
from fedklpr_flwr.protocol.local_privacy import epsilon, is_private
from fedklpr_flwr.protocol.task import NEEDS_SYNC
from fedklpr_flwr.protocol.training_report import (
    TrainingReport,
    read_count,
    read_pairs,
    read_scores,
)
from fedklpr_flwr.protocol.update_codec import (
    dense_bytes,
    weight_steps,
)
from fedklpr_flwr.runs.checkpoint import ClientState, RunFolder, ServerState
from fedklpr_flwr.runs.rows import Row, label_fault, round_row, row_from, withhold
from fedklpr_flwr.server.merge_round import (
    Arrival,
    Merge,
    forget_delivered,
    hand_down,
    merge_base,
    run_merge_round,
    shared_masks,
    step_along,
    told_to_all,
)
from fedklpr_flwr.server.reply_deadline import LATE, why_failed
from fedklpr_flwr.server.stored_updates import Spool, store_update
from fedklpr_flwr.wire.layout import Layout
from fedklpr_flwr.wire.payload import NOTHING, Spent

_TRUSTED = 0.5
"""Below it a client's trust is worth a word."""
_NO_ANSWER = "no answer"

Use = Callable[[str, Message, dict[str, Any]], None]
"""What is done with a client's reply and its report."""


class RoundCollector:
    """One round while it is under way.

    Args:
        number: the round; 0 is the initial model, which is only evaluated.
        settings: the run's settings.
        layout: the tensors that travel in this round.
        folder: where replies wait for the merge.
        rows: rows so far, where the round was merged before the server was stopped.
        spoilt: who may have spoilt the model that this round begins with, in words; empty = nobody.
            After `merge` it is told of the model that was made.
    """

    def __init__(
        self,
        number: int,
        settings: Settings,
        layout: Layout,
        folder: RunFolder,
        rows: list[dict[str, Any]] | None = None,
        *,
        spoilt: str = "",
    ) -> None:
        self.number = number
        self.spoilt = spoilt
        self.arrivals: dict[str, Arrival] = {}
        self.scored: set[str] = set()
        self.asked: dict[str, set[str]] = {"train": set(), "evaluate": set()}
        self.unsynced: list[str] = []
        self.pairs: list[tuple[int, int, int]] = []
        self._settings, self._layout, self._folder = settings, layout, folder
        self._rows = {row.client or "": row for row in map(row_from, rows or [])}
        self._dense = dense_bytes(settings)
        self._hashes: dict[str, str] = {}
        self._releases: dict[str, int] = {}
        self._asked_at: dict[str, float] = {}
        self._seconds: dict[str, float] = {}
        # Each round asks twice at most; a client may have counted rounds that the server lost.
        self._most_releases = 2 * max(number, settings.federation.rounds)

    def row(self, client: str) -> Row:
        """The client's line of this round."""
        return self._rows.setdefault(client, Row(self.number, client))

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the server's wall seconds of a phase."""
        start = time.perf_counter()
        yield
        self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - start

    # ------------------------------------------------------------------ counting

    def ask(self, phase: str, client: str, message_size: int) -> None:
        """A message goes out: who is asked to train has failed until its update is merged.

        In round 0, where nobody trains, until it is evaluated.
        """
        row = self.row(client)
        row.bytes_message_down += message_size
        if phase == "train" or self.number == 0:
            row.status, row.failed = "failed", _NO_ANSWER
        self._asked_at[client] = time.monotonic()
        self.asked[phase].add(client)

    def count_down(self, client: str, size: int, spent: Spent = NOTHING) -> None:
        """The model goes down."""
        row = self.row(client)
        row.bytes_down += size
        _add(row, spent)

    # ------------------------------------------------------------------ replies

    def take(self, client: str, reply: Message, use: Use) -> bool:
        """Hand a reply to `use`; whatever is wrong with it is noted, not raised.

        A client that first needs the model or its mask is noted in `unsynced`.

        Returns:
            Whether the client holds the model it was told of.

        Raises:
            RunError, MemoryStateError: the server's own disk is full or damaged, for which no
                client is to blame.
        """
        if reply.has_error():
            self.fail(client, why_failed(reply), late=reply.error.code == LATE)
            return False
        row, seconds = self.row(client), time.monotonic() - self._asked_at[client]
        holds_it = False
        try:
            row.bytes_message_up += message_bytes(reply)
            said = read_report(reply.content)
            if said.get("status") == NEEDS_SYNC:
                self.unsynced.append(client)
                return False
            holds_it = True
            use(client, reply, said)
            if said.get("seconds") and self._settings.deployment:
                row.seconds["send"] = max(0.0, seconds - sum(row.seconds.values()))
        except WireError as error:
            # A client that trains a spoilt model is not to blame for what comes out.
            self.fail(client, f"{self.spoilt}{error}")
        except MergeError as error:
            self.fail(client, str(error))
        return holds_it

    def take_unsynced(self) -> list[str]:
        """Who has asked for model and mask since this was last called."""
        found, self.unsynced = sorted(self.unsynced), []
        return found

    def fail(self, client: str, reason: str, *, late: bool = False) -> None:
        """Note a fault; an update already merged stays so, though its scores are lost.

        What was wrong first stays the first word, whatever follows.
        """
        evaluated = client in self.asked["evaluate"]
        row, reason = self.row(client), reason[:500]  # a client may write what it likes into it
        earlier = row.failed not in (False, _NO_ANSWER, reason)
        place = "in the evaluation" if evaluated else "then"
        row.failed = f"{row.failed}; {place}: {reason}" if earlier else reason
        if row.status == "failed" and late:
            row.status = "late"
        whose = f"{client}'s scores are" if evaluated and row.status == "merged" else f"{client} is"
        log(WARNING, "round %d: %s left out: %s", self.number, whose, reason)

    def failures(self, clients: Iterable[str]) -> str:
        """Why each of these clients failed in this round, in one line."""
        return "; ".join(f"{client}: {self.row(client).failed}" for client in clients)

    def update_taker(
        self, masks_of: Callable[[str], Masks], state: ServerState, spool: Spool = store_update
    ) -> Use:
        """A `use` for `take`: spool one update, and check all of it before it may be merged."""

        def take_update(client: str, reply: Message, said: dict[str, Any]) -> None:
            row, payload = self.row(client), read_payload(reply.content)
            row.bytes_up += len(payload)  # sent is sent, whatever is wrong with it
            report = TrainingReport.from_dict(said)
            before = state.clients[client].releases  # more than this run's, if it continues others
            releases = read_count(said, "releases", self._most_releases + before)
            known = masks_of(client)
            spooled = spool(
                payload,
                self._folder,
                self.number,
                client,
                layout=self._layout,
                known_masks=known,
                run=state.run,
                sent=state.sent,
                settings=self._settings,
            )
            found = spooled.found
            report = replace(report, pruned=found.pruned)
            _add(row, found.spent)
            row.bytes_bound += found.bound
            self._note_report(row, report, said)
            self._hashes[client] = found.mask_hash
            self._releases[client] = releases
            about = found.lengths, spooled.change
            self.arrivals[client] = Arrival(client, report, spooled.payload, known, *about)
            self._note_scores(row, said, "train")  # last: unusable, they spoil nothing

        return take_update

    def take_scores(self, client: str, reply: Message, said: Mapping[str, Any]) -> None:
        """A `use` for `take`: note how the merged model does at one site."""
        row = self.row(client)
        self._note_scores(row, said, "evaluate")
        self._note_pictures(row, said)
        self._note_pairs(row, said)
        self.scored.add(client)
        if self.number == 0:
            row.status, row.failed = "merged", False

    def _note_report(self, row: Row, report: TrainingReport, said: Mapping[str, Any]) -> None:
        for key, value in report.to_dict().items():
            if hasattr(row, key):
                setattr(row, key, value)
        row.status, row.failed = "merged", False
        self._note_pictures(row, said)

    def _note_scores(
        self, row: Row, said: Mapping[str, Any], reply: Literal["train", "evaluate"]
    ) -> None:
        for key, value in read_scores(said, reply).items():
            setattr(row, key, value)

    def _note_pairs(self, row: Row, said: Mapping[str, Any]) -> None:
        """What a client saw of the merged model, where all clients' are counted together."""
        if not self._settings.crr.pooled:
            return
        pairs = read_pairs(said)
        row.pairs_worse, row.pairs_better, row.pairs_compared = pairs
        self.pairs.append(pairs)

    def _note_pictures(self, row: Row, said: Mapping[str, Any]) -> None:
        """A client's picture folder has changed: it goes on, and the line says so."""
        if said.get("pictures_changed") is True and not row.pictures_changed:
            row.pictures_changed = True
            log(WARNING, "round %d: the pictures of %s have changed", self.number, row.client)
        if said.get("pictures_new") is not None and row.pictures_new is None:
            row.pictures_new = read_count(said, "pictures_new")
            row.pictures_gone = read_count(said, "pictures_gone")

    # ------------------------------------------------------------------ closing

    def merge(self, state: ServerState, merge: Merge | None = None) -> None:
        """Merge the arrivals into the state and commit it.

        Args:
            state: the federation; changed.
            merge: what makes the model; None = `run_merge_round`.
        """
        arrivals = list(self.arrivals.values())
        masks = shared_masks(state.sent, self._settings, self.number)
        before = {c: said for c, known in state.clients.items() if (said := known.agreement)}
        base = merge_base(state, self._settings)
        make = merge or run_merge_round
        merged, notes = make(base, state.sent, arrivals, self._layout, self._settings, before)
        step_along(merged, state.sent, self._layout, self._settings.federation.server_rate)
        del base  # a model, which nobody needs any more
        for arrival in arrivals:
            client, row = arrival.client, self.row(arrival.client)
            row.klaw, row.praw = notes.klaw[client], notes.praw[client]
            row.weight = notes.weight[client]
            row.trust = notes.trust.get(client)
            compared = notes.agreements.get(client, before.get(client))
            row.alignment = compared.cosine if compared else None
            if client in notes.shortened:
                row.shortened = min(notes.shortened[client])
                told = "round %d: %s's update stood out and was shortened to %.2g of its length"
                if client in notes.left_out:
                    told = "round %d: %s's update is damaged and left out: it stood out by 1/%.2g"
                log(WARNING, told, self.number, client, row.shortened)
            if row.trust is not None and row.trust < _TRUSTED:
                told = "round %d: %s's update goes another way than the others', weighs %.2g"
                log(WARNING, told, self.number, client, row.trust)
            state.clients[client] = ClientState(
                base_round=self.number,
                mask_hash=self._hashes[client],
                delivered=state.clients[client].delivered,
                examples=arrival.report.examples,
                pruned=arrival.report.pruned,
                cosine=row.alignment,
                compared=compared.rounds if compared else 0,
                releases=max(state.clients[client].releases, self._releases[client]),
                holds=state.clients[client].holds,
                held_round=state.clients[client].held_round,
            )
        self._note_furthest(notes.furthest)
        forget_delivered(state, self._settings)
        state.round = self.number
        hand_down(state, merged, masks, self._layout, self._settings)
        if missed := told_to_all(state, self._settings):
            # Coded, a whole model takes four fifths of its float32 numbers.
            self._folder.changes.keep(state.round, missed, most=self._dense * 3 // 4)
        state.pending = [asdict(row) for row in self._rows.values()]
        self._folder.commit(state, sorted(self.arrivals))
        self._folder.drop_payloads()

    def _note_furthest(self, found: tuple[str, float] | None) -> None:
        """Name whose update is so much longer than all others' that it may have spoilt the model.

        Two updates have no median to be bounded by: it is merged, and the next to fail would be
        the honest one that goes on from it.
        """
        if found is not None:
            told = f"{found[0]}'s update of round {self.number} was {found[1]:.3g} times as long"
            log(WARNING, "%s as anybody else's: what goes wrong from here may begin there", told)
            self.spoilt = f"it was sent a model that may be spoilt ({told} as others'); "
        elif len(self.arrivals) > 1:
            self.spoilt = ""

    def close(self, known: Mapping[str, ClientState], here: Collection[str]) -> list[Row]:
        """The round's finished rows, its own line last.

        Args:
            known: who has a line in every round.
            here: who could have been asked.
        """
        for client, state in known.items():
            row = self.row(client)
            row.unasked = client in here and not row.bytes_message_down
            row.epsilon = epsilon(state.releases, self._settings)
            if row.status != "merged" or self.number == 0:
                row.pruned = state.pruned
        rows = [self._rows[client] for client in sorted(self._rows)]
        for row in rows:
            trained = self.number > 0 and row.status == "merged"
            if trained and is_private(self._settings):
                withhold(row)
            row.degenerate = label_fault(row, bottom_up=self._settings.labels.source == "bottom_up")
            if self.number > 0:
                row.step_up, row.step_down = weight_steps(self._settings, self.number)
            row.bytes_dense = self._dense * ((row.bytes_message_down > 0) + trained)
        return [*rows, round_row(rows, peak_megabytes(), self._seconds)]


def _add(row: Row, spent: Spent) -> None:
    """Count what a payload carried."""
    row.bytes_paper += 4 * spent.kept
    row.bytes_masks += spent.masks
    row.bytes_vectors += spent.vectors
    row.bytes_front += spent.front


def peak_megabytes() -> float:
    """The peak resident memory of this process, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
