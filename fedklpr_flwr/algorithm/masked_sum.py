"""The sums behind the mask-aware mean: numerator and denominator of up to eight clients, in blocks.

The masks of eight clients fit one byte per coordinate, its code; the denominator sum_k w_k m_kj is
then one of 256 numbers and is looked up. A block's arrays together stay in a core's cache.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedklpr_flwr.errors import MergeError

Array = NDArray[Any]

BLOCK = 32_768
"""Coordinates summed at once: a multiple of 8, so that packed masks can be cut there."""
GROUP = 8
"""Clients summed at once: one bit of the code each."""

import os
DT=np.float32 if os.environ.get('F32') else np.float64


@dataclass
class Part:
    """One client's part in one tensor, flat and checked.

    Attributes:
        weight: w_k > 0.
        mask: the held coordinates, bool or packed uint8; None for all.
        values: the held coordinates' values in index order, or all of them.
        dense: whether it is all of them.
        position: how many surviving values have been summed so far.
    """

    weight: float
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
    """One block's arrays, reused from block to block.

    Attributes:
        products: (size,) float64, one client's w_k theta_k.
        bits: (size,) uint8, one client's bit of the code.
        code: (size,) uint8.
        numerator: (size,) float64.
        denominator: (size,) float64.
    """

    products: Array
    bits: Array
    code: Array
    numerator: Array
    denominator: Array

    @classmethod
    def of(cls, size: int) -> "Scratch":
        """Makes room for blocks of the given size."""
        return cls(
            np.empty(size, DT),
            np.empty(size, np.uint8),
            np.empty(size, np.uint8),
            np.empty(size, DT),
            np.empty(size, DT),
        )


def checked_part(name: str, size: int, weight: float, mask: Array | None, values: Array) -> Part:
    """Flattens one client's tensor and refuses what does not fit.

    Args:
        name: the tensor's name, for errors.
        size: the tensor's number of coordinates.
        weight: w_k, already checked.
        mask: bool of `size`, packed uint8 of ceil(size / 8), or None.
        values: float, as many as the mask keeps, or `size`.

    Returns:
        The part.

    Raises:
        MergeError: the sizes or the mask's dtype do not fit.
    """
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
    """Gives sum_k w_k m_k of each of the 256 codes, float64, clients in order."""
    codes = np.arange(256)
    table = np.zeros(256,DT)
    for number, part in enumerate(parts):
        table += DT(part.weight) * (codes >> number & 1)
    return table


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
        (stop - start,) float64 sums, and uint8 codes with bit k set where client k holds.
    """
    size = stop - start
    numerator, code = scratch.numerator[:size], scratch.code[:size]
    numerator[:] = 0
    code[:] = 0
    for number, part in enumerate(parts):
        mask = part.held(start, stop)
        bit = np.uint8(1 << number)
        if mask is None or plain:
            np.bitwise_or(code, bit, out=code)
        else:
            np.multiply(mask.view(np.uint8), bit, out=scratch.bits[:size])
            np.bitwise_or(code, scratch.bits[:size], out=code)
        if mask is None or part.dense:
            _add_all(part, start, stop, scratch.products[:size], numerator)
        else:
            _add_survivors(part, mask, numerator)
    return numerator, code


def _add_all(part: Part, start: int, stop: int, products: Array, numerator: Array) -> None:
    if DT == np.float32:
        np.multiply(part.values[start:stop], DT(part.weight), out=products)
    else:
        np.copyto(products, part.values[start:stop])
        np.multiply(products, part.weight, out=products)
    np.add(numerator, products, out=numerator)


def _add_survivors(part: Part, mask: Array, numerator: Array) -> None:
    """Adds the block's surviving values at the places its mask gives them."""
    places = np.flatnonzero(mask)
    values = part.values[part.position : part.position + places.size]
    part.position += places.size
    # ufunc.at adds in one pass; numerator[places] += ... reads, adds and writes in three.
    np.add.at(numerator, places, values.astype(DT) * DT(part.weight))


def divide_block(numerator: Array, denominator: Array, previous: Array, merged: Array) -> None:
    """Writes numerator / denominator where the denominator is positive, previous elsewhere.

    Args:
        numerator: (n,) float64; changed in place.
        denominator: (n,) float64, >= 0; changed in place.
        previous: (n,) the values from before the round.
        merged: (n,) of the same dtype; written.
    """
    carried = np.flatnonzero(denominator == 0)
    denominator[carried] = 1.0
    np.divide(numerator, denominator, out=merged, casting="same_kind")
    merged[carried] = previous[carried]
