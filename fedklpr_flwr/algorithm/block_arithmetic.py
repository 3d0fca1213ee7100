"""What a merge computes in a block: by numpy in several passes, or compiled in one; equal bits."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedklpr_flwr.compiled import WORTH_COMPILING, compiled

Array = NDArray[Any]


class Arithmetic(NamedTuple):
    """Two ways to compute the same.

    Attributes:
        add: (numerator, code, mask, places, values, weight, room): adds weight x values at their
            places, and shifts the mask's bits into the codes.
        divide: (numerator, code, table, previous, merged, room): writes numerator / table[code]
            where that is positive, previous elsewhere; numerator is used up.
    """

    add: Callable[[Array, Array, Array | None, Array | slice, Array, np.float32, Array], None]
    divide: Callable[[Array, Array, Array, Array, Array, Array], None]


def arithmetic(size: int) -> Arithmetic:
    """How a tensor's blocks are computed: compiled if it is large, else by numpy.

    Args:
        size: the tensor's coordinates.
    """
    if size < WORTH_COMPILING:
        return BY_NUMPY
    add_all, add_at, divide = compiled(_add_all), compiled(_add_at), compiled(_divide)
    if add_all is None or add_at is None or divide is None:
        return BY_NUMPY

    def add(
        numerator: Array,
        code: Array,
        mask: Array | None,
        places: Array | slice,
        values: Array,
        weight: np.float32,
        _: Array,
    ) -> None:
        bits = _ONE if mask is None else mask.view(np.uint8)
        if isinstance(places, slice):
            add_all(numerator, code, bits, values, weight)
        else:
            add_at(numerator, code, bits, places, values, weight)

    return Arithmetic(add, lambda *arrays: divide(*arrays[:5]))


def add_by_numpy(
    numerator: Array,
    code: Array,
    mask: Array | None,
    places: Array | slice,
    values: Array,
    weight: np.float32,
    room: Array,
) -> None:
    """Adds weight x values at their places, and shifts the mask's bits into the codes.

    Args:
        numerator: float32 (n,), changed.
        code: uint8 (n,), changed.
        mask: bool (n,), or None where all count as held.
        places: ascending indices, or all of them as a slice.
        values: float32, as many.
        weight: their factor.
        room: float32 (n,).
    """
    if not isinstance(places, slice):
        room[:] = 0
        room[places] = values
        values = room
    np.multiply(values, weight, out=room)
    np.add(numerator, room, out=numerator)
    np.add(code, code, out=code)
    np.bitwise_or(code, 1 if mask is None else mask.view(np.uint8), out=code)


def divide_by_numpy(
    numerator: Array, code: Array, table: Array, previous: Array, merged: Array, room: Array
) -> None:
    """Writes numerator / table[code] where that is positive, previous elsewhere.

    Args:
        numerator: float32 (n,).
        code: uint8 (n,), who holds each coordinate.
        table: float32 (256,), each code's denominator.
        previous: float32 (n,), the values from before the round.
        merged: float32 (n,), written.
        room: float32 (n,).
    """
    # A code is never out of range; without `clip` numpy would check each one.
    np.take(table, code, out=room, mode="clip")
    divide_block(numerator, room, previous, merged)


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


_ONE = np.ones(1, np.uint8)
"""The bit of every coordinate, where all are held."""

BY_NUMPY = Arithmetic(add_by_numpy, divide_by_numpy)


def _add_all(numerator: Array, code: Array, bits: Array, values: Array, weight: np.float32) -> None:
    for place in range(numerator.size):
        numerator[place] += values[place] * weight
    for place in range(code.size):
        code[place] = code[place] << 1 | bits[place if bits.size > 1 else 0]


def _add_at(
    numerator: Array, code: Array, bits: Array, places: Array, values: Array, weight: np.float32
) -> None:
    for number in range(values.size):
        numerator[places[number]] += values[number] * weight
    for place in range(code.size):
        code[place] = code[place] << 1 | bits[place if bits.size > 1 else 0]


def _divide(numerator: Array, code: Array, table: Array, previous: Array, merged: Array) -> None:
    for place in range(numerator.size):
        denominator = table[code[place]]
        held = denominator != 0
        mean = numerator[place] / (denominator if held else np.float32(1))
        merged[place] = mean if held else previous[place]
