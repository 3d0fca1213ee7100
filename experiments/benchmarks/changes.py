"""How few bytes a change takes, and how fast: against its entropy and what others would send.

The change is drawn, Gaussian and of one scale a tensor: as an optimiser such as Adam makes it, and
as hard to compress as any of its size. Every anchor is measured in the same run.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from tempfile import TemporaryDirectory

import numpy as np
import zstandard

from experiments.benchmarks.rows import Row, make_row, median_seconds, value_at_least
from fedklpr_flwr.wire.change import apply_change, quantise_change
from fedklpr_flwr.wire.change_codec import ChangeWriter
from fedklpr_flwr.wire.change_entropy import pack_symbols
from fedklpr_flwr.wire.entropy_bound import change_bound_bytes
from fedklpr_flwr.wire.layout import Layout, layout_of
from fedklpr_flwr.wire.payload import open_payload

Arrays = Mapping[str, np.ndarray]

COARSE, FINE = (1.4, 0.125), (0.35, 0.03)
"""Steps of weights and of vectors: the default's, and a quarter of them."""
_SAMPLE = 1_000_000
_TOP = 0.01  # of STC's coordinates


def change_rows(tensors: Arrays, *, repeats: int = 3) -> list[Row]:
    """Measure a change of a model at the default steps, nothing pruned.

    Args:
        tensors: name -> float32 array: the reference.
        repeats: timings taken, the median counts.

    Returns:
        Rows as `wire_rows` gives them; `must` bounds `ratio` from above, of speeds `value` from
        below. The `other_` rows tell the bytes of another way over ours where both miss equally
        much of the change (1 - cos^2); those of nncodec, ours over its, are there where it is.
    """
    generator = np.random.default_rng(0)
    wanted = {
        name: np.asarray(array + generator.standard_normal(array.shape, np.float32) * 1e-3)
        for name, array in tensors.items()
    }
    layout = layout_of(tensors, [])
    payload, arrived = _written(wanted, tensors, layout)
    fine, _ = _written(wanted, tensors, layout, FINE)
    symbols = [quantise_change(*_flat(wanted, tensors, s.name), _share(s.shape))[0] for s in layout]
    order_0 = sum(change_bound_bytes(s, s.size, s.size, False) for s in symbols)
    packer = zstandard.ZstdCompressor(level=3)
    zstd = sum(len(packer.compress(s.tobytes())) for s in symbols)
    dense = sum(array.nbytes for array in tensors.values())
    with open_payload(payload, layout=layout, reference=tensors) as opened:
        equal = all((opened.tensor(s.name).values == arrived[s.name]).all() for s in layout)
    return [
        make_row("change_over_dense_coarse", len(payload), "bytes", dense, 0.055, equal=equal),
        make_row("change_over_dense_fine", len(fine), "bytes", dense),
        make_row("change_over_order_0", len(payload), "bytes", order_0, 1.01, equal=equal),
        make_row("change_over_zstd3", len(payload), "bytes", zstd, 0.85, equal=equal),
        *_speeds(wanted, tensors, layout, repeats),
        *_others(generator),
    ]


def _share(shape: tuple[int, ...], steps: tuple[float, float] = COARSE) -> float:
    return steps[0] if len(shape) >= 2 else steps[1]


def _flat(wanted: Arrays, reference: Arrays, name: str) -> tuple[np.ndarray, np.ndarray]:
    return wanted[name].ravel(), reference[name].ravel()


def _written(
    wanted: Arrays,
    reference: Arrays,
    layout: Layout,
    steps: tuple[float, float] = COARSE,
) -> tuple[bytes, dict[str, np.ndarray]]:
    writer = ChangeWriter({}, None, layout)
    arrived = {
        s.name: writer.add(s, wanted[s.name], reference[s.name], _share(s.shape, steps))
        for s in layout
    }
    return writer.seal(), arrived


