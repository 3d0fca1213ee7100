"""What a merge computes in a block: by numpy in several passes, or compiled in one; equal bits.

A compiled loop works through a whole block without Python's lock, so that threads do not wait for
each other; numpy's passes each ask for it again.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedklpr_flwr.compiled import WORTH_COMPILING, compiled

Array = NDArray[Any]

GROUP = 8
"""Clients summed at once: one bit of the code each."""
ALL_HELD = np.empty(0, np.uint8)
"""Stands for a mask where all coordinates are held."""

Operands = tuple[Array, Array, Array]
"""What a client adds to a block: float32 values from the block's first on, more may follow; uint8
(n,), 1 where there is a value, or ALL_HELD; and uint8 (n,), the bits that go into the codes, or
ALL_HELD."""

_NOBODY = np.empty(0, np.float32), ALL_HELD, ALL_HELD
_CHUNK = 65_536  # coordinates that all clients add to before the next: they stay in the cache


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
    numerator: Array, code: Array, operands: Sequence[Operands], weights: Sequence[np.float32]
) -> NDArray[np.int64] | None:
    """The same of values that lie in memory, of up to eight clients, one after another.

    Args:
        numerator: float32 (n,), changed.
        code: uint8 (n,), changed.
        operands: of each client.
        weights: the values' factors.

    Returns:
        How many values of each there were; None where numba is not installed, and nothing was done.
    """
    loop = compiled(_add)
    if loop is None:
        return None
    filled = [*operands, *[_NOBODY] * (GROUP - len(operands))]
    values, held, counted = (tuple(map(_read_only, column)) for column in zip(*filled, strict=True))
    factors = np.array(weights, np.float32)
    taken: NDArray[np.int64] = loop(numerator, code, values, held, counted, factors)
    return taken


def _read_only(array: Array) -> Array:
    """Gives a view of one type whoever's it is: the loop is compiled once."""
    view = array.view()
    view.flags.writeable = False
    return view


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
    numerator: Array,
    code: Array,
    values: tuple[Array, ...],
    held: tuple[Array, ...],
    counted: tuple[Array, ...],
    weights: Array,
) -> NDArray[np.int64]:
    """Chunk by chunk, all clients of a chunk together, while it lies in the nearest cache."""
    taken = np.zeros(weights.size, np.int64)
    places = np.empty(_CHUNK + 1, np.int32)
    for start in range(0, numerator.size, _CHUNK):
        stop = min(start + _CHUNK, numerator.size)
        sums, codes = numerator[start:stop], code[start:stop]
        for client in range(weights.size):
            given, weight = values[client][taken[client] :], weights[client]
            if held[client].size == 0:
                for place in range(sums.size):
                    sums[place] += given[place] * weight
                taken[client] += sums.size
            else:
                # First the places, without a branch that half a random mask would mispredict.
                bits = held[client][start:stop]
                found = 0
                for place in range(sums.size):
                    places[found] = place
                    found += bits[place]
                for number in range(found):
                    sums[places[number]] += given[number] * weight
                taken[client] += found
            if counted[client].size == 0:
                for place in range(codes.size):
                    codes[place] = np.uint8(codes[place] << 1) | np.uint8(1)
            else:
                bits = counted[client][start:stop]
                for place in range(codes.size):
                    codes[place] = np.uint8(codes[place] << 1) | bits[place]
    return taken


def _divide(numerator: Array, code: Array, table: Array, previous: Array, merged: Array) -> None:
    for place in range(numerator.size):
        denominator = table[code[place]]
        held = denominator != 0
        mean = numerator[place] / (denominator if held else np.float32(1))
        merged[place] = mean if held else previous[place]
