"""What goes down to each client: the merged model cut by that client's mask, or just its name."""

from collections.abc import Iterable, Iterator
from logging import WARNING

import torch
from flwr.app import Message
from flwr.common.logger import log

from fedklpr_flwr.algorithm.masks import mask_hash
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.errors import WireError
from fedklpr_flwr.model.consensus import consensus_masks, is_consensus
from fedklpr_flwr.model.mask_file import ArrayView, FullMasks, MaskFile, Masks
from fedklpr_flwr.model.shared_model import shared_layout
from fedklpr_flwr.protocol.change_reference import (
    catches_up,
    cut_change,
    model_name,
    tells_changes,
)
from fedklpr_flwr.protocol.flower_messages import message_bytes, task_content
from fedklpr_flwr.protocol.local_privacy import is_private
from fedklpr_flwr.protocol.task import Task, payload_name
from fedklpr_flwr.protocol.update_codec import encode_model
from fedklpr_flwr.runs.checkpoint import ClientState, RunFolder, ServerState
from fedklpr_flwr.server.round_collector import RoundCollector
from fedklpr_flwr.wire.codec import open_payload
from fedklpr_flwr.wire.layout import Layout
from fedklpr_flwr.wire.payload import NOTHING, Spent, is_change

_Key = tuple[str, Layout, bool, int, int]

STILL_LACKS_IT = (
    "it asks for model and mask (needs_sync) though both were just sent whole: is its memory's "
    "folder writable?"
)


