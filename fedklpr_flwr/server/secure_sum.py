"""The server's half of a secure sum: it passes on what is sealed, and opens what all add up to.

Who drops out is left out, up to a third of those who told their keys; with fewer there is no sum.
Where shares do not fit, others are tried, and it is noted whose they are. The stages are those of
protocol/secure/stages.py.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from fedklpr_flwr.errors import MergeError, WireError
from fedklpr_flwr.protocol.secure.blinding import (
    Place,
    Residues,
    take_off_absent,
    take_off_seed,
)
from fedklpr_flwr.protocol.secure.keys import (
    SEED_BYTES,
    fewest_in_sum,
    joined_blinding_key,
    joined_secret,
    joined_seed,
    threshold,
)
from fedklpr_flwr.protocol.secure.quantise import agreed_exponents
from fedklpr_flwr.protocol.secure.stages import (
    Advert,
    KeyList,
    Opened,
    OpenTask,
    Shares,
    ValuesTask,
    unpack,
    unpack_complaints,
    unpack_values,
)

_TRIES = 100
"""Sets of shares that are tried for a secret: where few are wrong, one that fits is among them."""


class SecureSum:
    """The sum of one round, and who is still in it.

    Args:
        place: the run and the round.
        count: how many numbers each client sends.
        adverts: what each client told with its report; >= 2 of them.
    """

    def __init__(self, place: Place, count: int, adverts: Mapping[str, Advert]) -> None:
        self._place, self._count = place, count
        self._adverts = {name: adverts[name] for name in sorted(adverts)}
        self._shares: dict[str, Shares] = {}
        self._opened: dict[str, Opened] = {}
        self._came: set[str] = set()
        self._asked: list[str] = []
        self.doubts: set[tuple[str, str]] = set()
        self._total = np.zeros(count, np.uint16)

    @property
    def needed(self) -> int:
        """How many must open the sum."""
        return threshold(len(self._adverts))

    @property
    def fewest(self) -> int:
        """How many must share, and send values."""
        return fewest_in_sum(len(self._adverts))

    @property
    def shared(self) -> list[str]:
        """Who has shared its secrets, by name."""
        return sorted(self._shares)

    @property
    def came(self) -> list[str]:
        """Whose values are in the sum, by name."""
        return sorted(self._came)

    @property
    def blamed(self) -> set[str]:
        """Gives whose sealed shares did not open at two clients or more."""
        complaints = [whose for _, whose in self.doubts]
        return {whose for whose in complaints if complaints.count(whose) > 1}

    @property
    def opened(self) -> list[str]:
        """Who has told what opens the sum, by name."""
        return sorted(self._opened)

    @property
    def exponents(self) -> tuple[int, ...]:
        """The range of each tensor that all who have shared keep to."""
        return tuple(agreed_exponents([self._adverts[name].exponents for name in self.shared]))

    def key_list(self) -> KeyList:
        """Give everybody's public keys."""
        told = self._adverts.values()
        blinding, sealing = (tuple(a.blinding for a in told), tuple(a.sealing for a in told))
        return KeyList(tuple(self._adverts), blinding, sealing)

    def take_shares(self, client: str, content: memoryview) -> None:
        """Take a client's sealed shares in.

        Raises:
            WireError: they are not one for each client.
        """
        told = unpack(Shares, content)
        if len(told.sealed) != len(self._adverts):
            raise WireError(
                f"shares: expected {len(self._adverts)}, one of each client, got {len(told.sealed)}"
            )
        self._shares[client] = told

    def values_task(self, client: str, weights: Mapping[str, float]) -> ValuesTask:
        """Say what a client is to blind its values by.

        Args:
            client: one of those who have shared.
            weights: of all of them; 1 in all.
        """
        self._asked = self.shared
        place = list(self._adverts).index(client)
        sealed = tuple(self._shares[name].sealed[place] for name in self._asked)
        told = tuple(float(weights[name]) for name in self._asked)
        return ValuesTask(tuple(self._asked), sealed, told, self.exponents)

    def take_values(self, client: str, content: memoryview) -> None:
        """Add a client's blinded values; nothing of them is kept.

        Raises:
            WireError: they are damaged, or come twice.
        """
        values = unpack_values(content, self._count)
        if client in self._came:
            raise WireError("blinded values came twice")
        complaints = unpack_complaints(content, self._count)
        self.doubts |= {(client, name) for name in {*complaints} & {*self._asked} - {client}}
        self._total += values
        self._came.add(client)

    def open_task(self) -> OpenTask:
        """Say whose values are in the sum."""
        return OpenTask(tuple(self.came))

    def take_opened(self, client: str, content: memoryview) -> None:
        """Take a client's shares of what blinds the sum.

        Raises:
            WireError: they are not one for each client.
        """
        told = unpack(Opened, content)
        expected = len(self._came), len(self._asked) - len(self._came)
        if (len(told.seeds), len(told.keys)) != expected:
            raise WireError(
                f"opening shares: expected {expected[0]} of seeds and {expected[1]} of keys, got "
                f"{len(told.seeds)} and {len(told.keys)}"
            )
        self._opened[client] = told

    def open(self) -> Residues:
        """Take all blinding off the sum.

        `doubts` then has the pairs (who holds a share, whose secret it is of) that do not fit, of
        which either may be at fault.

        Returns:
            uint16 (count,): the sum of what those in it rounded to whole steps.

        Raises:
            MergeError: too few have answered, or what they told does not fit.
        """
        if len(self._opened) < self.needed:
            raise MergeError(f"{len(self._opened)} opened the sum, {self.needed} are needed")
        blinding = {name: self._adverts[name].blinding for name in self.came}
        total = self._total.copy()
        for place, name in enumerate(self.came):
            told = {of: said.seeds[place] for of, said in self._opened.items()}
            seed = self._seed(name, told)
            take_off_seed(total, self._place, name, seed)
        absent = [name for name in self._asked if name not in self._came]
        for place, name in enumerate(absent):
            told = {of: said.keys[place] for of, said in self._opened.items()}
            join = partial(joined_blinding_key, public=self._adverts[name].blinding)
            key = self._joined(name, told, join)
            take_off_absent(total, self._place, name, key, blinding)
        return total

    def _seed(self, name: str, told: Mapping[str, str]) -> bytes:
        try:
            return self._joined(name, told, partial(joined_seed, mark=self._shares[name].mark))
        except MergeError:
            # It may have named another seed than it divided, which is the one all shares agree on.
            shares = [share for _, text in sorted(told.items()) if (share := _bytes_of(text))]
            first, others = shares[: self.needed], shares[self.needed :]
            join = partial(joined_secret, size=SEED_BYTES)
            seed = _joined_or_none(join, first)
            agree = [_joined_or_none(join, [share, *first[1:]]) == seed for share in others]
            if seed is None or not agree or not all(agree):
                raise
            return seed

    def _joined(
        self, name: str, told: Mapping[str, str], join: Callable[[Sequence[bytes]], bytes]
    ) -> bytes:
        """Put a client's secret together of shares that fit, and note whose do not.

        Args:
            name: whose secret.
            told: shares of it, by who told them; what is none is a complaint.
            join: puts it together of exactly `needed`, or raises WireError.
        """
        shares = {of: share for of, text in told.items() if (share := _bytes_of(text))}
        self.doubts |= {(of, name) for of in told if of not in shares}
        for number, chosen in enumerate(self._sets_of([*shares])):
            secret = _joined_or_none(join, [shares[of] for of in chosen])
            if secret is None:
                continue
            if number:  # who of the others fits in the place of one that does
                rest = [shares[of] for of in chosen[1:]]
                for of in set(shares) - set(chosen):
                    if _joined_or_none(join, [shares[of], *rest]) != secret:
                        self.doubts.add((of, name))
            return secret
        raise MergeError(
            f"the sum cannot be opened: {name}'s secret is not in the shares that "
            f"{', '.join(sorted(told))} told of it; {name} or one of them is at fault"
        )

    def _sets_of(self, tellers: Sequence[str]) -> Iterator[list[str]]:
        """Sets of as many as are needed, those first of whom nothing was wrong so far."""
        if len(tellers) < self.needed:
            return
        doubted = [of for of, _ in self.doubts]
        yield sorted(tellers, key=lambda of: (doubted.count(of), of))[: self.needed]
        if len(tellers) > self.needed:
            generator = np.random.default_rng(0)
            for _ in range(_TRIES):
                yield [*generator.permutation(sorted(tellers))[: self.needed]]


def _bytes_of(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""


def _joined_or_none(
    join: Callable[[Sequence[bytes]], bytes], shares: Sequence[bytes]
) -> bytes | None:
    try:
        return join(shares)
    except WireError:
        return None
