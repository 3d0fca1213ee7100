"""How few bytes the wire needs, and how fast: against the bound and against what others send.

Every anchor is measured in the same run on the same model.
"""

import io
import zlib
from collections.abc import Collection, Mapping

import numpy as np
import zstandard
from scipy.sparse import csr_array

from experiments.benchmarks.pruned import masks_before, prune
from experiments.benchmarks.rows import (
    Kept,
    Row,
    make_row,
    median_seconds,
    value_at_least,
    value_at_most,
)
from fedklpr_flwr.wire.codec import decode_dense, encode, open_payload, quantise
from fedklpr_flwr.wire.entropy_bound import entropy_bound_bytes
from fedklpr_flwr.wire.layout import Layout, layout_of

Arrays = Mapping[str, np.ndarray]

SHARES = (0, 30, 50, 70, 90)
OVER_BOUND = {"fast": 1.03, "tight": 1.006}
ROUND_TRIPS = (("50", "float32", 0.43), ("50", "bfloat16", 0.18), ("70", "int8", 0.09))


def wire_rows(tensors: Arrays, prunable_names: Collection[str], *, repeats: int = 5) -> list[Row]:
    """Measure the rows `wire` of the benchmarks on one model.

    `must` bounds `ratio` = value / anchor from above; for mask_unchanged_bytes it bounds `value`
    from above, for the two speeds `value` from below. Rows that only compare have no `must`. Every
    payload of ours is decoded, and a row is `ok` only where that gives what was encoded, to the
    bit; of a lossy form, what `quantise` says.

    Args:
        tensors: name -> float32 array, a trained model, dense.
        prunable_names: the tensors that are pruned, each by magnitude to the same share.
        repeats: timings taken, the median counts.

    Returns:
        Rows {name, value, unit, anchor, ratio, must, ok}.
    """
    pruned = {share: prune(tensors, prunable_names, share / 100) for share in SHARES}
    rows = []
    for level in OVER_BOUND:
        rows += [_over_bound(level, share, *pruned[share], prunable_names) for share in SHARES]
    for share, values, must in ROUND_TRIPS:
        rows.append(_round_trip(*pruned[int(share)], prunable_names, share, values, must))
    half = pruned[50]
    rows.append(_mask_unchanged(*half, prunable_names))
    rows += _speeds(*half, prunable_names, repeats)
    rows += _others(*half, prunable_names)
    return rows


def _over_bound(
    level: str, share: int, tensors: Arrays, masks: Arrays, names: Collection[str]
) -> Row:
    layout = layout_of(tensors, names)
    payload = encode(tensors, masks, layout=layout, level=level)
    return make_row(
        f"lossless_over_bound_{level}_{share:02}",
        len(payload),
        "bytes",
        entropy_bound_bytes(tensors, masks),
        OVER_BOUND[level],
        equal=holds(payload, layout, tensors, masks),
    )


def _round_trip(
    tensors: Arrays, masks: Arrays, names: Collection[str], share: str, values: str, must: float
) -> Row:
    """Up with a mask that has just shrunk, down with one that both sides know."""
    layout = layout_of(tensors, names)
    before = masks_before(masks)
    up = encode(tensors, masks, layout=layout, known_masks=before, values=values)
    down = encode(tensors, masks, layout=layout, known_masks=masks, values=values)
    dense = 2 * sum(array.nbytes for array in tensors.values())
    seen = quantise(tensors, masks, values=values)
    equal = holds(up, layout, seen, masks, before) and holds(down, layout, seen, masks, masks)
    sizes = (len(up) + len(down), "bytes", dense, must)
    return make_row(f"round_trip_{share}_{values}", *sizes, equal=equal)


