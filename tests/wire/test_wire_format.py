"""Claims about docs/wire-format.md: version 1 stays readable, and 2 is read by its lines alone."""

import struct
import zlib

import numpy as np
import pytest
import zstandard

from fedklpr_flwr.wire.change_codec import ChangeWriter
from fedklpr_flwr.wire.codec import decode_dense
from fedklpr_flwr.wire.layout import TensorSpec

LAYOUT = (TensorSpec("w", (2, 4), prunable=True), TensorSpec("b", (2,)))
MASK = np.array([[1, 0, 1, 0], [0, 1, 0, 1]], np.bool_)
WEIGHTS = np.array([[1.5, 0, -2, 0], [0, -0.0, 0, 0.25]], np.float32)
BIAS = np.array([3, -0.5], np.float32)

FLOAT32 = bytes.fromhex(
    "464b4c57010002000000202710131f9f406b00f5a66e4b77d12200000000000000000000000000000000"
    "3000000001190000000000000028b52ffd20523d0100900100040001000408020204000000000000000900"
    "200b18d0520e9498996f9719180d8c968136a57f80007d408080000000000000000000807e408000000000"
    "e2943b4b"
)
INT8_SHRUNK = bytes.fromhex(
    "464b4c57010002000000202710131f9f406b00f5a66e4b77d1222a294c4a9c276126c47e584eaf7e3396"
    "2f00000001150000000000000028b52ffd2052350100a00303000400010000000802000400000000000000"
    "070037034000808c60869951038c073004400402813c0402013bdf0180ff807e4080000000005d94ffec"
)


def test_a_float32_payload_of_version_1_still_opens():
    arrays, masks = decode_dense(FLOAT32, layout=LAYOUT)
    assert arrays["w"].tobytes() == WEIGHTS.tobytes()
    assert arrays["b"].tobytes() == BIAS.tobytes()
    assert masks["w"].tolist() == MASK.tolist()


def test_an_int8_payload_of_version_1_with_a_shrunken_mask_still_opens():
    known = MASK.copy()
    known[0, 1] = True
    arrays, masks = decode_dense(INT8_SHRUNK, layout=LAYOUT, known_masks={"w": known})
    steps = np.array([[95, 0, -127, 0], [0, 0, 0, 127]], np.float32)
    scales = np.array([[2 / 127], [0.25 / 127]], np.float32)
    assert arrays["w"].tolist() == (steps * scales).tolist()
    assert arrays["b"].tobytes() == BIAS.tobytes()
    assert masks["w"].tolist() == MASK.tolist()


def test_the_document_alone_is_enough_to_read_a_payload():
    magic, version, tensors = struct.unpack_from("<4sHI", FLOAT32, 0)
    assert (magic, version, tensors) == (b"FKLW", 1, 2)
    table_bytes, coding = struct.unpack_from("<IB", FLOAT32, 42)
    (body,) = struct.unpack_from("<Q", FLOAT32, 47)
    assert len(FLOAT32) == 55 + table_bytes + body + 4
    assert struct.unpack("<I", FLOAT32[-4:])[0] == zlib.crc32(FLOAT32[:-4])
    assert coding == 1
    table = zstandard.ZstdDecompressor().decompress(FLOAT32[55 : 55 + table_bytes])
    assert len(table) == 2 * 41
    mode, form, delta, *codings, kept, check = struct.unpack_from("<3B6BII", table, 0)
    assert (mode, form, delta, codings, kept, check) == (1, 0, 0, [0] * 6, 4, 0)
    lengths = struct.unpack_from("<6I", table, 17)
    assert lengths == (1, 0, 4, 4, 8, 0)
    at = 55 + table_bytes
    assert f"{FLOAT32[at]:08b}" == "10100101"
    exponents, tops, lows = FLOAT32[at + 1 : at + 5], FLOAT32[at + 5 : at + 9], FLOAT32[at + 9 :]
    values = []
    for number in range(4):
        top, low = tops[number], int.from_bytes(lows[2 * number : 2 * number + 2], "little")
        bits = (top >> 7) << 31 | exponents[number] << 23 | (top & 0x7F) << 16 | low
        values += struct.unpack("<f", struct.pack("<I", bits))
    assert values == [1.5, -2.0, 0.0, 0.25]


# ---------------------------------------------------------------------------- version 2


