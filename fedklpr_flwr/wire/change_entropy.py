"""Small whole numbers at less than their order-0 entropy: adaptive binary arithmetic coding.

A magnitude is told by yes-or-no flags (more than 0? more than 1? ...), each with a probability of
its own for every context: how large the numbers before it, those of its row and those of its column
have been. Signs are told as they are. docs/wire-format.md has every step; the loops are compiled by
numba (the extra `fast`), as no plain Python is quick enough for a model.

    coded section = flags, from the front | signs and rests of large magnitudes, from the back

Range coding: Martin 1979; adaptive binary contexts: Langdon and Rissanen 1981.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from fedklpr_flwr.errors import WireError

LARGEST = 32767
"""No number coded here is larger, of either sign."""

_FLAGS = 14  # larger magnitudes tell the rest in plain bits
_LEVELS = np.array([4, 16, 40, 80, 140, 220, 400], np.int64)  # of the magnitudes around, times 16
_ALL_HELD = np.empty(0, np.uint8)
_ROOM = 64  # bytes that one number never fills
_WHOLE = 0xFFFFFFFF


def pack_symbols(symbols: np.ndarray, mask: np.ndarray | None, row: int) -> bytes | None:
    """Code a tensor's symbols.

    Args:
        symbols: int16 (k,), from -32767 to 32767, those that the mask keeps, in row-major order.
        mask: bool (n,), or None where all are kept.
        row: coordinates in a row, >= 1: all axes but the first, or 1 for fewer than two axes.

    Returns:
        The coded bytes; None where they would be 2 k or more, as they are uncoded.

    Raises:
        WireError: numba is not installed.
    """
    coded = np.empty(2 * symbols.size + _ROOM, np.uint8)
    plain = np.zeros(2 * symbols.size + _ROOM, np.uint8)
    state = np.array([0, _WHOLE, 0], np.int64)
    columns = np.zeros(row, np.int64)
    fits = _loop(_pack_flags)(symbols, _held(mask), columns, _LEVELS, coded, state)
    bits = int(_loop(_pack_plain)(symbols, plain))
    back = -(-bits // 8)
    if not fits or bits < 0 or int(state[2]) + 2 + back >= 2 * symbols.size:
        return None
    return _finished(coded, int(state[0]), int(state[2])) + plain[:back][::-1].tobytes()


def unpack_symbols(
    data: memoryview, count: int, mask: np.ndarray | None, row: int, field: str
) -> np.ndarray:
    """Undo pack_symbols.

    Args:
        data: what pack_symbols gave, from the network.
        count: how many symbols must come out.
        mask: bool (n,) with `count` of them set, or None where all are kept.
        row: coordinates in a row.
        field: what to call the section in an error.

    Returns:
        int16 (count,).

    Raises:
        WireError: bytes that no sender writes, or numba is not installed.
    """
    symbols = np.empty(count, np.int16)
    coded = np.frombuffer(data, np.uint8)
    columns = np.zeros(row, np.int64)
    front = int(_loop(_unpack_flags)(symbols, _held(mask), columns, _LEVELS, coded))
    bits = int(_loop(_unpack_plain)(symbols, coded))
    if bits < 0 or front + -(-bits // 8) != coded.size:
        told = "a number too large or cut off" if bits < 0 else f"{front} bytes and {bits} bits"
        raise WireError(
            f"{field}: expected {count} coded numbers in {coded.size} bytes, got {told}"
        )
    return symbols


def _finished(coded: np.ndarray, low: int, front: int) -> bytes:
    """The flags' bytes, and two more that end them rightly whatever follows."""
    low += 0xFFFF
    if low >> 32:
        carried = front - 1
        while coded[carried] == 255:
            coded[carried] = 0
            carried -= 1
        coded[carried] += 1
    return coded[:front].tobytes() + (low >> 16 & 0xFFFF).to_bytes(2, "big")


def _held(mask: np.ndarray | None) -> np.ndarray:
    return _ALL_HELD if mask is None else mask.view(np.uint8)


@cache
def _loop(loop: Callable[..., Any]) -> Callable[..., Any]:
    """A loop as machine code, kept on disk for the next process where there is a place for it."""
    try:
        from numba import njit  # its import takes most of a second
    except ImportError as error:
        raise WireError(
            "wire.values=change: the package numba is missing; install the extra `fast` "
            "(pip install 'fedklpr-flwr[fast]') on both sides, or use another form of wire.values"
        ) from error
    try:
        return njit(nogil=True, cache=True)(loop)  # type: ignore[no-any-return]
    except RuntimeError:  # it found no folder to keep it in
        return njit(nogil=True)(loop)  # type: ignore[no-any-return]


