"""The server's half of a secure sum: it passes on what is sealed, and opens what all add up to.

Who drops out is left out, up to a third of those who told their keys; with fewer there is no sum.
The stages are those of protocol/secure/stages.py.
"""

from collections.abc import Mapping

import numpy as np

from fedklpr_flwr.errors import MergeError, WireError
from fedklpr_flwr.protocol.secure.blinding import (
    Place,
    Residues,
    take_off_absent,
    take_off_seed,
)
from fedklpr_flwr.protocol.secure.keys import joined_blinding_key, joined_seed, threshold
from fedklpr_flwr.protocol.secure.quantise import agreed_exponents
from fedklpr_flwr.protocol.secure.stages import (
    Advert,
    KeyList,
    Opened,
    OpenTask,
    Shares,
    ValuesTask,
    unpack,
    unpack_values,
)


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
        self._total = np.zeros(count, np.uint16)

    @property
    def needed(self) -> int:
        """How many must answer in each stage."""
        return threshold(len(self._adverts))

    @property
    def shared(self) -> list[str]:
        """Who has shared its secrets, by name."""
        return sorted(self._shares)

    @property
    def came(self) -> list[str]:
        """Whose values are in the sum, by name."""
        return sorted(self._came)

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

        Returns:
            uint16 (count,): the sum of what those in it rounded to whole steps.

        Raises:
            MergeError: too few have answered, or what they told does not fit.
        """
        if len(self._opened) < self.needed:
            raise MergeError(f"{len(self._opened)} opened the sum, {self.needed} are needed")
        tellers = self.opened[: self.needed]
        blinding = {name: self._adverts[name].blinding for name in self.came}
        total = self._total.copy()
        try:
            for place, name in enumerate(self.came):
                shares = [bytes.fromhex(self._opened[of].seeds[place]) for of in tellers]
                seed = joined_seed(shares, self._shares[name].mark)
                take_off_seed(total, self._place, name, seed)
            absent = [name for name in self._asked if name not in self._came]
            for place, name in enumerate(absent):
                shares = [bytes.fromhex(self._opened[of].keys[place]) for of in tellers]
                key = joined_blinding_key(shares, self._adverts[name].blinding)
                take_off_absent(total, self._place, name, key, blinding)
        except (WireError, ValueError) as error:
            raise MergeError(f"the sum cannot be opened: {error}") from error
        return total
