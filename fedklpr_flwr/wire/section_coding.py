"""A section: a known number of bytes, entropy coded, and opened without trusting its sender."""

import threading
from collections.abc import Callable

import numpy as np
import zstandard

from fedklpr_flwr.errors import WireError
from fedklpr_flwr.wire import ans

RAW, ZSTD, NARROW, ANS = 0, 1, 2, 3
CONTEXT = 4
"""Of the symbols of a change alone: change_entropy.py opens it."""

LEVELS = ("fast", "tight")

# Exponents and mask bytes are nearly independent draws: matches are luck and cost more than they
# save, so a match must have 7 bytes and the table is the smallest. What is left is Huffman coding.
_HUFFMAN_ONLY = zstandard.ZstdCompressionParameters(
    strategy=zstandard.STRATEGY_FAST,
    window_log=17,
    hash_log=6,
    chain_log=6,
    search_log=1,
    min_match=7,
    target_length=0,
    write_content_size=True,
    write_checksum=False,
    write_dict_id=False,
)
_OWN = threading.local()
_SAMPLE = 4096
_WORTH_CODING = 7.8  # bits a byte, of a sample: mantissas have 7.95 to 8, exponents 1 to 3
_WIDEST_NARROW = 16
_SMALLEST_WINDOW = 1024  # zstd declares no smaller one


def pack_section(plain: np.ndarray, level: str) -> tuple[int, bytes | memoryview]:
    """Code a plane of bytes, or leave it raw where coding would not make it smaller.

    Args:
        plain: uint8 (n,), contiguous.
        level: "fast" (zstd) or "tight" (ANS where it is smaller still).

    Returns:
        The coding (RAW, ZSTD, NARROW or ANS) and the coded bytes.

    Raises:
        WireError: "tight" without the package `constriction`.
    """
    raw = plain.data
    if plain.size == 0 or _sampled_entropy(plain) > _WORTH_CODING:
        return RAW, raw
    lowest, values = int(plain.min()), int(plain.max()) - int(plain.min()) + 1
    candidates: list[tuple[int, bytes | memoryview]] = [(RAW, raw)]
    if plain.size >= _SAMPLE and 2 <= values <= _WIDEST_NARROW:
        candidates.append((NARROW, _pack_narrow(plain, lowest, values)))
    else:
        candidates.append((ZSTD, _compress(raw)))
    if level == "tight" and values > 1:
        candidates.append((ANS, ans.pack(plain)))
    return min(candidates, key=lambda candidate: len(candidate[1]))


def open_section(coding: int, data: memoryview, plain_bytes: int, field: str) -> np.ndarray:
    """Open a section, which must hold exactly the bytes that the reader expects.

    Args:
        coding: RAW, ZSTD, NARROW or ANS, as it came.
        data: the coded bytes, from the network.
        plain_bytes: how many bytes must come out; nothing larger is ever allocated.
        field: what to call the section in an error.

    Returns:
        uint8 (plain_bytes,), read-only where it is the payload itself.

    Raises:
        WireError: an unknown coding, more bytes than uncoded, or bytes that do not open to the
            expected length.
    """
    opener = _OPENERS.get(coding)
    if opener is None:
        raise WireError(f"{field}: coding must be one of {sorted(_OPENERS)}, got {coding}")
    if coding != RAW and len(data) > plain_bytes > 0:
        raise WireError(
            f"{field}: expected at most the {plain_bytes} bytes that it has uncoded, "
            f"got {len(data)}"
        )
    if plain_bytes == 0 and (coding != RAW or len(data)):
        raise WireError(f"{field}: expected nothing, got {len(data)} bytes of coding {coding}")
    return opener(data, plain_bytes, field)


def _open_raw(data: memoryview, plain_bytes: int, field: str) -> np.ndarray:
    if len(data) != plain_bytes:
        raise WireError(f"{field}: expected {plain_bytes} raw bytes, got {len(data)}")
    return np.frombuffer(data, np.uint8)


