"""Claims about fedklpr_flwr.wire.header: a front that lies is refused, the field named."""

import zlib

import numpy as np
import pytest

from fedklpr_flwr.errors import WireError
from fedklpr_flwr.wire.codec import decode_dense, encode, open_payload
from fedklpr_flwr.wire.dtypes import FLOAT16
from fedklpr_flwr.wire.header import (
    CHECKSUM,
    FIRST_PLANE,
    HEADER,
    MASK,
    NO_HASH,
    SCALES,
    open_front,
    seal,
)
from fedklpr_flwr.wire.layout import layout_of
from fedklpr_flwr.wire.masks import DENSE, EXPLICIT, KNOWN, known_masks_hash

GENERATOR = np.random.default_rng(0)
TENSORS = {
    "conv": GENERATOR.normal(size=(16, 8, 3, 3)).astype(np.float32),
    "bias": GENERATOR.normal(size=11).astype(np.float32),
}
MASKS = {"conv": TENSORS["conv"] > 0.2}
LAYOUT = layout_of(TENSORS, ["conv"])
PAYLOAD = encode(TENSORS, MASKS, layout=LAYOUT)


def resealed(payload):
    """Repair the checksum of a payload that was tampered with."""
    body = bytes(payload[: -CHECKSUM.size])
    return body + CHECKSUM.pack(zlib.crc32(body))


def with_header(**changes):
    names = ["magic", "version", "count", "layout", "masks", "table_bytes", "coding", "body"]
    fields = dict(zip(names, HEADER.unpack_from(PAYLOAD), strict=True)) | changes
    return resealed(HEADER.pack(*fields.values()) + PAYLOAD[HEADER.size :])


def with_record(change, known_hash=NO_HASH):
    """Change the tensor table and seal the payload anew."""
    front = open_front(memoryview(PAYLOAD), LAYOUT)
    table = front.table.copy()
    change(table)
    return seal(table, [PAYLOAD[front.body : -CHECKSUM.size]], LAYOUT, known_hash)


def refused(payload, field, **held):
    with pytest.raises(WireError, match=field):
        decode_dense(payload, layout=LAYOUT, **held)


def test_the_helpers_leave_a_good_payload_good():
    for payload in (resealed(PAYLOAD), with_header(), with_record(lambda table: None)):
        arrays, _ = decode_dense(payload, layout=LAYOUT)
        assert arrays["bias"].tobytes() == TENSORS["bias"].tobytes()


@pytest.mark.parametrize("size", [0, 1, HEADER.size, HEADER.size + 3])
def test_a_payload_shorter_than_its_header_is_refused(size):
    refused(PAYLOAD[:size], "length")


def test_every_truncation_and_every_extension_is_refused():
    for size in range(0, len(PAYLOAD), 97):
        refused(PAYLOAD[:size], "length|checksum")
        refused(resealed(PAYLOAD[:size] + bytes(4)), "length|magic|version|layout")
    refused(PAYLOAD + b"x", "checksum")
    refused(resealed(PAYLOAD + b"x"), "length")


def test_every_flipped_bit_is_refused_by_the_checksum():
    for position in range(0, 8 * len(PAYLOAD), 31):
        damaged = bytearray(PAYLOAD)
        damaged[position // 8] ^= 1 << position % 8
        refused(damaged, "checksum|magic|version")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"magic": b"PK\x03\x04"}, "magic"),
        ({"version": 3}, "version"),
        ({"version": 2}, "form"),
        ({"count": 3}, "layout"),
        ({"layout": bytes(16)}, "layout"),
        ({"masks": b"m" * 16}, "mask hash"),
        ({"table_bytes": 0}, "length"),
        ({"table_bytes": 2**32 - 1}, "length"),
        ({"coding": 7}, "table: coding"),
        ({"coding": 0}, "table: expected"),
        ({"body": 0}, "length"),
        ({"body": 2**64 - 1}, "length"),
    ],
)
def test_a_header_that_lies_is_refused_by_field(changes, field):
    refused(with_header(**changes), field)


def test_another_architectures_payload_is_refused():
    other = {"conv": TENSORS["conv"], "bias": TENSORS["bias"][:10]}
    payload = encode(other, MASKS, layout=layout_of(other, ["conv"]))
    refused(payload, "layout: .*another model")


def set_to(field, row, value, column=None):
    def change(table):
        if column is None:
            table[field][row] = value
        else:
            table[field][row, column] = value

    return change