def read_symbols(section, count, mask, row):
    """Context coding, by the document's lines alone: plain Python, no part of the package."""
    read = lambda at: section[at] if at < len(section) else 0  # noqa: E731
    code, front, span = int.from_bytes([read(i) for i in range(4)], "big"), 4, 2**32 - 1
    last = before = rows = column = 0
    columns, contexts, sizes = [0] * row, {}, []
    for kept in mask:
        if kept:
            around = (16 * (2 * last + before) + rows + 2 * columns[column]) // 64
            level = sum(limit <= around for limit in (4, 16, 40, 80, 140, 220, 400))
            size, stopped = 0, False
            while size < 14 and not stopped:
                key = level, min(last, 2), size
                quick, slow, age = contexts.get(key, (32768, 32768, 0))
                split, age = span * (quick + slow) // 2**17, age + 1
                fast, steady = 2 ** min(age, 5), 2 ** min(age, 7)
                stopped = code < split
                if stopped:
                    quick, slow = quick + (65504 - quick) // fast, slow + (65504 - slow) // steady
                    span = split
                else:
                    quick, slow = quick - (quick - 32) // fast, slow - (slow - 32) // steady
                    code, span, size = code - split, span - split, size + 1
                contexts[key] = quick, slow, age
                while span < 2**24:
                    code, front, span = 256 * code + read(front), front + 1, 256 * span
            sizes.append(size)
            before, last = last, size
            rows += (256 * size - rows) // 16
            columns[column] += (256 * size - columns[column]) // 4
        column = (column + 1) % row
    bits = (byte >> place & 1 for byte in reversed(section) for place in range(8))
    used, symbols = 0, []
    for size in sizes:
        if size == 14:
            width = 0
            while next(bits):
                width += 1
            rest = 1
            for _ in range(width):
                rest = 2 * rest + next(bits)
            size, used = 13 + rest, used + 2 * width + 1
        negative = next(bits) if size else 0
        used += size > 0
        symbols.append(-size if negative else size)
    assert len(symbols) == count
    assert len(section) == front - 2 + -(-used // 8)
    return symbols


def test_the_document_alone_is_enough_to_read_a_change():
    pytest.importorskip("numba")
    generator = np.random.default_rng(0)
    layout = (TensorSpec("w", (6, 20), prunable=True), TensorSpec("b", (70,)))
    reference = {spec.name: generator.normal(size=spec.shape).astype(np.float32) for spec in layout}
    moved = {
        name: np.float32(0.1) * generator.standard_t(2, a.shape) for name, a in reference.items()
    }
    mask = generator.random((6, 20)) < 0.7
    writer = ChangeWriter({"w": mask}, None, layout)
    shares = {"w": 0.7, "b": 0.05}
    seen = {
        spec.name: writer.add(
            spec,
            np.float32(reference[spec.name] + moved[spec.name]),
            reference[spec.name],
            shares[spec.name],
        )
        for spec in layout
    }
    payload = writer.seal()
    _, version, tensors = struct.unpack_from("<4sHI", payload, 0)
    assert (version, tensors) == (2, 2)
    table_bytes, coding = struct.unpack_from("<IB", payload, 42)
    table = payload[55 : 55 + table_bytes]
    table = zstandard.ZstdDecompressor().decompress(table) if coding else table
    start, large = 55 + table_bytes, 0
    for number, spec in enumerate(layout):
        _, form, delta, *codings, kept, check = struct.unpack_from("<3B6BII", table, 41 * number)
        assert (form, delta, codings[1], codings[2]) == (4, 1, 0, 4)
        lengths = struct.unpack_from("<6I", table, 41 * number + 17)
        sections = []
        for length in lengths:
            sections.append(payload[start : start + length])
            start += length
        held = mask if spec.prunable else np.ones(spec.shape, np.bool_)
        (step,) = struct.unpack("<f", sections[1])
        row = 20 if spec.prunable else 1
        symbols = read_symbols(sections[2], kept, held.ravel().tolist(), row)
        large = max(large, *map(abs, symbols))
        values = np.array(symbols, np.float32) * np.float32(step) + reference[spec.name][held]
        assert values.tobytes() == seen[spec.name][held].tobytes()
        assert check == zlib.crc32(values.tobytes())
    assert large > 14
    assert start + 4 == len(payload)
