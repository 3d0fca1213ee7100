"""float32 values joined from their planes and added up, in one compiled pass.

What is computed is planes.py's join_planes and apply_difference, to the bit.
"""

from collections.abc import Sequence

import numpy as np

from fedklpr_flwr.compiled import compiled

_ONE, _TOP = np.uint32(1), np.uint32(31)
_SIGN = np.uint32(1 << 31)
_NOTHING = np.empty(0, np.uint8)
_NO_REFERENCE = np.empty(0, np.uint32)
_CHUNK = 4096  # values joined at once, so that they stay in the nearest cache


def add_planes(
    planes: Sequence[np.ndarray],
    reference: np.ndarray | None,
    numerator: np.ndarray,
    code: np.ndarray,
    held: np.ndarray,
    counted: np.ndarray,
    weight: np.float32,
) -> int:
    """Join the values of a block of coordinates and add them up.

    Args:
        planes: uint8 each, from the block's first value on: three, or four of differences.
        reference: float32, from the block's first coordinate on, what the values were told as a
            difference to; None = they were not.
        numerator: float32 (n,), weight x values are added to it.
        code: uint8 (n,), the counted bits are shifted in.
        held: uint8 (n,), 1 where there is a value, or none where all are.
        counted: uint8 (n,), or none where all count.
        weight: the values' factor.

    Returns:
        How many values there were; -1 where numba is not installed, and nothing was done.
    """
    loop = compiled(_add)
    if loop is None:
        return -1
    base = _NO_REFERENCE if reference is None else reference.view(np.uint32)
    four = planes if len(planes) == 4 else (*planes, _NOTHING)
    symbols = np.empty(_CHUNK, np.uint32)
    values = symbols.view(np.float32)
    return int(loop(*four, base, numerator, code, held, counted, weight, symbols, values))


def _add(
    first: np.ndarray,
    second: np.ndarray,
    third: np.ndarray,
    fourth: np.ndarray,
    reference: np.ndarray,
    numerator: np.ndarray,
    code: np.ndarray,
    held: np.ndarray,
    counted: np.ndarray,
    weight: np.float32,
    symbols: np.ndarray,
    values: np.ndarray,
) -> int:
    """Chunk by chunk: the places, the symbols at them (`values` are the same bytes), the sums."""
    places = np.empty(symbols.size + 1, np.int32)
    taken = 0
    for start in range(0, numerator.size, symbols.size):
        stop = min(start + symbols.size, numerator.size)
        found = 0
        for place in range(start, stop):  # no branch, which half a random mask would mispredict
            places[found] = place
            found += int(held[place]) if held.size else 1
        if reference.size:
            for number in range(found):
                at = taken + number
                steps = (
                    np.uint32(first[at]) << np.uint32(24)
                    | np.uint32(second[at]) << np.uint32(16)
                    | np.uint32(third[at]) << np.uint32(8)
                    | np.uint32(fourth[at])
                )
                base = reference[places[number]]
                step = np.uint32((steps >> _ONE) ^ np.uint32(0 - (steps & _ONE)))
                rank = np.uint32(step + (base ^ (np.uint32(0 - (base >> _TOP)) | _SIGN)))
                symbols[number] = rank ^ (np.uint32((rank >> _TOP) - _ONE) | _SIGN)
        else:
            for number in range(found):
                at = taken + number
                high = np.uint32(second[at])
                symbols[number] = (
                    (high & np.uint32(0x80)) << np.uint32(24)
                    | np.uint32(first[at]) << np.uint32(23)
                    | (high & np.uint32(0x7F)) << np.uint32(16)
                    | np.uint32(third[2 * at + 1]) << np.uint32(8)
                    | np.uint32(third[2 * at])
                )
        for number in range(found):
            numerator[places[number]] += values[number] * weight
        taken += found
    if counted.size == 0:
        for place in range(code.size):
            code[place] = np.uint8(code[place] << 1) | np.uint8(1)
    else:
        for place in range(code.size):
            code[place] = np.uint8(code[place] << 1) | counted[place]
    return taken