def _decompressor() -> zstandard.ZstdDecompressor:
    """This thread's: making one costs more than opening a small section."""
    if not hasattr(_OWN, "decompressor"):
        _OWN.decompressor = zstandard.ZstdDecompressor()
    made: zstandard.ZstdDecompressor = _OWN.decompressor
    return made


def _open_zstd(data: memoryview, plain_bytes: int, field: str) -> np.ndarray:
    try:
        frame = zstandard.get_frame_parameters(data)
        # Checked before decompressing: zstandard allocates whatever the frame announces.
        largest_window = max(plain_bytes, _SMALLEST_WINDOW)
        if frame.content_size != plain_bytes or frame.window_size > largest_window:
            raise WireError(
                f"{field}: expected a zstd frame of {plain_bytes} bytes, got one that announces "
                f"{frame.content_size} (window {frame.window_size})"
            )
        plain = _decompressor().decompress(
            data, max_output_size=plain_bytes, allow_extra_data=False
        )
    except zstandard.ZstdError as fault:
        raise WireError(f"{field}: the zstd frame does not open ({fault})") from fault
    if len(plain) != plain_bytes:
        raise WireError(f"{field}: expected {plain_bytes} bytes, got {len(plain)}")
    return np.frombuffer(plain, np.uint8)


def _pack_narrow(plain: np.ndarray, lowest: int, radix: int) -> bytes:
    """Put several values of a small range into each byte, so that Huffman codes them together.

    Exponents that survive pruning have 1 to 2 bits of entropy; a Huffman code of single ones must
    spend a whole bit at least on each and wastes up to 0.5, of tuples a fraction of that.
    """
    digits = _digits(radix)
    padded = np.full(-(-plain.size // digits) * digits, lowest, np.uint8)
    padded[: plain.size] = plain
    padded -= lowest
    packed = padded[digits - 1 :: digits].copy()
    for place in reversed(range(digits - 1)):
        packed *= radix
        packed += padded[place::digits]
    return bytes((lowest, radix)) + _compress(packed.data)


def _open_narrow(data: memoryview, plain_bytes: int, field: str) -> np.ndarray:
    lowest, radix = (data[0], data[1]) if len(data) > 1 else (0, 0)
    if not 2 <= radix <= _WIDEST_NARROW or lowest + radix > 256:
        raise WireError(
            f"{field}: expected 2 to {_WIDEST_NARROW} values below 256, got {radix} from {lowest}"
        )
    digits = _digits(radix)
    packed = _open_zstd(data[2:], -(-plain_bytes // digits), field)
    if packed.size and int(packed.max()) >= radix**digits:
        raise WireError(f"{field}: a byte holds at most {radix**digits - 1}, got {packed.max()}")
    places = radix ** np.arange(digits)
    digits_of = (lowest + np.arange(256)[:, None] // places % radix).astype(np.uint8)
    flat = digits_of.take(packed, axis=0).reshape(-1)
    if (flat[plain_bytes:] != lowest).any():
        raise WireError(f"{field}: the padding of the last byte must be zero")
    return flat[:plain_bytes]


def _digits(radix: int) -> int:
    digits = 1
    while radix ** (digits + 1) <= 256:
        digits += 1
    return digits


def _compress(plain: memoryview) -> bytes:
    return zstandard.ZstdCompressor(compression_params=_HUFFMAN_ONLY).compress(plain)


def _sampled_entropy(plain: np.ndarray) -> float:
    sample = plain[:: max(1, plain.size // _SAMPLE)]
    if sample.size < _SAMPLE:
        return 0.0  # too few to judge: try
    share = np.bincount(sample, minlength=256) / sample.size
    share = share[share > 0]
    return float(-(share * np.log2(share)).sum())


_OPENERS: dict[int, Callable[[memoryview, int, str], np.ndarray]] = {
    RAW: _open_raw,
    ZSTD: _open_zstd,
    NARROW: _open_narrow,
    ANS: ans.unpack,
}
