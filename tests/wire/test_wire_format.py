"""Claims about docs/wire-format.md: payloads of version 1 stay readable, to the byte."""

import struct
import zlib

import numpy as np
import zstandard

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
