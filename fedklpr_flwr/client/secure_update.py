"""A client's half of a secure sum: what it has learnt waits until it is told what to blind it by.

Between the stages, each of which is a process of its own on a real box, its change and its secrets
lie in its memory folder, readable by its user alone. Each stage is answered once, one at a time, so
that no stream ever blinds two vectors; a new training begins with new secrets.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save

from fedklpr_flwr.errors import MemoryStateError, WireError
from fedklpr_flwr.protocol.secure.blinding import Place, blind
from fedklpr_flwr.protocol.secure.keys import (
    Secrets,
    checked_key,
    fewest_in_sum,
    make_shares,
    new_secrets,
    seal,
    seed_mark,
    unseal,
)
from fedklpr_flwr.protocol.secure.quantise import HIGHEST, exponent_of, quantise, step_of
from fedklpr_flwr.protocol.secure.stages import (
    Advert,
    KeyList,
    Opened,
    OpenTask,
    Shares,
    ValuesTask,
    pack,
    pack_values,
    unpack,
)
from fedklpr_flwr.system.atomic_file import PRIVATE, write_atomically
from fedklpr_flwr.system.plain_text import parse_json

_STATE, _CHANGE, _OPENED = "secure.json", "secure.safetensors", "secure-opened.json"
_LOCK = ".secure-lock"

_WHOLE = 1 + 1e-9
"""What weights may add up to, with the last bits of a sum."""

_LARGEST, _LARGEST_LEFT = 0.5, 0.75
"""What one client may weigh of all asked, and of those left: with more the sum tells of it."""

_NOTHING_OPEN = "no sum is open here: it was not asked to train, has opened it, or lost its memory"

_NO_SHARES = (b"", b"")
"""What is held of a client whose sealed shares do not open."""


@dataclass(frozen=True)
class _Waiting:
    """What a client must know of a sum until the next stage.

    Attributes:
        round: of the sum.
        awaits: the stage that is answered next.
        secrets: its own, of this sum alone.
        clients: who has told keys.
        blinding: their public keys; sealing likewise.
        shares: what it holds of each client's seed and key; its own from the first stage on.
        weights: of those who take part, by name; empty until they are told.
    """

    round: int
    awaits: str
    secrets: Secrets
    clients: tuple[str, ...] = ()
    blinding: tuple[str, ...] = ()
    sealing: tuple[str, ...] = ()
    shares: Mapping[str, tuple[bytes, bytes]] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)


class SecureUpdate:
    """One client's part in the sums of a run.

    Args:
        folder: its memory of the run.
        client: its name.
        place: the run and the round.
    """

    def __init__(self, folder: Path, client: str, place: Place) -> None:
        self._folder, self._client, self._place = folder, client, place

    def begin(self, changes: Mapping[str, np.ndarray], mask_hash: str) -> bytes:
        """Keep what was learnt, make the round's secrets, and tell their public halves.

        Args:
            changes: float32 (n,) by tensor: the kept coordinates' theta_k - R, in payload order.
            mask_hash: of the masks.

        Raises:
            WireError: a number is not finite.
        """
        with self._alone():
            self.forget()
            exponents = tuple(exponent_of(change) for change in changes.values())
            secrets = new_secrets()
            # Safetensors sorts by size: the order is told by the names.
            ordered = {f"{place:06d}": change for place, change in enumerate(changes.values())}
            write_atomically(self._folder / _CHANGE, save(ordered), mode=PRIVATE)
            self._keep(_Waiting(self._place.round, "share", secrets))
        public = secrets.public
        return pack(Advert(public.blinding, public.sealing, mask_hash, exponents))

    def answer(self, stage: str, content: bytes | memoryview) -> bytes:
        """Answer one stage, once.

        Raises:
            WireError: it is not this stage's turn, or what is asked would tell more than the sum.
            MemoryStateError: what was kept is lost.
        """
        with self._alone():
            waiting = self._waiting()
            if waiting.round != self._place.round or waiting.awaits != stage:
                raise WireError(
                    f"stage {stage!r:.20} of round {self._place.round}: expected {waiting.awaits} "
                    f"of round {waiting.round}; each is answered once"
                )
            return _STAGES[stage](self, waiting, content)

    def forget(self) -> None:
        """Remove what only an open sum needs."""
        for name in (_STATE, _CHANGE):
            (self._folder / name).unlink(missing_ok=True)

    def _share(self, waiting: _Waiting, content: bytes | memoryview) -> bytes:
        asked, own = unpack(KeyList, content), waiting.secrets.public
        told = list(zip(asked.clients, asked.blinding, asked.sealing, strict=False))
        keys = {*asked.blinding, *asked.sealing}
        if (
            not _are_names(asked.clients)
            or {len(asked.clients), len(asked.blinding), len(asked.sealing)} != {len(told)}
            or len(told) < 2
            or len(keys) != 2 * len(told)
            or (self._client, own.blinding, own.sealing) not in told
        ):
            raise WireError(
                "the list of keys: expected at least two clients by name, each with keys of its "
                f"own and mine among them, got {', '.join(asked.clients)[:200]}"
            )
        for key in asked.blinding:
            checked_key(key)
        divided = dict(zip(asked.clients, make_shares(waiting.secrets, len(told)), strict=True))
        sealed = tuple(
            "" if name == self._client else self._seal(divided[name], waiting, name, sealing)
            for name, _, sealing in told
        )
        self._keep(
            replace(
                waiting,
                awaits="values",
                clients=asked.clients,
                blinding=asked.blinding,
                sealing=asked.sealing,
                shares={self._client: divided[self._client]},
            )
        )
        return pack(Shares(sealed, seed_mark(waiting.secrets.seed)))

    def _seal(self, shares: tuple[bytes, bytes], waiting: _Waiting, name: str, sealing: str) -> str:
        place = self._place.run, self._place.round, self._client, name
        return seal(shares, waiting.secrets.sealing, sealing, *place)

    def _values(self, waiting: _Waiting, content: bytes | memoryview) -> bytes:
        asked = unpack(ValuesTask, content)
        changes = self._changes()
        self._check_values(asked, waiting, changes)
        held = {**waiting.shares, **self._unsealed(asked, waiting)}
        weights = dict(zip(asked.clients, asked.weights, strict=True))
        # Before anything is blinded: whatever happens from here on, these secrets blind no more.
        self._keep(replace(waiting, awaits="open", shares=held, weights=weights))
        (self._folder / _CHANGE).unlink(missing_ok=True)
        steps = [step_of(exponent, len(asked.clients)) for exponent in asked.exponents]
        parts = [
            quantise(change, weights[self._client], step)
            for change, step in zip(changes, steps, strict=True)
        ]
        values = np.concatenate([np.zeros(0, np.uint16), *parts])
        blinding = dict(zip(waiting.clients, waiting.blinding, strict=True))
        others = {name: blinding[name] for name in asked.clients if name != self._client}
        secrets = waiting.secrets
        blind(values, self._place, self._client, secrets.seed, secrets.blinding, others)
        return pack_values(values, [name for name in asked.clients if held[name] == _NO_SHARES])

    def _unsealed(self, asked: ValuesTask, waiting: _Waiting) -> dict[str, tuple[bytes, bytes]]:
        """What the others have shared with this client, by name.

        What does not open is its sender's fault, not this client's: it goes on, and says so with
        its values.
        """
        sealing = dict(zip(waiting.clients, waiting.sealing, strict=True))
        found = {}
        for name, sealed in zip(asked.clients, asked.sealed, strict=True):
            if name == self._client:
                continue
            place = self._place.run, self._place.round, name, self._client
            try:
                found[name] = unseal(sealed, waiting.secrets.sealing, sealing[name], *place)
            except WireError:
                found[name] = _NO_SHARES
        return found

    def _check_values(
        self, asked: ValuesTask, waiting: _Waiting, changes: Sequence[np.ndarray]
    ) -> None:
        self._check_takes_part(asked.clients, waiting.clients, waiting)
        count = len(asked.clients)
        if {len(asked.sealed), len(asked.weights)} != {count}:
            raise WireError(f"values: expected a share and a weight of each of {count} clients")
        _check_hidden(asked.weights, _LARGEST)
        own = [exponent_of(change) for change in changes]
        told = asked.exponents
        fits = len(told) == len(own) and all(
            mine <= all_ <= HIGHEST for mine, all_ in zip(own, told, strict=True)
        )
        if not fits:
            raise WireError(
                "ranges: expected for each tensor that of the largest change, mine is beyond"
            )

    def _check_takes_part(
        self, named: Sequence[str], among: Sequence[str], waiting: _Waiting
    ) -> None:
        """Refuse a sum of so few that it tells of single ones, or that this client is not in."""
        needed = fewest_in_sum(len(waiting.clients))
        if (
            not _are_names(named)
            or not {*named} <= {*among}
            or self._client not in named
            or len(named) < needed
        ):
            raise WireError(
                f"a sum of {', '.join(named)[:200] or 'nobody'}: expected at least {needed} of "
                f"{', '.join(among)[:200]}, {self._client} among them"
            )

    def _open(self, waiting: _Waiting, content: bytes | memoryview) -> bytes:
        asked = unpack(OpenTask, content)
        self._check_takes_part(asked.clients, [*waiting.weights], waiting)
        weights = [waiting.weights[name] for name in asked.clients]
        _check_hidden(weights, _LARGEST_LEFT)
        self._note_opened(asked.clients, weights)
        self.forget()
        absent = [name for name in waiting.weights if name not in asked.clients]
        seeds = tuple(waiting.shares[name][0].hex() for name in asked.clients)
        return pack(Opened(seeds, tuple(waiting.shares[name][1].hex() for name in absent)))

    def _note_opened(self, clients: Sequence[str], weights: Sequence[float]) -> None:
        """Open a round's sum for one set of clients and weights only, and none of before it again.

        Two sums of the same updates, of two sets or by two weighings, tell by their difference what
        a single client sent.
        """
        path = self._folder / _OPENED
        now = {"round": self._place.round, "clients": [*clients], "weights": [*weights]}
        try:
            earlier = parse_json(path.read_text(encoding="ascii")) if path.exists() else {}
        except ValueError as error:
            raise MemoryStateError(f"{path} is damaged: {error}; delete it to go on") from error
        last = earlier.get("round", 0)
        if last > self._place.round:
            raise WireError(
                f"round {self._place.round} comes after round {last} was opened here, and is "
                "opened no more: begin a new run with this one's model"
            )
        if last == self._place.round and earlier != now:
            raise WireError(
                f"round {self._place.round} was opened here as the sum of "
                f"{', '.join(earlier['clients'])}, and is opened as no other: wait until all of "
                "them are back, or begin a new run with this one's model"
            )
        write_atomically(path, json.dumps(now).encode(), mode=PRIVATE)

    # ------------------------------------------------------------------ on disk

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let no other process answer meanwhile: two at a time would use one stream twice."""
        how = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        try:
            descriptor = os.open(self._folder / _LOCK, how, PRIVATE)
        except FileNotFoundError as error:
            raise WireError(_NOTHING_OPEN) from error
        with os.fdopen(descriptor, "r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _keep(self, waiting: _Waiting) -> None:
        content = json.dumps(asdict(waiting), default=bytes.hex)
        write_atomically(self._folder / _STATE, content.encode(), mode=PRIVATE)

    def _waiting(self) -> _Waiting:
        path = self._folder / _STATE
        try:
            found = parse_json(path.read_text(encoding="ascii"))
            shares = {
                name: (bytes.fromhex(seed), bytes.fromhex(key))
                for name, (seed, key) in found["shares"].items()
            }
            return _Waiting(
                round=found["round"],
                awaits=found["awaits"],
                secrets=Secrets(**{key: bytes.fromhex(of) for key, of in found["secrets"].items()}),
                clients=tuple(found["clients"]),
                blinding=tuple(found["blinding"]),
                sealing=tuple(found["sealing"]),
                shares=shares,
                weights=found["weights"],
            )
        except FileNotFoundError as error:
            raise WireError(_NOTHING_OPEN) from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise MemoryStateError(f"{path} is damaged: {error}; the round goes without") from error

    def _changes(self) -> list[np.ndarray]:
        path = self._folder / _CHANGE
        try:
            found = load_file(path)
        except Exception as error:  # safetensors has errors of its own
            raise MemoryStateError(f"{path} is damaged: {error}; the round goes without") from error
        return [found[name] for name in sorted(found)]


_STAGES: dict[str, Callable[[SecureUpdate, _Waiting, Any], bytes]] = {
    "share": SecureUpdate._share,
    "values": SecureUpdate._values,
    "open": SecureUpdate._open,
}


def _are_names(names: Sequence[str]) -> bool:
    """Whether names are in order, each there once."""
    return list(names) == sorted({*names})


def _check_hidden(weights: Sequence[float], largest: float) -> None:
    """Refuse weights by which the sum is one client's update, or leaves the range of numbers.

    Args:
        weights: of those in the sum.
        largest: what one may have of their sum.

    Raises:
        WireError: fewer than two count, one counts for nearly all, or they are no shares of a
            whole.
    """
    if sum(weight > 0 for weight in weights) < 2:
        raise WireError("a sum in which one client counts is that client's update: refused")
    if min(weights) < 0 or sum(weights) > _WHOLE:
        raise WireError(f"weights: expected shares of at most 1 in all, got {sum(weights):g}")
    if max(weights) > largest * sum(weights) * _WHOLE:
        raise WireError(
            f"a sum of which one client is {max(weights) / sum(weights):.3g} tells of that client: "
            f"expected at most {largest:g}, set klpwa.cap={_LARGEST:g} or less"
        )
