"""Blinding: numbers modulo 2^16 plus streams that cancel in the sum, or are taken off it.

    y_k = q_k + PRG(b_k) + sum_{j < k} PRG(s_jk) - sum_{j > k} PRG(s_jk)   mod 2^16
    sum_k y_k - sum_k PRG(b_k) = sum_k q_k                                 mod 2^16

s_jk is what clients j and k agree on, b_k is k's own seed, the order is that of names. Where j
drops out, the streams that its partners added are taken off by its key. Each stream is ChaCha20
under 256 bits; one number of the vector takes two of its bytes. Source: Bonawitz et al. 2017.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedklpr_flwr.protocol.secure.keys import agreed_secret, stream_key
from fedklpr_flwr.system.key_stream import open_stream

Residues = NDArray[np.uint16]
"""Numbers modulo 2^16."""

_AT_ONCE = 1 << 20
"""Numbers blinded at once: 2 MiB of a stream."""


@dataclass(frozen=True)
class Place:
    """Which sum a stream is for.

    Attributes:
        run: the run's key.
        round: 1..R.
    """

    run: str
    round: int


def add_stream(values: Residues, key: bytes, *, sign: int = 1) -> None:
    """Add a key's stream to all values, in place, or take it off.

    Args:
        values: uint16 (n,), contiguous; changed.
        key: 32 bytes.
        sign: 1 or -1.
    """
    stream, empty = open_stream(key), bytes(2 * _AT_ONCE)
    combine: Any = np.add if sign > 0 else np.subtract
    for start in range(0, len(values), _AT_ONCE):
        part = values[start : start + _AT_ONCE]
        drawn = np.frombuffer(stream.update(empty[: 2 * len(part)]), dtype="<u2")
        combine(part, drawn, out=part)  # uint16 wraps around, which is the modulus


def seed_key(place: Place, client: str, seed: bytes) -> bytes:
    """Derive the key of the stream that a client blinds by alone."""
    return stream_key(seed, "own", place.run, place.round, client)


def pair_key(place: Place, first: str, second: str, secret: bytes) -> bytes:
    """Derive the key of a pair's stream; either order of the two gives the same."""
    return stream_key(secret, "pair", place.run, place.round, *sorted((first, second)))


def blind(
    values: Residues,
    place: Place,
    client: str,
    seed: bytes,
    private: bytes,
    others: Mapping[str, str],
) -> None:
    """Blind a client's values, in place.

    Args:
        values: uint16 (n,); changed.
        place: which sum it is for.
        client: whose values.
        seed: its own.
        private: its blinding key.
        others: the public blinding keys of all others that are to take part, by name.
    """
    add_stream(values, seed_key(place, client, seed))
    _add_pairs(values, place, client, private, others)


def take_off_seed(total: Residues, place: Place, client: str, seed: bytes) -> None:
    """Take a client's own stream off a sum that its values are in, in place."""
    add_stream(total, seed_key(place, client, seed), sign=-1)


def take_off_absent(
    total: Residues, place: Place, client: str, private: bytes, present: Mapping[str, str]
) -> None:
    """Take off a sum what those in it added for one that dropped out, in place.

    Args:
        total: uint16 (n,); changed.
        place: which sum it is.
        client: who dropped out.
        private: its blinding key.
        present: the public blinding keys of those whose values are in the sum, by name.
    """
    # What the absent one would have added is what is missing for the pairs to cancel.
    _add_pairs(total, place, client, private, present)


def _add_pairs(
    values: Residues,
    place: Place,
    client: str,
    private: bytes,
    others: Mapping[str, str],
) -> None:
    for other, public in others.items():
        key = pair_key(place, client, other, agreed_secret(private, public))
        add_stream(values, key, sign=1 if other < client else -1)
