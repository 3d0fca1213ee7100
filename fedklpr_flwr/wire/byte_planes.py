"""Symbols as planes of bytes: the predictable bits (exponents) apart from the noise (mantissas)."""

import numpy as np

from fedklpr_flwr.wire.dtypes import BFLOAT16, FLOAT32, SYMBOL_DTYPES

MOST_PLANES = 4


def plane_widths(form: int, delta: bool) -> tuple[int, ...]:
    """List how many bytes a value has in each plane of a form.

    Args:
        form: FLOAT32, BFLOAT16, FLOAT16 or INT8.
        delta: whether the symbols are differences to a reference.

    Returns:
        One width for each plane.
    """
    if form == FLOAT32 and not delta:
        return (1, 1, 2)
    return (1,) * np.dtype(SYMBOL_DTYPES[form]).itemsize


def split_planes(symbols: np.ndarray, form: int, delta: bool) -> list[np.ndarray]:
    """Split symbols into planes of bytes, the most predictable first.

    float32 and bfloat16: the exponent; the sign with the top 7 mantissa bits; for float32 the low
    16 mantissa bits. All others: byte after byte, the highest first.

    Args:
        symbols: uint32, uint16 or uint8 (n,), contiguous.
        form: FLOAT32, BFLOAT16, FLOAT16 or INT8.
        delta: whether the symbols are differences to a reference.

    Returns:
        uint8 planes, as wide as plane_widths says.
    """
    if delta or form not in (FLOAT32, BFLOAT16):
        width = symbols.itemsize
        bytes_of = symbols.view(np.uint8).reshape(-1, width)
        return [bytes_of[:, place].copy() for place in reversed(range(width))]
    if form == BFLOAT16:
        return list(_split_high(symbols))
    halves = symbols.view(np.uint16)  # little-endian: the low half comes first
    exponents, sign_and_top = _split_high(halves[1::2].copy())
    return [exponents, sign_and_top, halves[::2].copy().view(np.uint8)]


def join_planes(planes: list[np.ndarray], form: int, delta: bool) -> np.ndarray:
    """Undo split_planes, to the bit.

    Args:
        planes: uint8 planes, as wide as plane_widths says.
        form: FLOAT32, BFLOAT16, FLOAT16 or INT8.
        delta: whether the symbols are differences to a reference.

    Returns:
        uint32, uint16 or uint8 (n,).
    """
    symbols = np.empty(planes[0].size, SYMBOL_DTYPES[form])
    if delta or form not in (FLOAT32, BFLOAT16):
        bytes_of = symbols.view(np.uint8).reshape(-1, symbols.itemsize)
        for place, plane in enumerate(reversed(planes)):
            bytes_of[:, place] = plane
    elif form == BFLOAT16:
        symbols[:] = _join_high(planes[0], planes[1])
    else:
        halves = symbols.view(np.uint16)
        halves[::2] = planes[2].view("<u2")
        halves[1::2] = _join_high(planes[0], planes[1])
    return symbols


def difference(symbols: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Say how many representable numbers each symbol lies above its reference, small numbers first.

    z = zigzag(rank(symbol) - rank(reference)) modulo 2^bits, where rank counts the representable
    numbers in order, so that close numbers, whatever their sign, have close ranks.

    Args:
        symbols: uint32, uint16 or uint8 (n,).
        reference: the same dtype and shape.

    Returns:
        The same dtype and shape; equal symbols give 0.
    """
    step = _rank(symbols) - _rank(reference)
    steps: np.ndarray = (step << 1) ^ (0 - (step >> _top(step)))
    return steps


def apply_difference(steps: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Undo difference, to the bit.

    Args:
        steps: what difference gave, uint32, uint16 or uint8 (n,).
        reference: the same dtype and shape.

    Returns:
        The symbols.
    """
    step = (steps >> 1) ^ (0 - (steps & 1))
    rank = step + _rank(reference)
    return rank if rank.itemsize == 1 else _unrank(rank)


def _rank(symbols: np.ndarray) -> np.ndarray:
    if symbols.itemsize == 1:
        return symbols  # offset integers are in order already
    negative = symbols >> _top(symbols)
    rank: np.ndarray = symbols ^ ((0 - negative) | (1 << _top(symbols)))
    return rank


def _unrank(rank: np.ndarray) -> np.ndarray:
    positive = rank >> _top(rank)
    symbols: np.ndarray = rank ^ ((positive - 1) | (1 << _top(rank)))
    return symbols


def _top(symbols: np.ndarray) -> int:
    return 8 * symbols.itemsize - 1


def _split_high(high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    exponents = (high >> 7).astype(np.uint8)
    return exponents, ((high >> 8) & 0x80 | high & 0x7F).astype(np.uint8)


def _join_high(exponents: np.ndarray, sign_and_top: np.ndarray) -> np.ndarray:
    high = exponents.astype(np.uint16) << 7
    high |= sign_and_top & 0x7F
    high |= (sign_and_top & 0x80).astype(np.uint16) << 8
    return high
