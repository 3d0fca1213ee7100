"""Asymmetric numeral systems: a plane of bytes at its entropy, by the optional `constriction`."""

from types import ModuleType
from typing import Any

import numpy as np

from fedklpr_flwr.errors import WireError

# 2^24 times 2^(-i/8): whole numbers, so that both sides build the same model on any machine.
_EIGHTHS = np.array(
    [16777216, 15384775, 14107901, 12937002, 11863283, 10878679, 9975792, 9147842], np.int64
)
_RAREST = 191  # 2^-24, the smallest share that the coder can express
_HEADER = 3
_BLOCK = 131_072  # plain bytes opened at once: the coder gives a symbol in four bytes


def pack(plain: np.ndarray) -> bytes:
    """Code bytes, or their halves where the shorter table of shares outweighs the loss.

    Args:
        plain: uint8 (n,), n > 0.

    Returns:
        Bits a symbol (4 or 8), lowest symbol, number of symbols less one, a byte of -8 log2(share)
        for each, then the coder's 32-bit words.

    Raises:
        WireError: `constriction` is not installed.
    """
    counts = np.bincount(plain, minlength=256)
    square = counts.reshape(16, 16)
    counts_of_halves = square.sum(axis=0) + square.sum(axis=1)
    if _cost(counts) <= _cost(counts_of_halves):
        return _pack_symbols(plain, counts, 8)
    halves = np.empty(2 * plain.size, np.uint8)
    halves[::2] = plain & 15
    halves[1::2] = plain >> 4
    return _pack_symbols(halves, counts_of_halves, 4)


def unpack(data: memoryview, plain_bytes: int, field: str) -> np.ndarray:
    """Undo pack.

    Args:
        data: what pack gave, from the network.
        plain_bytes: how many bytes must come out.
        field: what to call the section in an error.

    Returns:
        uint8 (plain_bytes,).

    Raises:
        WireError: a table or words that cannot be, or `constriction` is not installed.
    """
    bits, lowest, last = bytes(data[:_HEADER]) if len(data) >= _HEADER else (0, 0, 0)
    start = _HEADER + last + 1
    words_fit = start <= len(data) and (len(data) - start) % 4 == 0
    if bits not in (4, 8) or not 0 < last < 2**bits - lowest or not words_fit:
        raise WireError(
            f"{field}: expected an ANS table of 4 or 8 bits and 32-bit words, got {bits} bits, "
            f"symbols {lowest} to {lowest + last}, {len(data)} bytes"
        )
    model = _model(np.frombuffer(data[_HEADER:start], np.uint8), field)
    words = np.frombuffer(data[start:], "<u4").astype(np.uint32)
    amount = plain_bytes * 8 // bits
    try:
        coder = _constriction().stream.stack.AnsCoder(words)
        plain = np.empty(plain_bytes, np.uint8)
        for start in range(0, plain_bytes, _BLOCK):
            block = plain[start : start + _BLOCK]
            symbols = coder.decode(model, block.size * 8 // bits).astype(np.uint8)
            symbols += np.uint8(lowest)
            block[:] = symbols if bits == 8 else symbols[::2] | symbols[1::2] << 4
    except ValueError as fault:
        raise WireError(f"{field}: the ANS words do not open ({fault})") from fault
    if not coder.is_empty():
        raise WireError(f"{field}: ANS words are left after {amount} symbols")
    return plain


def _pack_symbols(symbols: np.ndarray, counts: np.ndarray, bits: int) -> bytes:
    used = np.flatnonzero(counts)
    lowest, highest = int(used[0]), int(used[-1])
    with np.errstate(divide="ignore"):
        eighths = -8 * np.log2(counts[lowest : highest + 1] / symbols.size)
    table = np.minimum(np.rint(eighths), _RAREST).astype(np.uint8)
    coder = _constriction().stream.stack.AnsCoder()
    coder.encode_reverse(symbols.astype(np.int32) - lowest, _model(table, "ANS table"))
    words: bytes = coder.get_compressed().astype("<u4").tobytes()
    front = bytes((bits, lowest, highest - lowest)) + bytes(table)
    return front + words


def _model(table: np.ndarray, field: str) -> Any:
    if table.max() > _RAREST:
        raise WireError(f"{field}: a share is told in 0 to {_RAREST} eighths, got {table.max()}")
    shares = _EIGHTHS[table % 8] >> (table // 8).astype(np.int64)
    return _constriction().stream.model.Categorical(shares.astype(np.float64), perfect=False)


def _cost(counts: np.ndarray) -> float:
    used = counts[counts > 0]
    table = int(np.ptp(np.flatnonzero(counts))) + 1
    return float(-(used * np.log2(used / used.sum())).sum() / 8 + table)


def _constriction() -> ModuleType:
    try:
        import constriction
    except ImportError as fault:
        raise WireError(
            "level tight: the package constriction is missing; install the extra `tight` "
            "(pip install 'fedklpr-flwr[tight]') on both sides, or use wire.level=fast"
        ) from fault
    module: ModuleType = constriction
    return module