def _pack_flags(
    symbols: np.ndarray,
    held: np.ndarray,
    columns: np.ndarray,
    levels: np.ndarray,
    coded: np.ndarray,
    state: np.ndarray,
) -> bool:
    """Write the flags; `state` is the coder's: low end, span, bytes written. False = too many."""
    quick = np.full((levels.size + 1) * 3 * _FLAGS, 32768, np.int64)
    slow, seen = quick.copy(), np.zeros(quick.size, np.int64)
    low, span, front = state
    last, before, rows, at, column = 0, 0, 0, 0, 0
    for place in range(held.size if held.size else symbols.size):
        if held.size == 0 or held[place]:
            if front + _ROOM > coded.size:
                return False
            size = min(abs(int(symbols[at])), _FLAGS)
            around = (16 * (2 * last + before) + rows + 2 * columns[column]) >> 6
            level = 0
            while level < levels.size and around >= levels[level]:
                level += 1
            context = (3 * level + min(last, 2)) * _FLAGS
            for flag in range(min(size + 1, _FLAGS)):
                split = (span * (quick[context] + slow[context])) >> 17
                age = seen[context] + 1
                seen[context] = min(age, 7)
                if flag == size:  # it stops here
                    quick[context] += (65504 - quick[context]) >> min(age, 5)
                    slow[context] += (65504 - slow[context]) >> min(age, 7)
                    span = split
                else:
                    quick[context] -= (quick[context] - 32) >> min(age, 5)
                    slow[context] -= (slow[context] - 32) >> min(age, 7)
                    low, span = low + split, span - split
                    if low >> 32:  # carry into what is written already
                        low &= 0xFFFFFFFF
                        carried = front - 1
                        while coded[carried] == 255:
                            coded[carried] = 0
                            carried -= 1
                        coded[carried] += 1
                while span < 0x1000000:
                    coded[front] = low >> 24
                    front += 1
                    low, span = (low & 0xFFFFFF) << 8, span << 8
                context += 1
            at += 1
            last, before = size, last
            rows += ((size << 8) - rows) >> 4
            columns[column] += ((size << 8) - columns[column]) >> 2
        column = column + 1 if column + 1 < columns.size else 0
    state[:] = low, span, front
    return True


def _pack_plain(symbols: np.ndarray, plain: np.ndarray) -> int:
    """Write rests (Elias gamma code) and signs, the first bit lowest; -1 = too many bits."""
    bits = 0
    for symbol in symbols:
        size = abs(int(symbol))
        if (bits >> 3) + _ROOM > plain.size:
            return -1
        if size >= _FLAGS:
            rest, width = size - _FLAGS + 1, 0
            while rest >> (width + 1):
                width += 1
                plain[bits >> 3] |= 1 << (bits & 7)
                bits += 1
            bits += 1
            for place in range(width):
                plain[bits >> 3] |= ((rest >> (width - 1 - place)) & 1) << (bits & 7)
                bits += 1
        # No branch: which numbers are zero nobody guesses, and a wrong guess costs ten signs.
        plain[bits >> 3] |= int(symbol < 0) << (bits & 7)
        bits += int(size > 0)
    return bits


def _unpack_flags(
    symbols: np.ndarray,
    held: np.ndarray,
    columns: np.ndarray,
    levels: np.ndarray,
    coded: np.ndarray,
) -> int:
    """Read magnitudes up to _FLAGS from the front; returns the bytes that told them.

    Bytes past the end read as 0, so that a sender's lie costs no more than the truth.
    """
    quick = np.full((levels.size + 1) * 3 * _FLAGS, 32768, np.int64)
    slow, seen = quick.copy(), np.zeros(quick.size, np.int64)
    code, span, front = 0, _WHOLE, 0
    while front < 4:
        code = code << 8 | (int(coded[front]) if front < coded.size else 0)
        front += 1
    last, before, rows, at, column = 0, 0, 0, 0, 0
    for place in range(held.size if held.size else symbols.size):
        if held.size == 0 or held[place]:
            around = (16 * (2 * last + before) + rows + 2 * columns[column]) >> 6
            level = 0
            while level < levels.size and around >= levels[level]:
                level += 1
            context = (3 * level + min(last, 2)) * _FLAGS
            size = 0
            while size < _FLAGS:
                split = (span * (quick[context] + slow[context])) >> 17
                age = seen[context] + 1
                seen[context] = min(age, 7)
                stops = code < split
                if stops:
                    quick[context] += (65504 - quick[context]) >> min(age, 5)
                    slow[context] += (65504 - slow[context]) >> min(age, 7)
                    span = split
                else:
                    quick[context] -= (quick[context] - 32) >> min(age, 5)
                    slow[context] -= (slow[context] - 32) >> min(age, 7)
                    code, span = code - split, span - split
                while span < 0x1000000:
                    code = code << 8 | (int(coded[front]) if front < coded.size else 0)
                    front, span = front + 1, span << 8
                if stops:
                    break
                size += 1
                context += 1
            symbols[at] = size
            at += 1
            last, before = size, last
            rows += ((size << 8) - rows) >> 4
            columns[column] += ((size << 8) - columns[column]) >> 2
        column = column + 1 if column + 1 < columns.size else 0
    return front - 2


def _unpack_plain(symbols: np.ndarray, coded: np.ndarray) -> int:
    """Read rests and signs from the end, in place; the bits used, -1 = no sender wrote so."""
    most, bits = 8 * coded.size, 0
    for at in range(symbols.size):
        size = int(symbols[at])
        if size == _FLAGS:
            width = 0
            while bits < most and (coded[coded.size - 1 - (bits >> 3)] >> (bits & 7)) & 1:
                width += 1
                bits += 1
            bits += 1
            if width > 14 or bits + width > most:
                return -1
            rest = 1
            for _ in range(width):
                rest = rest << 1 | (int(coded[coded.size - 1 - (bits >> 3)]) >> (bits & 7)) & 1
                bits += 1
            size += rest - 1
            if size > LARGEST:
                return -1
        if size:
            if bits >= most:
                return -1
            negative = (coded[coded.size - 1 - (bits >> 3)] >> (bits & 7)) & 1
            bits += 1
            symbols[at] = -size if negative else size
    if bits & 7 and coded[coded.size - 1 - (bits >> 3)] >> (bits & 7):
        return -1
    return bits
