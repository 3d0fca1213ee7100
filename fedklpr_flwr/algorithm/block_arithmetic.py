"""What a merge computes in a block: by numpy in several passes, or compiled in one; equal bits.

A compiled loop works through a whole block without Python's lock, so that threads do not wait for
each other; numpy's passes each ask for it again.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedklpr_flwr.compiled import WORTH_COMPILING, compiled

Array = NDArray[Any]

ALL_HELD = np.ones(1, np.uint8)
"""Stands for a mask where all coordinates are held."""


def is_compiled(size: int) -> bool:
    """Whether a tensor of so many coordinates is computed by compiled loops."""
    return size >= WORTH_COMPILING and compiled(_divide) is not None


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


def add_compiled(
    numerator: Array, code: Array, held: Array, counted: Array, values: Array, weight: np.float32
) -> int:
    """The same of values that lie in memory.

    Args:
        numerator: float32 (n,), changed.
        code: uint8 (n,), changed.
        held: uint8 (n,), 1 where there is a value, or ALL_HELD.
        counted: uint8 (n,), the bits that go into the codes, or ALL_HELD.
        values: float32, from the block's first on; more may follow.
        weight: their factor.

    Returns:
        How many values there were; -1 where numba is not installed, and nothing was done.
    """
    loop = compiled(_add)
    return -1 if loop is None else int(loop(numerator, code, held, counted, values, weight))


def divide(
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


def divide_compiled(
    numerator: Array, code: Array, table: Array, previous: Array, merged: Array, room: Array
) -> None:
    """The same in one pass; `room` is left alone. numba must be there."""
    loop = compiled(_divide)
    assert loop is not None
    loop(numerator, code, table, previous, merged)


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


def _add(
    numerator: Array, code: Array, held: Array, counted: Array, values: Array, weight: np.float32
) -> int:
    if held.size == 1:
        for place in range(numerator.size):
            numerator[place] += values[place] * weight
        taken = numerator.size
    else:
        # First the places, without a branch that half a random mask would mispredict.
        places = np.empty(numerator.size + 1, np.int32)
        taken = 0
        for place in range(numerator.size):
            places[taken] = place
            taken += held[place]
        for number in range(taken):
            numerator[places[number]] += values[number] * weight
    if counted.size == 1:
        for place in range(code.size):
            code[place] = np.uint8(code[place] << 1) | np.uint8(1)
    else:
        for place in range(code.size):
            code[place] = np.uint8(code[place] << 1) | counted[place]
    return taken


def _divide(numerator: Array, code: Array, table: Array, previous: Array, merged: Array) -> None:
    for place in range(numerator.size):
        denominator = table[code[place]]
        held = denominator != 0
        mean = numerator[place] / (denominator if held else np.float32(1))
        merged[place] = mean if held else previous[place]