def shift_bytes(source, target, amount):
    def change(table):
        table["lengths"][0, source] -= amount
        table["lengths"][0, target] += amount

    return change


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (set_to("mask_mode", 0, 4), "mask mode of conv"),
        (set_to("mask_mode", 1, EXPLICIT), "mask mode of bias"),
        (set_to("mask_mode", 0, DENSE), "kept of conv"),
        (set_to("form", 0, 9), "form of conv"),
        (set_to("form", 1, FLOAT16), "form of bias"),
        (set_to("form", 0, FLOAT16), "sections of conv"),
        (set_to("delta", 0, 2), "delta of conv"),
        (set_to("delta", 1, 1), "plane 2 of bias"),
        (set_to("reference_check", 0, 5), "delta of conv"),
        (set_to("kept", 0, 2**32 - 1), "kept of conv"),
        (set_to("kept", 0, 3), "kept of conv"),
        (set_to("kept", 1, 10), "kept of bias"),
        (set_to("codings", 0, 1, MASK), "mask of conv"),
        (set_to("codings", 0, 200, FIRST_PLANE), "plane 0 of conv: coding"),
        (set_to("codings", 0, 1, SCALES), "sections of conv"),
        (set_to("lengths", 0, 2**32 - 1, MASK), "lengths"),
        (set_to("lengths", 1, 0, FIRST_PLANE + 2), "lengths"),
        (shift_bytes(FIRST_PLANE, FIRST_PLANE + 1, 5), "plane . of conv"),
        (shift_bytes(FIRST_PLANE + 2, MASK, 1), "mask of conv"),
        (shift_bytes(FIRST_PLANE + 2, FIRST_PLANE + 3, 1), "sections of conv"),
    ],
)
def test_a_table_that_lies_is_refused_by_field_and_tensor(change, field):
    refused(with_record(change), field)


def test_two_forms_in_one_payload_are_refused():
    weights = {"a": TENSORS["conv"], "b": TENSORS["conv"], "empty": np.empty((0, 3), np.float32)}
    layout = layout_of(weights, [])
    payload = encode(weights, {}, layout=layout, values="bfloat16")
    front = open_front(memoryview(payload), layout)
    for row in (1, 2):
        table = front.table.copy()
        table["form"][row] = FLOAT16
        lying = seal(table, [payload[front.body : -CHECKSUM.size]], layout, NO_HASH)
        with pytest.raises(WireError, match="form: tensors of two axes"):
            decode_dense(lying, layout=layout)


def test_a_mask_told_by_known_ones_without_their_hash_is_refused():
    refused(with_record(set_to("mask_mode", 0, KNOWN)), "mask hash|sections of conv")
    payload = encode(TENSORS, MASKS, layout=LAYOUT, known_masks=MASKS)
    fields = list(HEADER.unpack_from(payload))
    fields[4] = NO_HASH
    tampered = resealed(HEADER.pack(*fields) + payload[HEADER.size :])
    refused(tampered, "mask hash", known_masks=MASKS)


def test_a_lying_count_against_a_known_mask_is_refused():
    payload = encode(TENSORS, MASKS, layout=LAYOUT, known_masks=MASKS)
    front = open_front(memoryview(payload), LAYOUT)
    table = front.table.copy()
    table["kept"][0] += 1
    sections = [payload[front.body : -CHECKSUM.size]]
    lying = seal(table, sections, LAYOUT, known_masks_hash(MASKS, LAYOUT))
    refused(lying, "kept of conv", known_masks=MASKS)


@pytest.mark.parametrize("values", ["float32", "bfloat16", "float16", "int8"])
def test_numbers_that_are_not_finite_are_refused_on_arrival(values):
    weights = {"conv": np.full((4, 4), 3, np.float32)}
    layout = layout_of(weights, [])
    payload = encode(weights, {}, layout=layout, values=values)
    front = open_front(memoryview(payload), layout)
    # Every section of 16 equal values is a short zstd frame or raw; write all-ones bytes instead.
    widths = {"float32": [16, 16, 32], "bfloat16": [16, 16], "float16": [16, 16], "int8": [16]}
    planes = [b"\xff" * width for width in widths[values]]
    scales = np.full(4, np.nan if values == "int8" else 0, np.float32).tobytes()
    sections = [b"", scales if values == "int8" else b"", *planes]
    table = front.table.copy()
    table["codings"][:] = 0
    table["lengths"][:] = 0
    table["lengths"][0, : len(sections)] = [len(section) for section in sections]
    lying = seal(table, sections, layout, NO_HASH)
    with pytest.raises(WireError, match=r"values of conv|scales of conv"):
        open_payload(lying, layout=layout).tensor("conv")


def test_the_one_int8_that_no_sender_writes_is_refused():
    weights = {"conv": np.arange(16, dtype=np.float32).reshape(4, 4)}
    layout = layout_of(weights, [])
    payload = encode(weights, {}, layout=layout, values="int8")
    front = open_front(memoryview(payload), layout)
    table = front.table.copy()
    assert table["lengths"][0].tolist() == [0, 16, 16, 0, 0, 0]
    sections = payload[front.body : front.body + 16] + bytes(16)
    with pytest.raises(WireError, match="int8 runs from -127"):
        decode_dense(seal(table, [sections], layout, NO_HASH), layout=layout)
