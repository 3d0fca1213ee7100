"""Throw damaged payloads at the decoder: each is refused by a WireError or decodes to a model.

    python tests/fuzz/fuzz_codec.py --payloads 200000 --seed 0 [--json FILE]

Half of the payloads have their checksum repaired, so that the checks behind it are reached; some of
those have a tensor table or a header that lies and is otherwise in order. Tensors that open are
merged as well, by the compiled loops, which read planes without a check of their own: here they are
compiled with one, and one payload in forty has a tensor large enough for a real merge to use them.
Exit status 1 on any other exception, any damage that went unnoticed, a payload that took over a
second, or one for which decoding allocated more than MODELS_ALLOWED and BLOCK_ALLOWED.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import sys
import tempfile
import time
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from fedklpr_flwr.algorithm.merge.accumulate import MergeAccumulator
from fedklpr_flwr.algorithm.merge.contribution import Contribution
from fedklpr_flwr.errors import WireError
from fedklpr_flwr.wire.block_values import BLOCK
from fedklpr_flwr.wire.change_codec import ChangeWriter
from fedklpr_flwr.wire.codec import decode_dense, encode, open_payload
from fedklpr_flwr.wire.header import CHECKSUM, HEADER, open_front, seal
from fedklpr_flwr.wire.layout import Layout, layout_of

LEVELS = ("fast", "tight") if importlib.util.find_spec("constriction") else ("fast",)
COMPILES = importlib.util.find_spec("numba") is not None
SLOWEST_SECONDS = 1.0
LARGE_SHARE = 1 / 40
MODELS_ALLOWED = 3  # what decoding may allocate at its peak,
BLOCK_ALLOWED = 20  # and beside it, in bytes for each coordinate of a block
NASTY = [0, 1, 2, 3, 4, 127, 128, 255, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1]

Damage = Callable[[np.random.Generator, bytes], bytes]


@dataclass(frozen=True)
class Case:
    """A good payload and what its reader holds."""

    payload: bytes
    layout: Layout
    held: dict[str, Any]
    model_bytes: int

    @property
    def bytes_allowed(self) -> int:
        """What decoding may allocate for its blocks, which no small tensor fills."""
        fullest = min(BLOCK, max(spec.size for spec in self.layout))
        return 100_000 + BLOCK_ALLOWED * fullest

    @property
    def version(self) -> int:
        """Of the wire format: 2 tells changes."""
        return 2 if open_front(memoryview(self.payload), self.layout).is_change else 1

    @property
    def is_large(self) -> bool:
        """Whether a tensor has several blocks."""
        return any(spec.size > BLOCK for spec in self.layout)


def _draw(generator: np.random.Generator, *shape: int) -> np.ndarray:
    return np.asarray(generator.standard_t(6, shape) * 0.1, np.float32)


def corpus() -> list[Case]:
    """One small model in every form, level and way of telling its masks, and large ones."""
    return [*small_cases(), *large_cases()]


def small_cases() -> list[Case]:
    """One small model in every form, level and way of telling its masks."""
    generator = np.random.default_rng(0)
    draw = partial(_draw, generator)
    tensors = {"conv": draw(32, 24, 3, 3), "twin": draw(32, 24, 3, 3), "bias": draw(32)}
    tensors |= {"linear": draw(10, 33), "scale": draw(), "none": draw(0, 3)}
    known = {name: np.abs(tensors[name]) > 0.05 for name in ("conv", "twin", "linear")}
    masks = {"conv": known["conv"], "twin": known["twin"] & (np.abs(tensors["twin"]) > 0.06)}
    masks["linear"] = ~known["linear"]
    near = {name: array * np.float32(1.001) for name, array in tensors.items()}
    layout = layout_of(tensors, known)
    held: list[dict[str, Any]] = [{}, {"known_masks": known}, {"reference": near}]
    model_bytes = sum(array.nbytes for array in tensors.values())
    told = [{"reference": near}, {"reference": near, "known_masks": known}] if COMPILES else []
    changes = [
        Case(changed(tensors, masks, layout, what), layout, what, model_bytes) for what in told
    ]
    return changes + [
        Case(
            encode(tensors, masks, layout=layout, values=values, level=level, **what),
            layout,
            what,
            model_bytes,
        )
        for values in ("float32", "bfloat16", "float16", "int8")
        for level in LEVELS
        for what in held
    ]


def changed(
    tensors: dict[str, Any], masks: dict[str, Any], layout: Layout, held: dict[str, Any]
) -> bytes:
    """Write a model as a change, of version 2, to what its reader holds."""
    writer = ChangeWriter(masks, held.get("known_masks"), layout)
    for spec in layout:
        writer.add(spec, tensors[spec.name], held["reference"][spec.name], 0.3)
    return writer.seal()


def large_cases() -> list[Case]:
    """A tensor of several blocks, and a small one behind it."""
    generator = np.random.default_rng(1)
    tensors = {"wide": _draw(generator, 512, 513), "after": _draw(generator, 16, 9)}
    known = {"wide": np.abs(tensors["wide"]) > 0.03}
    masks = {"wide": known["wide"] & (np.abs(tensors["wide"]) > 0.05)}
    near = {name: array * np.float32(1.001) for name, array in tensors.items()}
    layout = layout_of(tensors, known)
    ways: list[tuple[str, dict[str, np.ndarray], dict[str, Any]]] = [
        ("float32", {}, {}),
        ("float32", {}, {"reference": near}),
        ("float32", masks, {"known_masks": known}),
        ("float32", masks, {"known_masks": known, "reference": near}),
        ("bfloat16", masks, {"reference": near}),
        ("int8", masks, {"known_masks": known}),
    ]
    model_bytes = sum(array.nbytes for array in tensors.values())
    both = {"known_masks": known, "reference": near}
    large = [Case(changed(tensors, masks, layout, both), layout, both, model_bytes)] * COMPILES
    return large + [
        Case(
            encode(tensors, kept, layout=layout, values=values, level=level, **held),
            layout,
            held,
            model_bytes,
        )
        for level in LEVELS
        for values, kept, held in ways
    ]


def flip_bits(generator: np.random.Generator, data: bytes) -> bytes:
    """Flip one to eight bits."""
    damaged = bytearray(data)
    for position in generator.integers(0, 8 * len(data), generator.integers(1, 9)):
        damaged[position // 8] ^= 1 << int(position % 8)
    return bytes(damaged)


def overwrite(generator: np.random.Generator, data: bytes) -> bytes:
    """Overwrite a stretch by noise, zeros or ones."""
    size = int(generator.integers(1, 65))
    start = int(generator.integers(0, len(data)))
    fill = [generator.bytes(size), bytes(size), b"\xff" * size][generator.integers(3)]
    return (data[:start] + fill + data[start + size :])[: len(data)]


def overwrite_front(generator: np.random.Generator, data: bytes) -> bytes:
    """Overwrite one, two, four or eight bytes near the start by a nasty number."""
    width = int(generator.choice([1, 2, 4, 8]))
    start = int(generator.integers(0, min(len(data) - width, HEADER.size + 200)))
    number = int(generator.choice(NASTY)) % 2 ** (8 * width)
    return data[:start] + number.to_bytes(width, "little") + data[start + width :]


def truncate(generator: np.random.Generator, data: bytes) -> bytes:
    """Cut the end off."""
    return data[: int(generator.integers(0, len(data)))]


def extend(generator: np.random.Generator, data: bytes) -> bytes:
    """Add noise at the end."""
    return data + generator.bytes(int(generator.integers(1, 200)))


def splice(generator: np.random.Generator, data: bytes) -> bytes:
    """Copy one stretch over another, remove it, or repeat it."""
    size = int(generator.integers(1, min(300, len(data))))
    source, target = (int(start) for start in generator.integers(0, len(data) - size, 2))
    piece = data[source : source + size]
    keep_from = target + size * int(generator.integers(0, 2))
    return data[:target] + [piece, b""][generator.integers(2)] + data[keep_from:]


def bomb(generator: np.random.Generator, data: bytes) -> bytes:
    """Put a frame that inflates to 64 MB where the table or a section lies."""
    frame = _bomb_frame()
    start = int(generator.choice([HEADER.size, generator.integers(HEADER.size, len(data))]))
    if start > HEADER.size:
        return data[:start] + frame + data[start + len(frame) :]
    fields = list(HEADER.unpack_from(data))
    table_bytes, fields[5], fields[6] = fields[5], len(frame), 1
    return HEADER.pack(*fields) + frame + data[start + table_bytes :]


def lie_in_table(generator: np.random.Generator, case: Case) -> bytes:
    """Change one to three numbers of the tensor table and seal the payload in good order."""
    front = open_front(memoryview(case.payload), case.layout)
    table = front.table.copy()
    for _ in range(generator.integers(1, 4)):
        field = str(generator.choice(table.dtype.names))
        row = int(generator.integers(len(table)))
        if table[field].ndim > 1:
            column = int(generator.integers(table[field].shape[1]))
            table[field][row, column] = _lie(generator, table[field], row, column)
        else:
            table[field][row] = _lie(generator, table[field], row)
    if generator.random() < 0.5:  # let the lengths add up again
        lengths = table["lengths"]
        lack = len(case.payload) - CHECKSUM.size - front.body
        lack -= int(lengths.sum(dtype=np.int64))
        lengths[-1, 2] = (int(lengths[-1, 2]) + lack) % 2**32
    sections = case.payload[front.body : -CHECKSUM.size]
    version = 2 if front.is_change else 1
    return seal(table, [sections], case.layout, front.known_mask_hash, version=version)


def _lie(generator: np.random.Generator, column: np.ndarray, *place: int) -> int:
    largest = int(np.iinfo(column.dtype).max)
    near = int(column[place]) + int(generator.integers(-3, 4))
    return [near % (largest + 1), int(generator.choice(NASTY)) & largest][generator.integers(2)]


_FRAMES: list[bytes] = []


def _bomb_frame() -> bytes:
    if not _FRAMES:
        _FRAMES.append(zstandard.ZstdCompressor(level=19).compress(bytes(64_000_000)))
    return _FRAMES[0]


DAMAGES: list[Damage] = [flip_bits, overwrite, overwrite_front, truncate, extend, splice, bomb]


def damaged_payloads(
    cases: list[Case], payloads: int, seed: int
) -> Iterator[tuple[Case, bytes, bool, str]]:
    """Yield a case, its damaged payload, whether the checksum is right, and what was done.

    Every second checksum is repaired; every fourth payload has a table that lies.
    """
    generator = np.random.default_rng(seed)
    large = [case for case in cases if case.is_large]
    small = [case for case in cases if not case.is_large]
    for number in range(payloads):
        some = large if generator.random() < LARGE_SHARE else small
        case = some[generator.integers(len(some))]
        repaired = number % 2 == 1
        damaged, what = case.payload, ""
        while damaged == case.payload:  # a zero written over a zero does no damage
            if number % 4 == 3:
                damaged, what = lie_in_table(generator, case), "lie_in_table"
                continue
            damage = DAMAGES[generator.integers(len(DAMAGES))]
            what = damage.__name__
            if repaired:
                body = damage(generator, case.payload[: -CHECKSUM.size])
                damaged = body + CHECKSUM.pack(zlib.crc32(body))
            else:
                damaged = damage(generator, case.payload)
        yield case, damaged, repaired, what


def judge(case: Case, damaged: bytes, repaired: bool) -> str:
    """Decode a damaged payload and say what came of it.

    Returns:
        "refused", or "a model": well-formed numbers that a sender might have sent.

    Raises:
        AssertionError: damage that had to be noticed and was not, or a merge that reads other
            numbers than the decoder.
    """
    merged = merge_what_opens(case, damaged)
    try:
        arrays, masks = decode_dense(damaged, layout=case.layout, **case.held)
    except WireError:
        return "refused"
    if not repaired:
        raise AssertionError("damage went past the checksum")
    told, true = (open_front(memoryview(data), case.layout) for data in (damaged, case.payload))
    # The bytes may differ: a zstd frame has bits that mean nothing.
    if told.known_mask_hash != true.known_mask_hash or (told.table != true.table).any():
        raise AssertionError("a header or table that lies went unnoticed")
    for spec in case.layout:
        array, mask = arrays[spec.name], masks.get(spec.name)
        if array.shape != spec.shape or array.dtype != np.float32 or not np.isfinite(array).all():
            raise AssertionError(f"{spec.name} is not a tensor of the model")
        if mask is not None and (mask.shape != spec.shape or array[~mask].any()):
            raise AssertionError(f"the mask of {spec.name} does not fit its values")
        if (merged[spec.name] != array).any():
            raise AssertionError(f"{spec.name} is merged as other numbers than it decodes to")
    return "a model"


def merge_what_opens(case: Case, damaged: bytes) -> dict[str, np.ndarray]:
    """Merge each tensor that opens, alone and unchecked: a real merge opens checked ones only."""
    merged: dict[str, np.ndarray] = {}
    try:
        opened = open_payload(damaged, layout=case.layout, **case.held)
    except WireError:
        return merged
    for spec in case.layout:
        before = np.zeros(spec.shape, np.float32)
        accumulator = MergeAccumulator(spec.name, before)
        with contextlib.suppress(WireError), np.errstate(all="ignore"):
            _, mask, values = opened.opened(spec.name)
            accumulator.add(Contribution(1.0, mask, values))
            merged[spec.name] = accumulator.result()
    return merged


def decoding_peak(case: Case, damaged: bytes) -> int:
    """Give the bytes that decoding a payload has allocated at its peak."""
    tracemalloc.start()
    with contextlib.suppress(WireError):
        decode_dense(damaged, layout=case.layout, **case.held)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def fuzz(payloads: int, seed: int, version: int | None = None) -> dict[str, Any]:
    """Judge that many damaged payloads and count what came of them.

    Args:
        payloads: how many.
        seed: of the damage.
        version: of the wire format; None = both.

    Returns:
        Counts by checksum and outcome, the faults, the slowest payload in seconds, and the most
        that decoding one allocated (of every 50th payload), in models.
    """
    outcomes: Counter[str] = Counter()
    faults: list[str] = []
    slowest, most_models, large = 0.0, 0.0, 0
    cases = [case for case in corpus() if version in (None, case.version)]
    for case in cases:  # the good ones open, and what is imported or compiled once is not counted
        if judge(case, case.payload, repaired=True) != "a model":
            raise AssertionError("a good payload is refused")
    damage = damaged_payloads(cases, payloads, seed)
    for number, (case, damaged, repaired, what) in enumerate(damage):
        started = time.perf_counter()
        try:
            outcome = judge(case, damaged, repaired)
        except BaseException as fault:  # a panic of a native library is no Exception
            if isinstance(fault, KeyboardInterrupt):
                raise
            faults.append(f"payload {number} ({what}): {type(fault).__name__}: {fault}")
            outcome = "FAULT"
        seconds = time.perf_counter() - started
        slowest = max(slowest, seconds)
        if seconds > SLOWEST_SECONDS:
            faults.append(f"payload {number} ({what}): took {seconds:.1f} s")
        if number % 50 == 1 and outcome != "FAULT":
            peak = decoding_peak(case, damaged)
            most_models = max(most_models, peak / case.model_bytes)
            if peak > MODELS_ALLOWED * case.model_bytes + case.bytes_allowed:
                faults.append(f"payload {number} ({what}): allocated {peak} bytes")
        large += case.is_large
        outcomes[f"checksum {'repaired' if repaired else 'not repaired'}: {outcome}"] += 1
    return {
        "payloads": payloads,
        "seed": seed,
        "with_a_large_tensor": large,
        "outcomes": dict(sorted(outcomes.items())),
        "slowest_seconds": round(slowest, 4),
        "most_allocated_models": round(most_models, 2),
        "faults": faults,
    }


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--payloads", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        # Before numba is imported, and away from the loops that others have compiled unchecked.
        os.environ |= {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": cache}
        result = fuzz(arguments.payloads, arguments.seed)
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")
    return 1 if result["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