class Downlink:
    """Makes the server's messages. One encoding serves all clients of one mask.

    Args:
        state: the federation after the last merged round.
        folder: its run folder; clients' masks are read from it.
        settings: the run's settings.
    """

    def __init__(self, state: ServerState, folder: RunFolder, settings: Settings) -> None:
        self._state, self._folder, self._settings = state, folder, settings
        prunable = [spec for spec in shared_layout(settings) if spec.prunable]
        self._everything = FullMasks({spec.name: spec.shape for spec in prunable})
        self._full_hash = mask_hash(dict(self._everything))
        self._consensus: dict[int, dict[str, torch.Tensor]] = {}
        if self._names_initial(full=False):
            state.initial = model_name(state.sent, shared_layout(settings))
        self._newest: tuple[_Key, bytes, Spent, list[int]] | None = None
        self._unsure, self._sent_all = set[str](), set[str]()

    def client(self, name: str) -> ClientState:
        """What is known of a client; one that is new starts with a full mask."""
        return self._state.clients.setdefault(name, ClientState(0, self._full_hash))

    def masks_of(self, name: str) -> Masks:
        """The masks that the model goes down to a client by, read tensor by tensor.

        Those of its last merged update, or of all clients where they share one.
        """
        if is_consensus(self._settings):
            return self._shared(self._state.round)
        if not self.client(name).has_mask:
            return self._everything
        return MaskFile(self._folder.mask_file(name))

    def update_masks_of(self, name: str) -> Masks:
        """The masks that a client's update of the next round builds on."""
        if is_consensus(self._settings):
            return self._shared(self._state.round + 1)
        return self.masks_of(name)

    def _mask_hash(self, name: str) -> str:
        if is_consensus(self._settings):
            return mask_hash(self._shared(self._state.round))
        return self.client(name).mask_hash

    def _shared(self, round_number: int) -> dict[str, torch.Tensor]:
        """The masks of all clients in a round, made once from what went down before it."""
        if round_number not in self._consensus:
            held = {n: m for n, m in self._consensus.items() if n >= self._state.round}
            masks = consensus_masks(self._state.sent, self._settings, round_number)
            self._consensus = {**held, round_number: masks}
        return self._consensus[round_number]

    def messages(
        self,
        phase: str,
        tally: RoundCollector,
        nodes: dict[str, int],
        clients: Iterable[str],
        *,
        again: bool = False,
    ) -> Iterator[Message]:
        """A message a client, made when it is sent; clients of one mask follow each other.

        Who lacks a model that it was only told the name of, and never answered to, may have lost no
        more than that message: it is sent what changed. Who lacks more is sent all.

        Args:
            phase: `train` or `evaluate`.
            tally: the open round, which counts what is sent.
            nodes: node ids by client name.
            clients: who is asked.
            again: they have just answered that they lack the model or their mask.
        """
        clients = list(clients)
        self._sent_all = set(clients) - self._unsure if again else set()
        for name in self._sent_all:
            self._forget_kept(name)
        ordered = sorted(clients, key=self._alike)
        if phase == "train" and not again and is_private(self._settings):
            self._count_releases(ordered)
        for name in ordered:
            known, full = self.client(name), name in self._sent_all
            payload, changes, held = b"", list[int](), self._held(name)[0]
            self._unsure.discard(name)
            if again or not known.delivered:
                payload, spent, changes = self._bring(name, full)
                tally.count_down(name, len(payload), spent)
            elif catches_up(self._settings) and known.delivered != held:
                self._unsure.add(name)
            task = Task(
                run=self._state.run,
                round=tally.number,
                base_round=known.base_round,
                mask_hash=self._mask_hash(name),
                model=known.delivered,
                full=full,
                reference=held if is_change(payload) else "",
                changes=changes,
                kept_run=known.kept_run,
                kept_round=known.kept_round,
                pairs_worse=self._state.pairs[0],
                pairs_better=self._state.pairs[1],
                pairs_compared=self._state.pairs[2],
                last=phase == "evaluate" and tally.number == self._settings.federation.rounds,
            )
            content, node = task_content(task, payload), nodes[name]
            message = Message(content, node, phase, group_id=str(tally.number))
            tally.ask(phase, name, message_bytes(message))
            yield message

    def _bring(self, name: str, full: bool) -> tuple[bytes, Spent, list[int]]:
        """`_payload`, or nothing where the initial model's name will do; noted as delivered."""
        known = self.client(name)
        if self._names_initial(full):
            known.delivered = self._state.initial
            return b"", NOTHING, []
        payload, spent, changes = self._payload(name, full)
        known.delivered = payload_name(payload)
        if not is_change(payload):
            self.note_held(name)
        return payload, spent, changes

    def note_held(self, name: str) -> None:
        """A client holds the model that it was last told of: the next change may build on it."""
        known = self.client(name)
        if known.delivered:
            known.holds, known.held_round = known.delivered, self._state.round

    def has_all(self, name: str) -> bool:
        """Whether a client's last message brought model and mask whole."""
        return name in self._sent_all

    def _alike(self, name: str) -> tuple[str, int, str]:
        """What puts clients that are sent the same next to each other."""
        return self._mask_hash(name), self._held(name)[1], name

    def _forget_kept(self, name: str) -> None:
        """A client that lacks what it kept of the run before starts as one that is new."""
        known = self.client(name)
        if known.kept_run:
            known.mask_hash, known.pruned = self._full_hash, 0.0
            known.kept_run, known.kept_round = "", 0

    def _count_releases(self, clients: Iterable[str]) -> None:
        """A noised update may leave for each task: counted on disk before the first is sent.

        Who asks for model and mask instead has sent none: the second task counts no more.
        """
        for name in clients:
            self.client(name).releases += 1
        self._folder.note(self._state)

    def _names_initial(self, full: bool) -> bool:
        """Whether the model that goes down is the initial one, which each can make itself."""
        is_initial = self._state.round == 0 and not self._state.continues
        return tells_changes(self._settings) and not full and is_initial

    def _held(self, name: str) -> tuple[str, int]:
        """The name and the round of the model that a client has: the initial one it can make."""
        known = self.client(name)
        if not known.holds and catches_up(self._settings):
            return self._state.initial, 0
        return known.holds, known.held_round

    def _missed(self, name: str, layout: Layout) -> int:
        """How many changes bring a client's model to the newest; 0 = it must be sent whole."""
        (held, since), state = self._held(name), self._state
        whole = layout == shared_layout(self._settings, state.round)
        if not (held and state.change and whole):
            return 0
        alike = catches_up(self._settings) and self._mask_hash(name) == self._full_hash
        told = since + 1 == state.round or (alike and self._folder.changes.has(since + 1))
        return state.round - since if told else 0

    def _since(self, missed: int) -> tuple[bytes, Spent, list[int]] | None:
        """So many changes as one payload; None where one of them is damaged."""
        newest = self._state.round
        parts = [*self._folder.changes.between(newest - missed + 1, newest - 1), self._state.change]
        layout = shared_layout(self._settings)
        try:
            spent = [open_payload(part, layout=layout).spent for part in parts]
        except WireError as error:
            log(WARNING, "%s: a kept change is damaged: %s", self._folder.path, error)
            return None
        if len(parts) < missed:
            return None
        masks, vectors, front = (sum(sizes) for sizes in zip(*(s[1:] for s in spent), strict=True))
        carried = Spent(spent[-1].kept, masks, vectors, front)
        return b"".join(parts), carried, [len(part) for part in parts]

    def _payload(self, name: str, full: bool) -> tuple[bytes, Spent, list[int]]:
        """A client's part of the model as bytes, what it carries, and the sizes of its changes."""
        # A client has its own parts from the first round on that it was merged without them.
        has_own_since = 0 if full else self.client(name).base_round
        layout = shared_layout(self._settings, has_own_since)
        missed = 0 if full else self._missed(name, layout)
        key = (self._mask_hash(name), layout, full, self._state.round, missed)
        if self._newest is None or self._newest[0] != key:
            found = self._since(missed) if missed > 1 else None
            if found is None:
                masks, sent = ArrayView(self.masks_of(name)), self._state.sent
                known = None if full else masks
                if missed == 1:
                    payload = cut_change(self._state.change, sent, masks, known, layout)
                else:
                    payload = encode_model(sent, masks, known, layout, self._settings)
                found = payload, open_payload(payload, layout=layout, known_masks=known).spent, []
            self._newest = (key, *found)
        return self._newest[1:]
