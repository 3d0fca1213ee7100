"""A round whose updates the server does not see: messages of the stages, and what rows say of them.

The reports come as in any round and the weights are made of them. The updates follow blinded, and
the merge is made of their sum, see protocol/secure/stages.py.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from logging import WARNING
from typing import Any

import numpy as np
from flwr.app import Message
from flwr.common.logger import log

from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.errors import MergeError
from fedklpr_flwr.model.mask_file import Masks
from fedklpr_flwr.protocol.flower_messages import message_bytes, read_payload, stage_content
from fedklpr_flwr.protocol.secure.blinding import Place
from fedklpr_flwr.protocol.secure.stages import SECURE, Advert, Asked, is_secure, pack, unpack
from fedklpr_flwr.protocol.update_front import without_front
from fedklpr_flwr.runs.checkpoint import RunFolder, ServerState
from fedklpr_flwr.server.round_collector import RoundCollector, Use
from fedklpr_flwr.server.secure_merge import (
    far_ranges,
    kept_counts,
    model_of_sum,
    spool_advert,
    steps_of,
)
from fedklpr_flwr.server.secure_sum import SecureSum
from fedklpr_flwr.server.stored_updates import StoredUpdate
from fedklpr_flwr.server.update_weights import MergeNotes, weigh
from fedklpr_flwr.wire.layout import Layout


class SecureRound:
    """One round's secure sum; `taker` and `merge` take the open ones' places.

    Args:
        tally: the open round.
        layout: the tensors that travel in it.
        settings: the run's settings.
    """

    def __init__(self, tally: RoundCollector, layout: Layout, settings: Settings) -> None:
        self._tally, self._layout, self._settings = tally, layout, settings
        self._place = Place("", tally.number)
        self._masks: Masks = {}
        self._adverts: dict[str, Advert] = {}
        self._take: Callable[[str, memoryview], None] | None = None
        self._steps: dict[str, float] = {}
        self._blamed: set[str] = set()
        self._total = np.zeros(0, np.uint16)
        self._notes = MergeNotes({}, {}, {})

    def taker(self, masks_of: Callable[[str], Masks], state: ServerState) -> Use:
        """A `use` for `take`: of the training's replies, then of each stage's."""
        self._place = Place(state.run, self._tally.number)
        take_report = self._tally.update_taker(masks_of, state, self._spool)

        def take_reply(client: str, reply: Message, said: dict[str, Any]) -> None:
            if self._take is None:
                take_report(client, reply, said)
                return
            content = read_payload(reply.content)
            self._tally.row(client).bytes_up += len(content)
            self._take(client, without_front(content, self._place.run, self._place.round))

        return take_reply

    def _spool(
        self,
        content: memoryview,
        folder: RunFolder,
        round_number: int,
        client: str,
        *,
        layout: Layout,
        known_masks: Masks,
        run: str,
        sent: Mapping[str, np.ndarray],
        settings: Settings,
    ) -> StoredUpdate:
        """Take the advert that a client sends in place of its update; see `store_update`."""
        advert = unpack(Advert, without_front(content, run, round_number))
        others = [of for name, of in self._adverts.items() if name != client]
        spooled = spool_advert(advert, client, folder, known_masks, layout, sent, others)
        self._adverts[client], self._masks = advert, known_masks
        return spooled

    def stages(self, nodes: Mapping[str, int]) -> Iterator[Iterator[Message]]:
        """Give the messages of one stage after the other; each is answered before the next.

        In the end the round's arrivals are those in the sum, or nobody, where it was not opened.

        Args:
            nodes: node ids by client name.
        """
        reported = self._near()
        if len(reported) < 2:
            return self._give_up("a secure sum needs two clients: alone one's update would be seen")
        count = sum(kept_counts(self._layout, self._masks))
        secure = SecureSum(self._place, count, {name: self._adverts[name] for name in reported})
        asked = self._messages("share", reported, nodes, lambda _: secure.key_list())
        yield self._awaiting(secure.take_shares, asked)
        if not self._is_enough("shared", secure.shared, secure.fewest):
            return None
        self._notes = self._weighed(secure.shared)
        weights = self._notes.weight
        if sum(weight > 0 for weight in weights.values()) < 2:
            # Of one who learnt something the sum would be the update.
            log(WARNING, "round %d: fewer than two learnt: the model stays", self._place.round)
            self._notes = replace(self._notes, weight=dict.fromkeys(weights, 0.0))
            return self._settle(secure.shared, secure.shared, 0)
        asked = self._messages(
            "values", secure.shared, nodes, lambda name: secure.values_task(name, weights)
        )
        yield self._awaiting(secure.take_values, asked)
        if not self._is_enough("sent values", secure.came, secure.fewest):
            return None
        if secure.blamed:
            self._tell_doubts(secure.doubts)
            self._blamed |= secure.blamed
            who = ", ".join(sorted(secure.blamed))
            return self._give_up(f"what {who} sealed for several others does not open")
        asked = self._messages("open", secure.came, nodes, lambda _: secure.open_task())
        yield self._awaiting(secure.take_opened, asked)
        try:
            self._total = secure.open()
        except MergeError as error:
            return self._give_up(str(error))
        finally:
            self._tell_doubts(secure.doubts)
        whole = sum(weights[name] for name in secure.came)
        clients = len(secure.shared)
        self._steps = steps_of(self._layout, secure.exponents, clients, whole)
        return self._settle(secure.came, secure.opened, count)

    def begin_again(self, chosen: Sequence[str]) -> list[str]:
        """Await reports anew: of another try of the same round, with new keys of all.

        Args:
            chosen: who was asked to train.

        Returns:
            Those of them who are asked again: all but those of whom two have said that what it
            sealed does not open. Nobody has opened that sum, and so another may be.
        """
        self._take, self._steps = None, {}
        self._adverts.clear()
        return [client for client in chosen if client not in self._blamed]

    def merge(
        self,
        previous: Mapping[str, np.ndarray],
        sent: Mapping[str, np.ndarray],
        arrivals: object,
        layout: Layout,
        settings: Settings,
        before: object,
    ) -> tuple[dict[str, np.ndarray], MergeNotes]:
        """Make the merged model of the sum; see `run_merge_round`."""
        if not self._steps:
            return dict(previous), self._notes
        merged = model_of_sum(self._total, self._steps, previous, sent, layout, self._masks)
        return merged, self._notes

    # ------------------------------------------------------------------ messages

    def _messages(
        self,
        stage: str,
        clients: Sequence[str],
        nodes: Mapping[str, int],
        asked_of: Callable[[str], Asked],
    ) -> Iterator[Message]:
        place = self._place
        for name in clients:
            payload = pack(asked_of(name))
            content = stage_content(place.run, place.round, stage, payload)
            message = Message(content, nodes[name], SECURE, group_id=str(place.round))
            self._tally.ask("train", name, message_bytes(message))
            self._tally.count_down(name, len(payload))
            yield message

    def _awaiting(
        self, take: Callable[[str, memoryview], None], messages: Iterator[Message]
    ) -> Iterator[Message]:
        """The messages of a stage whose replies are for `take`."""
        self._take = take
        return messages

    # ------------------------------------------------------------------ who is left

    def _near(self) -> list[str]:
        """Who has told keys, without those whose ranges would spoil the others' steps."""
        told = {name: self._adverts[name] for name in sorted(self._tally.arrivals)}
        for name, why in far_ranges(told).items():
            self._tally.row(name).status = "failed"
            self._tally.fail(name, why)
            del told[name], self._tally.arrivals[name]
        return [*told]

    def _tell_doubts(self, doubts: Collection[tuple[str, str]]) -> None:
        for teller, whose in sorted(doubts):
            told = "round %d: what %s holds of %s's secret does not fit: one of the two is at fault"
            log(WARNING, told, self._place.round, teller, whose)

    def _is_enough(self, did: str, clients: Sequence[str], fewest: int) -> bool:
        """Whether enough have answered a stage; who has not is left out."""
        needed = max(fewest, self._settings.federation.min_clients)
        if len(clients) < needed:
            of = len(self._adverts)
            self._give_up(f"{len(clients)} of {of} {did}, the secure sum needs {needed}")
            return False
        self._keep(clients)
        return True

    def _keep(self, clients: Collection[str]) -> None:
        for name in set(self._tally.arrivals) - set(clients):
            del self._tally.arrivals[name]

    def _give_up(self, why: str) -> None:
        """Leave everybody out: what each has failed at itself stays its reason."""
        for name in self._tally.arrivals:
            self._tally.row(name).status = "failed"
            self._tally.fail(name, why)
        self._keep(())

    def _settle(self, clients: Sequence[str], answered: Collection[str], kept: int) -> None:
        """Enter into the rows who is in the sum."""
        self._keep(clients)
        notes = self._notes
        klaw, praw = _among(clients, notes.klaw), _among(clients, notes.praw)
        self._notes = MergeNotes(klaw, praw, _among(clients, notes.weight))
        for name in clients:
            row = self._tally.row(name)
            row.status, row.failed = "merged", name not in answered and row.failed
            row.bytes_paper += 4 * kept
            row.bytes_bound += 2 * kept  # what is blinded cannot be coded shorter

    def _weighed(self, clients: Sequence[str]) -> MergeNotes:
        reports = [self._tally.arrivals[name].report for name in clients]
        return weigh(clients, reports, self._layout, self._settings)


def _among(clients: Sequence[str], shares: Mapping[str, float]) -> dict[str, float]:
    """The shares of those who are left, as parts of a whole again."""
    whole = sum(shares[name] for name in clients)
    return {name: shares[name] / whole if whole > 0 else 0.0 for name in clients}


def secure_round(tally: RoundCollector, layout: Layout, settings: Settings) -> SecureRound | None:
    """The secure sum of a round; None where updates come in the open."""
    return SecureRound(tally, layout, settings) if is_secure(settings) else None
