"""Masked tensors to bytes and back, tensor by tensor: version 1 of docs/wire-format.md."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedklpr_flwr.errors import WireError
from fedklpr_flwr.wire.block_values import BLOCK
from fedklpr_flwr.wire.byte_planes import difference, split_planes
from fedklpr_flwr.wire.dtypes import (
    INT8,
    channel_scales,
    check_finite,
    check_scales,
    form_of,
    from_symbols,
    to_symbols,
)
from fedklpr_flwr.wire.header import NO_HASH, RECORD, SECTIONS, seal, uses_known_masks
from fedklpr_flwr.wire.layout import Layout, TensorSpec, check_layout, flat_array
from fedklpr_flwr.wire.masks import (
    describe_mask,
    flat_mask,
    kept_per_channel,
    known_mask,
    known_masks_hash,
)
from fedklpr_flwr.wire.payload import DecodedTensor, Payload, PayloadSource, open_payload
from fedklpr_flwr.wire.section_coding import LEVELS, pack_section

__all__ = ["DecodedTensor", "Payload", "decode_dense", "encode", "open_payload", "quantise"]

Arrays = Mapping[str, np.ndarray]
Sections = list[tuple[int, bytes | memoryview]]


def encode(
    tensors: Arrays,
    masks: Arrays,
    *,
    layout: Layout,
    known_masks: Arrays | None = None,
    values: str = "float32",
    level: str = "fast",
    reference: Arrays | None = None,
) -> bytes:
    """Write a model's kept coordinates as one payload; the others are not sent at all.

    Args:
        tensors: name -> float32 array, one for each of the layout, finite where kept.
        masks: name -> bool array of the tensor's shape, True = kept; absent = all kept.
        layout: the tensors in payload order.
        known_masks: the masks that the other side holds (absent name = all kept); masks equal to
            them cost 16 bytes in all. None: the other side holds none.
        values: "float32" (to the bit), "bfloat16", "float16" or "int8" (a scale per output
            channel); tensors of fewer than two axes are always float32.
        level: "fast" (zstd) or "tight" (ANS, needs the extra `tight`).
        reference: name -> float32 array that both sides hold; a tensor is sent as its difference
            to it where that is smaller. Only kept coordinates are read.

    Returns:
        The payload. No masks, no reference and "float32" is the plain dense model.

    Raises:
        WireError: a tensor or mask that does not fit the layout, NaN or infinity, a value beyond
            the form's largest, an unknown form or level.
    """
    if level not in LEVELS:
        raise WireError(f"level: must be one of {LEVELS}, got {level!r}")
    check_layout(layout)
    unknown = sorted({*tensors, *masks} - {spec.name for spec in layout})
    if unknown:
        raise WireError(f"tensors: names must be those of the layout, got {unknown[:5]}")
    sender = _Sender(tensors, masks, known_masks, reference, values, level)
    table = np.zeros(len(layout), RECORD)
    pieces: list[bytes | memoryview] = []
    for position, spec in enumerate(layout):
        table[position], sections = _encode_tensor(sender, spec)
        pieces += [coded for _, coded in sections]
    known_hash = known_masks_hash(known_masks or {}, layout) if uses_known_masks(table) else NO_HASH
    return seal(table, pieces, layout, known_hash)


def decode_dense(
    payload: PayloadSource,
    *,
    layout: Layout,
    known_masks: Arrays | None = None,
    reference: Arrays | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Decode a whole payload into full arrays, zero where pruned.

    Args:
        payload: the bytes, or the path of a file that holds them.
        layout: the tensors that both sides know.
        known_masks: the masks that this side holds and the sender counts on.
        reference: name -> float32 array that this side holds and the sender counts on.

    Returns:
        name -> float32 array of the tensor's shape, and name -> bool mask of every prunable one.

    Raises:
        WireError: which field is wrong; refuse the payload.
    """
    arrays: dict[str, np.ndarray] = {}
    masks: dict[str, np.ndarray] = {}
    with open_payload(
        payload, layout=layout, known_masks=known_masks, reference=reference
    ) as opened:
        for spec, mask, values in opened:
            arrays[spec.name] = values
            if mask is not None:
                arrays[spec.name] = _spread(values, mask)
            if spec.prunable:
                masks[spec.name] = np.ones(spec.shape, np.bool_) if mask is None else mask
    return arrays, masks


