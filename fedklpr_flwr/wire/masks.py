"""Masks on the wire: not sent where known, sent as a shrinkage where possible, else bit by bit."""

import hashlib
from collections.abc import Mapping

import numpy as np

from fedklpr_flwr.errors import WireError
from fedklpr_flwr.wire.layout import HASH_BYTES, Layout, TensorSpec

DENSE, EXPLICIT, KNOWN, SHRUNK = 0, 1, 2, 3
_BLOCK = 131_072


def known_masks_hash(masks: Mapping[str, np.ndarray], layout: Layout) -> bytes:
    """Name a set of masks by 16 bytes that change with any bit.

    Args:
        masks: name -> bool array of the tensor's shape; an absent mask keeps everything.
        layout: the tensors in payload order.

    Returns:
        BLAKE2b-128 of the packed bits of every prunable tensor, in layout order.
    """
    digest = hashlib.blake2b(digest_size=HASH_BYTES)
    for spec in layout:
        if spec.prunable:
            digest.update(np.packbits(_mask_or_ones(masks, spec)).data)
    return digest.digest()


def flat_mask(masks: Mapping[str, np.ndarray], spec: TensorSpec) -> np.ndarray | None:
    """Look up a tensor's mask, flat; None where it has none and keeps everything.

    Args:
        masks: name -> bool array of the tensor's shape.
        spec: the tensor.

    Returns:
        bool (size,), or None.

    Raises:
        WireError: another dtype or shape, or a mask of a tensor that may not be pruned.
    """
    mask = masks.get(spec.name)
    if mask is None:
        return None
    if not spec.prunable:
        raise WireError(f"mask of {spec.name}: the layout says this tensor is not prunable")
    if mask.dtype != np.bool_ or mask.shape != spec.shape:
        raise WireError(
            f"mask of {spec.name}: expected bool {spec.shape}, got {mask.dtype} {mask.shape}"
        )
    return np.ascontiguousarray(mask).reshape(-1)


def known_mask(known_masks: Mapping[str, np.ndarray] | None, spec: TensorSpec) -> np.ndarray | None:
    """Look up what a side already holds of a tensor's mask.

    Args:
        known_masks: name -> bool array; an absent mask keeps everything. None: nothing is held.
        spec: the tensor.

    Returns:
        bool (size,), or None where nothing is held or the tensor is not prunable.

    Raises:
        WireError: as for flat_mask.
    """
    if known_masks is None or not spec.prunable:
        return None
    return _mask_or_ones(known_masks, spec)


def kept_per_channel(mask: np.ndarray | None, spec: TensorSpec) -> np.ndarray:
    """Count the kept coordinates of each output channel.

    Args:
        mask: bool (size,), or None to keep everything.
        spec: the tensor.

    Returns:
        int64 (channels,).
    """
    each = spec.size // spec.channels if spec.channels else 0
    if mask is None:
        return np.full(spec.channels, each, np.int64)
    counts: np.ndarray = np.count_nonzero(mask.reshape(spec.channels, each), axis=1)
    return counts


def describe_mask(mask: np.ndarray | None, known: np.ndarray | None) -> tuple[int, np.ndarray]:
    """Choose the cheapest way to tell a mask, given what the other side holds.

    Args:
        mask: bool (n,) to tell, or None to keep everything.
        known: bool (n,) that the other side holds, or None if it holds none.

    Returns:
        DENSE, EXPLICIT, KNOWN or SHRUNK, and the packed bits to send, uint8 (possibly none).
    """
    nothing = np.empty(0, np.uint8)
    if mask is None or mask.all():
        return DENSE, nothing
    if known is not None and np.array_equal(mask, known):
        return KNOWN, nothing
    if known is not None and not (mask & ~known).any():
        return SHRUNK, np.packbits(~mask[np.flatnonzero(known)])
    return EXPLICIT, np.packbits(mask)


def told_bits(mode: int, spec: TensorSpec, known: np.ndarray | None) -> int:
    """Count the bits that a mask of this mode is told in, before coding.

    Args:
        mode: DENSE, EXPLICIT, KNOWN or SHRUNK.
        spec: the tensor.
        known: bool (size,) held before, or None.

    Returns:
        A bit for each coordinate (EXPLICIT), for each one held (SHRUNK), else none.
    """
    if mode == EXPLICIT:
        return spec.size
    return int(np.count_nonzero(known)) if mode == SHRUNK and known is not None else 0


def restore_mask(
    mode: int, packed: np.ndarray, spec: TensorSpec, known: np.ndarray | None, bits: int
) -> np.ndarray | None:
    """Rebuild a mask from what was told about it.

    Args:
        mode: DENSE, EXPLICIT, KNOWN or SHRUNK.
        packed: uint8 (ceil(bits / 8),), the first bit in the highest place.
        spec: the tensor.
        known: bool (size,) held before, needed for KNOWN and SHRUNK.
        bits: what told_bits said.

    Returns:
        bool (size,), the caller's own; None for DENSE.

    Raises:
        WireError: bits set beyond the mask's end, or nothing known where it is needed.
    """
    if mode == DENSE:
        return None
    if bits % 8 and packed[-1] & (0xFF >> bits % 8):
        raise WireError(f"mask of {spec.name}: bits are set beyond the end of its {bits}")
    if mode == EXPLICIT:
        return np.unpackbits(packed, count=bits).view(np.bool_)
    if known is None:
        raise WireError(f"mask of {spec.name}: the sender counts on a known one, none is held")
    mask = known.copy()
    if mode == SHRUNK:
        _shrink(mask, np.unpackbits(packed, count=bits))
    return mask


def _shrink(mask: np.ndarray, pruned: np.ndarray) -> None:
    """Take away of what a mask keeps those that are told pruned, uint8 0 or 1, in their order."""
    position = 0
    for start in range(0, mask.size, _BLOCK):  # in blocks that stay in a core's cache
        block = mask[start : start + _BLOCK]
        held = np.flatnonzero(block)
        block[held] = pruned[position : position + held.size] == 0
        position += held.size


def _mask_or_ones(masks: Mapping[str, np.ndarray], spec: TensorSpec) -> np.ndarray:
    mask = flat_mask(masks, spec)
    return np.ones(spec.size, np.bool_) if mask is None else mask