def _mask_unchanged(tensors: Arrays, masks: Arrays, names: Collection[str]) -> Row:
    layout = layout_of(tensors, names)
    payload = encode(tensors, masks, layout=layout, known_masks=masks)
    spent = open_payload(payload, layout=layout, known_masks=masks).mask_bytes
    bitmask = sum((mask.size + 7) // 8 for mask in masks.values())
    sizes = (spent, "bytes", bitmask, 40, value_at_most)
    equal = holds(payload, layout, tensors, masks, masks)
    return make_row("mask_unchanged_bytes", *sizes, equal=equal)


def _speeds(tensors: Arrays, masks: Arrays, names: Collection[str], repeats: int) -> list[Row]:
    """Megabytes of the dense model a second, on one core; the anchor is zstd-3 of the dense one."""
    layout = layout_of(tensors, names)
    encoded = Kept(lambda: encode(tensors, masks, layout=layout))
    encoded()
    payload = encoded.result
    decoded = Kept(lambda: decode_dense(payload, layout=layout))
    dense = b"".join(array.tobytes() for array in tensors.values())
    packer, opener = zstandard.ZstdCompressor(level=3), zstandard.ZstdDecompressor()
    packed = packer.compress(dense)
    seconds = median_seconds(
        repeats,
        lambda: packer.compress(dense),
        lambda: opener.decompress(packed),
        encoded,
        decoded,
        lambda: [tensor.spec for tensor in open_payload(payload, layout=layout)],
    )
    zstd_in, zstd_out, encoding, decoding, streaming = (len(dense) / 1e6 / s for s in seconds)
    packs = holds(encoded.result, layout, tensors, masks)
    unpacks = is_same(decoded.result, tensors, masks, layout)
    streams = _streams(payload, layout, tensors, masks)
    rate = ("MB/s", zstd_out)
    return [
        make_row("encode_mb_s", encoding, "MB/s", zstd_in, 250, value_at_least, equal=packs),
        make_row("decode_mb_s", decoding, *rate, 300, value_at_least, equal=unpacks),
        make_row("decode_tensors_mb_s", streaming, *rate, equal=streams),
    ]


def holds(
    payload: bytes,
    layout: Layout,
    tensors: Arrays,
    masks: Arrays,
    known_masks: Arrays | None = None,
) -> bool:
    """Whether a payload decodes to these tensors, zero where pruned, and masks, to the bit."""
    decoded = decode_dense(payload, layout=layout, known_masks=known_masks)
    return is_same(decoded, tensors, masks, layout)


def is_same(decoded: tuple[Arrays, Arrays], tensors: Arrays, masks: Arrays, layout: Layout) -> bool:
    """Whether what was decoded is these tensors and masks; a prunable one without has all ones."""
    arrays, found = decoded
    whole = {spec.name: np.ones(spec.shape, np.bool_) for spec in layout if spec.prunable}
    expected = {**whole, **masks}
    return (
        set(arrays) == set(tensors)
        and set(found) == set(expected)
        and all(_same_bits(arrays[name], array) for name, array in tensors.items())
        and all(np.array_equal(found[name], mask) for name, mask in expected.items())
    )


def _streams(payload: bytes, layout: Layout, tensors: Arrays, masks: Arrays) -> bool:
    """Whether a payload gives the survivors of every tensor, one after the other."""
    names = []
    for spec, mask, values in open_payload(payload, layout=layout):
        names.append(spec.name)
        array = tensors[spec.name]
        if spec.name in masks:
            if mask is None or not np.array_equal(mask, masks[spec.name]):
                return False
            array = array[mask]
        if not _same_bits(values.reshape(-1), array.reshape(-1)):
            return False
    return sorted(names) == sorted(tensors)


def _same_bits(array: np.ndarray, other: np.ndarray) -> bool:
    """Equal also in the sign of a zero."""
    return array.dtype == other.dtype == np.float32 and np.array_equal(
        np.ascontiguousarray(array).view(np.uint32), np.ascontiguousarray(other).view(np.uint32)
    )


def _others(tensors: Arrays, masks: Arrays, names: Collection[str]) -> list[Row]:
    """What other ways of sending the same update take, over the bound of it."""
    bound = entropy_bound_bytes(tensors, masks)
    dense = b"".join(array.tobytes() for array in tensors.values())
    kept = [array[masks[name]] if name in masks else array for name, array in tensors.items()]
    bitmask = b"".join(
        [np.packbits(mask).tobytes() for mask in masks.values()]
        + [np.ascontiguousarray(array).tobytes() for array in kept]
    )
    sizes = {
        "flower_np_save": sum(_np_save_bytes(array) for array in tensors.values()),
        "dense_zlib": len(zlib.compress(dense)),
        "dense_zstd3": len(zstandard.ZstdCompressor(level=3).compress(dense)),
        "bitmask_values": len(bitmask),
        "bitmask_values_zstd3": len(zstandard.ZstdCompressor(level=3).compress(bitmask)),
        "scipy_csr": sum(
            _csr_bytes(array) if name in masks else array.nbytes for name, array in tensors.items()
        ),
    }
    return [
        make_row(f"other_over_bound_{name}_50", size, "bytes", bound)
        for name, size in sizes.items()
    ]


def _np_save_bytes(array: np.ndarray) -> int:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.tell()


def _csr_bytes(array: np.ndarray) -> int:
    sparse = csr_array(array.reshape(len(array), -1))
    return int(sparse.data.nbytes + sparse.indices.nbytes + sparse.indptr.nbytes)
