"""Claims about the messages of a secure sum: what is written is read, and nothing else is."""

import json
import zlib

import numpy as np
import pytest

from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.errors import WireError
from fedklpr_flwr.protocol.secure.stages import (
    Advert,
    OpenTask,
    ValuesTask,
    pack,
    pack_values,
    sum_notes,
    unpack,
    unpack_values,
)

ADVERT = Advert("key", "other key", "mask", (-3, 0, 64))
TASK = ValuesTask(("ash", "birch"), ("", "sealed"), (0.25, 0.75), (-3, 2))


def written(content):
    """Bytes with the checksum that they need to be read at all."""
    inner = content if isinstance(content, bytes) else json.dumps(content).encode()
    return inner + zlib.crc32(inner).to_bytes(4, "little")


@pytest.mark.parametrize("said", [ADVERT, TASK, OpenTask(())])
def test_what_is_packed_is_unpacked(said):
    assert unpack(type(said), memoryview(pack(said))) == said


@pytest.mark.parametrize(
    "content",
    [
        {},
        [],
        None,
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        {"clients": "ash"},
        {"clients": [1]},
        {"clients": [["ash"]]},
        {"clients": None},
    ],
)
def test_anything_else_is_an_error_in_words(content):
    with pytest.raises(WireError, match="expected OpenTask, got what cannot be read as one"):
        unpack(OpenTask, written(content))


@pytest.mark.parametrize(
    "change",
    [
        {"exponents": [1.5]},
        {"exponents": [True]},
        {"exponents": ["1"]},
        {"weights": [float("nan"), 1.0]},
        {"weights": [1e999, 0]},
        {"weights": [True, False]},
        {"sealed": [b"x".hex(), 3]},
    ],
)
def test_values_of_another_kind_are_refused(change):
    said = {"clients": ["a", "b"], "sealed": ["", ""], "weights": [1, 0], "exponents": [1]}
    assert unpack(ValuesTask, written(said)).weights == (1.0, 0.0)
    with pytest.raises(WireError, match="expected ValuesTask"):
        unpack(ValuesTask, written({**said, **change}))


def test_every_cut_and_every_turned_bit_is_seen():
    whole = pack(ADVERT)
    for end in range(len(whole)):
        with pytest.raises(WireError):
            unpack(Advert, whole[:end])
    for place in range(len(whole)):
        turned = bytearray(whole)
        turned[place] ^= 16
        with pytest.raises(WireError):
            unpack(Advert, turned)


def test_what_is_too_long_is_refused_unread():
    with pytest.raises(WireError, match="at most 33554432 bytes"):
        unpack(Advert, bytes((1 << 25) + 1))


def test_numbers_take_two_bytes_each_and_come_back():
    values = np.array([0, 1, 258, 65_535], np.uint16)
    content = pack_values(values)
    assert content[:8] == bytes([0, 0, 1, 0, 2, 1, 255, 255])
    assert len(content) == 2 * 4 + 4
    assert unpack_values(memoryview(content), 4).tolist() == values.tolist()
    assert unpack_values(pack_values(values[:0]), 0).size == 0
    for wrong in (3, 5):
        with pytest.raises(WireError, match=f"for {wrong} of them, got 12"):
            unpack_values(content, wrong)


def test_a_run_says_before_it_starts_what_a_sum_leaves_open():
    settings = compose_settings("smoke", ("privacy=secure_aggregation",))
    assert "without being named" in " ".join(sum_notes(settings, 3))
    assert len(sum_notes(settings, 3)) == 1
    assert "of two clients each computes the other's update" in sum_notes(settings, 2)[1]
    assert sum_notes(compose_settings("smoke", ()), 2) == []
