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
    Row,
    make_row,
    median_seconds,
    value_at_least,
    value_at_most,
)
from fedklpr_flwr.wire.bound import entropy_bound_bytes
from fedklpr_flwr.wire.codec import decode_dense, encode, open_payload
from fedklpr_flwr.wire.layout import layout_of

Arrays = Mapping[str, np.ndarray]

SHARES = (0, 30, 50, 70, 90)
OVER_BOUND = {"fast": 1.03, "tight": 1.006}
ROUND_TRIPS = (("50", "float32", 0.43), ("50", "bfloat16", 0.18), ("70", "int8", 0.09))


def wire_rows(tensors: Arrays, prunable_names: Collection[str], *, repeats: int = 5) -> list[Row]:
    """Measure the rows `wire` of the benchmarks on one model.

    `must` bounds `ratio` = value / anchor from above; for mask_unchanged_bytes it bounds `value`
    from above, for the two speeds `value` from below. Rows that only compare have no `must`.

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
    payload = encode(tensors, masks, layout=layout_of(tensors, names), level=level)
    return make_row(
        f"lossless_over_bound_{level}_{share:02}",
        len(payload),
        "bytes",
        entropy_bound_bytes(tensors, masks),
        OVER_BOUND[level],
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
    return make_row(f"round_trip_{share}_{values}", len(up) + len(down), "bytes", dense, must)


def _mask_unchanged(tensors: Arrays, masks: Arrays, names: Collection[str]) -> Row:
    layout = layout_of(tensors, names)
    payload = encode(tensors, masks, layout=layout, known_masks=masks)
    spent = open_payload(payload, layout=layout, known_masks=masks).mask_bytes
    bitmask = sum((mask.size + 7) // 8 for mask in masks.values())
    return make_row("mask_unchanged_bytes", spent, "bytes", bitmask, 40, value_at_most)


def _speeds(tensors: Arrays, masks: Arrays, names: Collection[str], repeats: int) -> list[Row]:
    """Megabytes of the dense model a second, on one core; the anchor is zstd-3 of the dense one."""
    layout = layout_of(tensors, names)
    payload = encode(tensors, masks, layout=layout)
    dense = b"".join(array.tobytes() for array in tensors.values())
    packer, opener = zstandard.ZstdCompressor(level=3), zstandard.ZstdDecompressor()
    packed = packer.compress(dense)
    seconds = median_seconds(
        repeats,
        lambda: packer.compress(dense),
        lambda: opener.decompress(packed),
        lambda: encode(tensors, masks, layout=layout),
        lambda: decode_dense(payload, layout=layout),
        lambda: [tensor.spec for tensor in open_payload(payload, layout=layout)],
    )
    zstd_in, zstd_out, encoding, decoding, streaming = (len(dense) / 1e6 / s for s in seconds)
    return [
        make_row("encode_mb_s", encoding, "MB/s", zstd_in, 250, value_at_least),
        make_row("decode_mb_s", decoding, "MB/s", zstd_out, 300, value_at_least),
        make_row("decode_tensors_mb_s", streaming, "MB/s", zstd_out),
    ]


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
