"""The sums behind the mask-aware mean: numerator and denominator of up to eight clients, in blocks.

The masks of eight clients fit one byte per coordinate, its code; the denominator sum_k w_k m_kj is
then one of 256 numbers and is looked up. A block's arrays together stay in a core's cache.

At most eight float32 terms are added in float32: the mean is then within 1e-6 of the exact one,
relative to the mean magnitude sum_k w_k m_k |theta_k| / sum_k w_k m_k. Sums over more clients go on
in float64. float64 throughout was measured: 1.6 times the time, for digits below the noise.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fedklpr_flwr.algorithm.merge_part import Array, Part, Reader

BLOCK = 131_072
"""Coordinates summed at once: a multiple of 8, so that packed masks can be cut there.

Smaller blocks fit the cache better, but threads then meet at Python's lock more often."""
GROUP = 8
"""Clients summed at once: one bit of the code each."""


@dataclass(frozen=True)
class Scratch:
    """One block's arrays, reused from block to block: making them anew costs page faults.

    Attributes:
        spread: (size,) float32, one client's values at their places.
        numerator: (size,) float32.
        denominator: (size,) float32.
        code: (size,) uint8.
    """

    spread: Array
    numerator: Array
    denominator: Array
    code: Array

    @classmethod
    def of(cls, size: int) -> "Scratch":
        """Makes room for blocks of the given size."""
        spread, numerator, denominator = np.empty((3, size), np.float32)
        return cls(spread, numerator, denominator, np.empty(size, np.uint8))


def summed_blocks(
    parts: Sequence[Part], start: int, stop: int, scratch: Scratch, *, plain: bool
) -> Iterator[tuple[slice, Array, Array]]:
    """Gives sum_k w_k m_k theta_k and sum_k w_k m_k of a span of coordinates, block by block.

    Args:
        parts: at most GROUP clients.
        start: the span's first coordinate, a multiple of BLOCK.
        stop: the coordinate after its last.
        scratch: room for a block; what is given lies in it, until the next is asked for.
        plain: count every coordinate as held, a pruned one as zero.

    Yields:
        The block's coordinates, its float32 numerators and its float32 denominators.
    """
    table = _denominators(parts)
    readers = [Reader(part, start) for part in parts]
    for begin in range(start, stop, BLOCK):
        end = min(begin + BLOCK, stop)
        numerator, code = _sum_block(parts, readers, begin, end, scratch, plain)
        denominator = scratch.denominator[: end - begin]
        # A code is never out of range; without `clip` numpy would check each one.
        np.take(table, code, out=denominator, mode="clip")
        yield slice(begin, end), numerator, denominator


def divide_block(numerator: Array, denominator: Array, previous: Array, merged: Array) -> None:
    """Writes numerator / denominator where the denominator is positive, previous elsewhere.

    Args:
        numerator: (n,) float.
        denominator: (n,) float, >= 0; changed in place.
        previous: (n,) the values from before the round.
        merged: (n,) of the same dtype; written.
    """
    carried = np.flatnonzero(denominator == 0)
    denominator[carried] = 1.0
    np.divide(numerator, denominator, out=merged, casting="same_kind")
    merged[carried] = previous[carried]


def _denominators(parts: Sequence[Part]) -> Array:
    """Gives sum_k w_k m_k of each of the 256 codes, float32."""
    codes = np.arange(256)
    table = np.zeros(256)
    for number, part in enumerate(reversed(parts)):
        table += part.weight * (codes >> number & 1)
    return table.astype(np.float32)


def _sum_block(
    parts: Sequence[Part],
    readers: Sequence[Reader],
    start: int,
    stop: int,
    scratch: Scratch,
    plain: bool,
) -> tuple[Array, Array]:
    """Gives a block's numerators, and uint8 codes: the last client's bit is the lowest."""
    size = stop - start
    numerator, code = scratch.numerator[:size], scratch.code[:size]
    numerator[:] = 0
    code[:] = 0
    for part, reader in zip(parts, readers, strict=True):
        mask, places, values = reader.next_block(start, stop)
        np.add(code, code, out=code)
        np.bitwise_or(code, 1 if mask is None or plain else mask.view(np.uint8), out=code)
        if not isinstance(places, slice):
            spread = scratch.spread[:size]
            spread[:] = 0
            spread[places] = values
            values = spread
        np.multiply(values, part.weight, out=scratch.spread[:size])
        np.add(numerator, scratch.spread[:size], out=numerator)
    return numerator, code