def _speeds(wanted: Arrays, reference: Arrays, layout: Layout, repeats: int) -> list[Row]:
    """Megabytes of the dense model a second; decoding by two threads, as the server does it."""
    payload, _ = _written(wanted, reference, layout)
    dense = b"".join(np.ascontiguousarray(array).tobytes() for array in wanted.values())
    packer, names = zstandard.ZstdCompressor(level=3), [spec.name for spec in layout]
    packed = packer.compress(dense)

    def decoded() -> None:
        with (
            open_payload(payload, layout=layout, reference=reference) as opened,
            ThreadPoolExecutor(2) as pool,
        ):
            list(pool.map(opened.tensor, names))

    seconds = median_seconds(
        repeats,
        lambda: packer.compress(dense),
        lambda: zstandard.ZstdDecompressor().decompress(packed),
        lambda: _written(wanted, reference, layout),
        decoded,
    )
    zstd_in, zstd_out, encoding, decoding = (len(dense) / 1e6 / s for s in seconds)
    return [
        make_row("change_encode_mb_s", encoding, "MB/s", zstd_in, 100, value_at_least),
        make_row("change_decode_mb_s", decoding, "MB/s", zstd_out, 150, value_at_least),
    ]


def _others(generator: np.random.Generator) -> list[Row]:
    """Other ways to send one Gaussian tensor, over ours where both miss the change as far."""
    change = generator.standard_normal(_SAMPLE, np.float32)
    plain = np.rint(change).astype(np.int16)
    top = np.partition(np.abs(change), -round(_TOP * _SAMPLE))[-round(_TOP * _SAMPLE)]
    signs = np.where(np.abs(change) >= top, np.sign(change), 0).astype(np.int16)  # STC: one size
    sent = {
        "uniform": (change_bound_bytes(plain, _SAMPLE, _SAMPLE, False), plain),
        "stc_1": (change_bound_bytes(signs, _SAMPLE, _SAMPLE, False), signs),
    }
    return [
        make_row(
            f"other_change_{name}",
            round(size),
            "bytes",
            _bytes_at(_missed(change, arrived), change),
        )
        for name, (size, arrived) in sent.items()
    ] + _nncodec(change)


def _nncodec(change: np.ndarray) -> list[Row]:
    """Beside ISO/IEC 15938-17's reference program, with its trellis; [] where that is not.

    `change_over_nncodec` is at about the coarseness of the default's steps, `_fine` at half.
    """
    try:
        from nncodec import nnc  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return []
    wide, rows = change.reshape(-1, 1000), []
    for end, step, must in (("", COARSE[0], 1.0), ("_fine", COARSE[0] / 2, None)):
        with TemporaryDirectory() as place:
            compress = partial(
                nnc.compress,
                {"change": wide.copy()},
                bitstream_path=f"{place}/change.nnc",
                qp=round(4 * np.log2(step)),  # steps are 2^(qp / 4), nearly
                use_dq=True,
                return_bitstream=True,
                verbose=False,
            )
            coded = compress()
            missed = _missed(change, nnc.decompress(coded)["change"].reshape(-1))
            rows.append(
                make_row(
                    f"change_over_nncodec{end}",
                    _bytes_at(missed, change),
                    "bytes",
                    len(coded),
                    must,
                )
            )
            ours, theirs = median_seconds(
                3,
                partial(_quantise_and_pack, change, step),
                compress,
            )
            rows.append(
                make_row(f"change_seconds_over_nncodec{end}", ours, "s", theirs, must and 0.1)
            )
    return rows


def _missed(change: np.ndarray, arrived: np.ndarray) -> float:
    """The share of a change's square that no scaling of what arrived can give: 1 - cos^2."""
    wanted, got = change.astype(np.float64), arrived.astype(np.float64)
    return float(1 - (wanted @ got) ** 2 / ((wanted @ wanted) * (got @ got)))


def _bytes_at(missed: float, change: np.ndarray) -> int:
    """Bytes of our change where it misses as much, its step found by halving."""
    zeros = np.zeros_like(change)
    low, high = 0.01, 8.0
    for _ in range(20):
        middle = (low + high) / 2
        found = _missed(change, apply_change(zeros, *quantise_change(change, zeros, middle)))
        low, high = (middle, high) if found < missed else (low, middle)
    return len(_quantise_and_pack(change, low))


def _quantise_and_pack(change: np.ndarray, step: float) -> bytes:
    packed = pack_symbols(quantise_change(change, np.zeros_like(change), step)[0], None, 1000)
    assert packed is not None
    return packed
