"""The sums behind the mask-aware mean: numerator and denominator of up to eight clients, in blocks.

The masks of eight clients fit one byte per coordinate, its code; the denominator sum_k w_k m_kj is
then one of 256 numbers and is looked up. A block's arrays together stay in a core's cache.

At most eight float32 terms are added in float32: the mean is then within 1e-6 of the exact one,
relative to the mean magnitude sum_k w_k m_k |theta_k| / sum_k w_k m_k. Sums over more clients go on
in float64. float64 throughout was measured: 1.6 times the time, for digits below the noise.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedklpr_flwr.errors import MergeError

Array = NDArray[Any]

BLOCK = 131_072
"""Coordinates summed at once: a multiple of 8, so that packed masks can be cut there.

Smaller blocks fit the cache better, but threads then meet at Python's lock more often."""
GROUP = 8
"""Clients summed at once: one bit of the code each."""


@dataclass
class Part:
    """One client's part in one tensor, flat and checked.

    Attributes:
        weight: w_k > 0.
        mask: the held coordinates, bool or packed uint8; None for all.
        values: float32, the held coordinates' values in index order, or all of them.
        dense: whether it is all of them.
        position: how many surviving values have been summed so far.
    """

    weight: np.float32
    mask: Array | None
    values: Array
    dense: bool
    position: int = 0

    def held(self, start: int, stop: int) -> Array | None:
        """Gives the mask of a block as bools, or None where all is held."""
        if self.mask is None or self.mask.dtype == np.bool_:
            return None if self.mask is None else self.mask[start:stop]
        packed = self.mask[start // 8 : -(-stop // 8)]
        return np.unpackbits(packed, count=stop - start).view(np.bool_)


@dataclass(frozen=True)
class Scratch:
    """One block's arrays, reused from block to block: making them anew costs page faults.

    Attributes:
        products: (size,) float32, one client's w_k theta_k.
        numerator: (size,) float32.
        denominator: (size,) float32.
        bits: (size,) uint8, one client's bit of the code.
        code: (size,) uint8.
    """

    products: Array
    numerator: Array
    denominator: Array
    bits: Array
    code: Array

    @classmethod
    def of(cls, size: int) -> "Scratch":
        """Makes room for blocks of the given size."""
        products, numerator, denominator = np.empty((3, size), np.float32)
        bits, code = np.empty((2, size), np.uint8)
        return cls(products, numerator, denominator, bits, code)


def checked_part(
    name: str, size: int, weight: np.float32, mask: Array | None, values: Array
) -> Part:
    """Flattens one client's tensor and refuses what does not fit.

    Args:
        name: the tensor's name, for errors.
        size: the tensor's number of coordinates.
        weight: w_k, already checked.
        mask: bool of `size`, packed uint8 of ceil(size / 8), or None.
        values: float32, as many as the mask keeps, or `size`.

    Returns:
        The part.

    Raises:
        MergeError: a size or a dtype does not fit.
    """
    if values.dtype != np.float32:
        raise MergeError(f"{name!r} must come as float32, it came as {values.dtype}: convert it")
    values = values.reshape(-1)
    kept = size
    if mask is not None:
        mask = mask.reshape(-1)
        expected = {np.dtype(np.bool_): size, np.dtype(np.uint8): -(-size // 8)}
        if mask.size != expected.get(mask.dtype):
            raise MergeError(
                f"the mask of {name!r} must be {size} bools or {-(-size // 8)} bytes of packed "
                f"bits, {mask.size} of {mask.dtype} came: it is of another architecture"
            )
        if values.size != size:
            bits = mask if mask.dtype == np.bool_ else np.unpackbits(mask, count=size)
            kept = int(np.count_nonzero(bits))
    if values.size not in (kept, size):
        raise MergeError(
            f"{name!r} must come with {kept} surviving values or all {size}, "
            f"{values.size} came: it is of another architecture or mask"
        )
    return Part(weight, mask, values, dense=values.size == size)


def denominators(parts: list[Part]) -> Array:
    """Gives sum_k w_k m_k of each of the 256 codes, float32."""
    codes = np.arange(256)
    table = np.zeros(256)
    for number, part in enumerate(parts):
        table += part.weight * (codes >> number & 1)
    return table.astype(np.float32)


def sum_block(
    parts: list[Part], start: int, stop: int, scratch: Scratch, *, plain: bool
) -> tuple[Array, Array]:
    """Gives sum_k w_k m_k theta_k of a block, and which clients hold each coordinate.

    Args:
        parts: at most GROUP clients; blocks must come in order, each part remembers its place.
        start: the block's first coordinate, a multiple of BLOCK.
        stop: the coordinate after its last.
        scratch: room for the block; what is returned lies in it.
        plain: count every coordinate as held, a pruned one as zero.

    Returns:
        (stop - start,) float32 sums, and uint8 codes with bit k set where client k holds.
    """
    size = stop - start
    numerator, code, bits = scratch.numerator[:size], scratch.code[:size], scratch.bits[:size]
    numerator[:] = 0
    code[:] = 0
    for number, part in enumerate(parts):
        mask = part.held(start, stop)
        bit = np.uint8(1 << number)
        if mask is None or plain:
            np.bitwise_or(code, bit, out=code)
        else:
            np.multiply(mask.view(np.uint8), bit, out=bits)
            np.bitwise_or(code, bits, out=code)
        if mask is None or part.dense:
            products = scratch.products[:size]
            np.multiply(part.values[start:stop], part.weight, out=products)
            np.add(numerator, products, out=numerator)
        else:
            _add_survivors(part, mask, numerator)
    return numerator, code


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


def _add_survivors(part: Part, mask: Array, numerator: Array) -> None:
    """Adds the block's surviving values at the places its mask gives them."""
    places = np.flatnonzero(mask)
    values = part.values[part.position : part.position + places.size]
    part.position += places.size
    # ufunc.at adds in one pass; numerator[places] += ... reads, adds and writes in three.
    np.add.at(numerator, places, values * part.weight)