def quantise(tensors: Arrays, masks: Arrays, *, values: str = "float32") -> dict[str, np.ndarray]:
    """Say what the other side will see, so that a sender can keep the residual for next time.

    Args:
        tensors: name -> float32 array, finite where kept.
        masks: name -> bool array of the tensor's shape, True = kept; absent = all kept.
        values: "float32", "bfloat16", "float16" or "int8".

    Returns:
        name -> float32 array of the same shape, zero where pruned, equal to the bit to what
        decode_dense gives of encode's payload. "float32" only zeroes what is pruned.

    Raises:
        WireError: as for encode.
    """
    seen: dict[str, np.ndarray] = {}
    for name, array in tensors.items():
        spec = TensorSpec(name, tuple(array.shape), prunable=name in masks)
        kept = _keep(tensors, masks, spec, form_of(spec.shape, values))
        mask = flat_mask(masks, spec)
        full = np.zeros(spec.size, np.float32)
        decoded = from_symbols(kept.symbols, kept.form, kept.steps)
        full[slice(None) if mask is None else np.flatnonzero(mask)] = decoded
        seen[name] = full.reshape(spec.shape)
    return seen


@dataclass(frozen=True)
class _Sender:
    """What encode was asked for."""

    tensors: Arrays
    masks: Arrays
    known_masks: Arrays | None
    reference: Arrays | None
    values: str
    level: str


@dataclass(frozen=True)
class _Kept:
    """The kept coordinates of a tensor as symbols, float32 (n,) -> uint (n,)."""

    form: int
    scales: np.ndarray
    steps: np.ndarray | None
    symbols: np.ndarray


def _keep(tensors: Arrays, masks: Arrays, spec: TensorSpec, form: int) -> _Kept:
    mask = flat_mask(masks, spec)
    values = _pick(flat_array(tensors, spec), mask)
    check_finite(values, spec.name)
    scales, steps = np.empty(0, np.float32), None
    if form == INT8:
        counts = kept_per_channel(mask, spec)
        scales = channel_scales(values, counts)
        check_scales(scales, spec.name)
        steps = np.repeat(scales, counts)
    return _Kept(form, scales, steps, to_symbols(values, form, steps, spec.name))


def _spread(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Put kept values in their places; in blocks, as positions are twice as large as the values."""
    whole, flat, first = np.zeros(mask.shape, np.float32), mask.reshape(-1), 0
    for start in range(0, flat.size, BLOCK):
        places = np.flatnonzero(flat[start : start + BLOCK])
        whole.reshape(-1)[start + places] = values[first : first + places.size]
        first += places.size
    return whole


def _pick(values: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    # Positions first: boolean indexing is four times slower where the mask is random.
    return values if mask is None else values[np.flatnonzero(mask)]


def _encode_tensor(sender: _Sender, spec: TensorSpec) -> tuple[tuple[object, ...], Sections]:
    """Code a tensor's sections and write down its record of the table, in RECORD's order."""
    kept = _keep(sender.tensors, sender.masks, spec, form_of(spec.shape, sender.values))
    mask = flat_mask(sender.masks, spec)
    mode, told = describe_mask(mask, known_mask(sender.known_masks, spec))
    planes, reference_check = _pack_planes(sender, spec, mask, kept)
    front = _pack_all([told, kept.scales.view(np.uint8)], sender.level)
    sections = front + planes
    record = (
        mode,
        kept.form,
        reference_check is not None,
        _padded([coding for coding, _ in sections]),
        kept.symbols.size,
        reference_check or 0,
        _padded([len(coded) for _, coded in sections]),
    )
    return record, sections


def _pack_planes(
    sender: _Sender, spec: TensorSpec, mask: np.ndarray | None, kept: _Kept
) -> tuple[Sections, int | None]:
    """Code the symbols, or their differences to the reference with its check if that is smaller."""
    own = _pack_all(split_planes(kept.symbols, kept.form, False), sender.level)
    if sender.reference is None or spec.name not in sender.reference:
        return own, None
    base = _pick(flat_array(sender.reference, spec), mask)
    check_finite(base, f"the reference of {spec.name}")
    based = to_symbols(base, kept.form, kept.steps, f"the reference of {spec.name}")
    steps = difference(kept.symbols, based)
    apart = _pack_all(split_planes(steps, kept.form, True), sender.level)
    smaller = sum(len(coded) for _, coded in apart) < sum(len(coded) for _, coded in own)
    return (apart, zlib.crc32(base.data)) if smaller else (own, None)


def _pack_all(plains: list[np.ndarray], level: str) -> Sections:
    return [pack_section(plain, level) for plain in plains]


def _padded(numbers: list[int]) -> list[int]:
    return numbers + [0] * (SECTIONS - len(numbers))
