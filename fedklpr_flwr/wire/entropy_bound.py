"""The yardstick: how few bytes a lossless order-0 code of a masked model can have."""

from collections.abc import Mapping

import numpy as np

from fedklpr_flwr.errors import WireError

_RAW_BITS = 24  # the sign and the 23 mantissa bits, which carry no usable pattern


def bound_bytes(kept: np.ndarray, size: int, masked: bool) -> float:
    """The lossless bound of one tensor.

    Args:
        kept: float32, the kept values in any shape.
        size: N, the tensor's coordinates.
        masked: whether a mask is told.

    Returns:
        [ N H(mask) + n (24 + H(exponent)) ] / 8 bytes; the mask's part only where there is one.
    """
    flat = np.ascontiguousarray(kept).reshape(-1)
    bits = _entropy_bits(np.array([flat.size, size - flat.size])) if masked else 0.0
    exponents = (flat.view(np.uint32) >> 23 & 0xFF).astype(np.uint8)
    bits += _RAW_BITS * flat.size + _entropy_bits(np.bincount(exponents, minlength=256))
    return bits / 8


def change_bound_bytes(symbols: np.ndarray | None, kept: int, size: int, masked: bool) -> float:
    """The order-0 bound of one tensor of a change.

    Args:
        symbols: int16 (kept,); None = all are 0.
        kept: how many numbers are sent.
        size: N, the tensor's coordinates.
        masked: whether a mask is told.

    Returns:
        [ N H(mask) + n H(symbol) ] / 8 bytes; the mask's part only where there is one.
    """
    bits = _entropy_bits(np.array([kept, size - kept])) if masked else 0.0
    if symbols is not None:
        bits += _entropy_bits(np.bincount(symbols.view(np.uint16)))
    return bits / 8


def entropy_bound_bytes(
    tensors: Mapping[str, np.ndarray], masks: Mapping[str, np.ndarray]
) -> float:
    """Compute the lossless bound of an update: what no order-0 code of it can go below.

    bound = sum over tensors of [ N H(mask) + n (24 + H(exponent)) ] / 8, with N coordinates,
    n of them kept, and H the empirical entropy in bits within that tensor.

    Args:
        tensors: name -> float32 array of any shape.
        masks: name -> bool array of the tensor's shape, True = kept; absent = a dense tensor,
            which has no mask to tell.

    Returns:
        Bytes, not rounded. Nothing kept gives 0.

    Raises:
        WireError: a mask that fits no tensor, or a tensor of another dtype.

    Source:
        The definition of the benchmark rows `lossless_over_bound_*`. A code that looks beyond
        single symbols (channels that differ in density, say) may go slightly below it.
    """
    unknown = sorted(set(masks) - set(tensors))
    if unknown:
        raise WireError(f"masks: each must belong to a tensor, got {unknown[:5]}")
    total = 0.0
    for name, array in tensors.items():
        if array.dtype != np.float32:
            raise WireError(f"{name}: expected float32, got {array.dtype}")
        mask = masks.get(name)
        if mask is None:
            total += bound_bytes(array, array.size, masked=False)
        elif mask.shape != array.shape or mask.dtype != np.bool_:
            raise WireError(f"mask of {name}: expected bool {array.shape}, got {mask.shape}")
        else:
            kept = array.reshape(-1)[np.flatnonzero(mask)]
            total += bound_bytes(kept, array.size, masked=True)
    return total


def _entropy_bits(counts: np.ndarray) -> float:
    used = counts[counts > 0]
    return float(-(used * np.log2(used / used.sum())).sum()) + 0.0  # not -0.0 where nothing is
