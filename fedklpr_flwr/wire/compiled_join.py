"""float32 values joined from their planes in one compiled pass; planes.py says what is computed."""

from collections.abc import Sequence

import numpy as np

from fedklpr_flwr.compiled import compiled

_ONE, _TOP = np.uint32(1), np.uint32(31)
_SIGN = np.uint32(1 << 31)
_PLACES = np.arange(131_072)  # as many as a merge decodes at once


def join_compiled(
    planes: Sequence[np.ndarray],
    reference: np.ndarray | None,
    start: int,
    places: np.ndarray | slice,
    values: np.ndarray,
) -> bool:
    """Join a block of float32 values, as join_planes and apply_difference do, to the bit.

    Args:
        planes: uint8 each, of the block's values: three, or four of differences.
        reference: float32, what the values were told as a difference to; None = they were not.
        start: where the block of coordinates begins that they belong to.
        places: the kept coordinates less `start`, ascending indices or a slice.
        values: float32, as many; written.

    Returns:
        Whether it could; False where numba is not installed, and then nothing was done.
    """
    symbols = values.view(np.uint32)
    loop = compiled(_join if reference is None else _add)
    if loop is None:
        return False
    if reference is None:
        loop(*planes, symbols)
    else:
        every = _first_places(values.size) if isinstance(places, slice) else places
        loop(*planes, reference[start:].view(np.uint32), every, symbols)
    return True


def _first_places(count: int) -> np.ndarray:
    """0 to count - 1, made once."""
    return _PLACES[:count] if count <= _PLACES.size else np.arange(count)


def _join(
    exponents: np.ndarray, signs_and_tops: np.ndarray, halves: np.ndarray, symbols: np.ndarray
) -> None:
    for number in range(symbols.size):
        top = np.uint32(signs_and_tops[number])
        symbols[number] = (
            (top & np.uint32(0x80)) << np.uint32(24)
            | np.uint32(exponents[number]) << np.uint32(23)
            | (top & np.uint32(0x7F)) << np.uint32(16)
            | np.uint32(halves[2 * number + 1]) << np.uint32(8)
            | np.uint32(halves[2 * number])
        )


def _add(
    first: np.ndarray,
    second: np.ndarray,
    third: np.ndarray,
    fourth: np.ndarray,
    reference: np.ndarray,
    places: np.ndarray,
    symbols: np.ndarray,
) -> None:
    for number in range(symbols.size):
        steps = (
            np.uint32(first[number]) << np.uint32(24)
            | np.uint32(second[number]) << np.uint32(16)
            | np.uint32(third[number]) << np.uint32(8)
            | np.uint32(fourth[number])
        )
        base = reference[places[number]]
        step = np.uint32((steps >> _ONE) ^ np.uint32(0 - (steps & _ONE)))
        rank = np.uint32(step + (base ^ (np.uint32(0 - (base >> _TOP)) | _SIGN)))
        symbols[number] = rank ^ (np.uint32((rank >> _TOP) - _ONE) | _SIGN)
