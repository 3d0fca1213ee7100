"""Claims about fedklpr_flwr.wire.masks."""

import hashlib

import numpy as np
import pytest

from fedklpr_flwr.errors import WireError
from fedklpr_flwr.wire import masks as wire_masks
from fedklpr_flwr.wire.layout import TensorSpec
from fedklpr_flwr.wire.masks import (
    DENSE,
    EXPLICIT,
    KNOWN,
    SHRUNK,
    describe_mask,
    flat_mask,
    kept_per_channel,
    known_masks_hash,
    restore_mask,
    told_bits,
)

SPEC = TensorSpec("conv", (2, 5), prunable=True)


def bits(text):
    return np.array([letter == "1" for letter in text])


@pytest.mark.parametrize(
    ("mask", "known", "mode", "told"),
    [
        (None, None, DENSE, []),
        ("1111111111", None, DENSE, []),
        ("1111111111", "1010101010", DENSE, []),
        ("1100000001", None, EXPLICIT, [0b11000000, 0b01000000]),
        ("1100000001", "1100000001", KNOWN, []),
        # Of the five known survivors the second and the fifth were pruned.
        ("1000110000", "1100110001", SHRUNK, [0b01001000]),
        # Grown by its last coordinate: only the whole mask can tell.
        ("1100000001", "1100000000", EXPLICIT, [0b11000000, 0b01000000]),
    ],
)
def test_a_mask_is_told_in_the_cheapest_way_and_restored(mask, known, mode, told):
    mask = None if mask is None else bits(mask)
    known = None if known is None else bits(known)
    actual_mode, packed = describe_mask(mask, known)
    assert (actual_mode, packed.tolist()) == (mode, told)
    restored = restore_mask(mode, packed, SPEC, known, told_bits(mode, SPEC, known))
    if mode == DENSE:
        assert restored is None
    else:
        assert restored.tolist() == mask.tolist()


def test_a_restored_mask_does_not_share_memory_with_the_known_one():
    known = bits("1100000001")
    restored = restore_mask(KNOWN, np.empty(0, np.uint8), SPEC, known, 0)
    restored[:] = False
    assert known.sum() == 3


def test_bits_beyond_the_end_of_a_mask_are_refused():
    packed = np.array([0xFF, 0b11100000], np.uint8)
    with pytest.raises(WireError, match="mask of conv: bits are set beyond"):
        restore_mask(EXPLICIT, packed, SPEC, None, 10)


def test_a_mask_of_several_blocks_shrinks_as_it_was_told():
    generator = np.random.default_rng(7)
    size = 3 * wire_masks._BLOCK + 1003
    known, kept = generator.random((2, size)) < 0.6
    told = np.packbits(~kept[known])
    spec = TensorSpec("w", (size,), prunable=True)
    restored = restore_mask(SHRUNK, told, spec, known, int(known.sum()))
    assert np.array_equal(restored, known & kept)


def test_a_mask_told_by_a_known_one_that_nobody_holds_is_refused():
    with pytest.raises(WireError, match="none is held"):
        restore_mask(SHRUNK, np.empty(0, np.uint8), SPEC, None, 0)


def test_the_hash_is_the_documented_one_and_an_absent_mask_keeps_everything():
    layout = (SPEC, TensorSpec("bias", (3,)))
    expected = hashlib.blake2b(bytes([0xFF, 0b11000000]), digest_size=16).digest()
    assert known_masks_hash({}, layout) == expected
    assert known_masks_hash({"conv": np.ones((2, 5), np.bool_)}, layout) == expected


def test_the_hash_changes_with_every_single_bit():
    hashes = set()
    for position in range(10):
        mask = np.ones(10, np.bool_)
        mask[position] = False
        hashes.add(known_masks_hash({"conv": mask.reshape(2, 5)}, (SPEC,)))
    assert len(hashes) == 10


def test_kept_coordinates_are_counted_for_each_output_channel():
    assert kept_per_channel(bits("1100000001"), SPEC).tolist() == [2, 1]
    assert kept_per_channel(None, SPEC).tolist() == [5, 5]
    assert kept_per_channel(None, TensorSpec("empty", (0, 4))).tolist() == []
    assert kept_per_channel(np.zeros(0, np.bool_), TensorSpec("empty", (3, 0))).tolist() == [0] * 3


def test_a_mask_of_another_shape_or_dtype_or_of_a_dense_tensor_is_refused():
    with pytest.raises(WireError, match=r"expected bool \(2, 5\)"):
        flat_mask({"conv": np.ones(10, np.bool_)}, SPEC)
    with pytest.raises(WireError, match="uint8"):
        flat_mask({"conv": np.ones((2, 5), np.uint8)}, SPEC)
    with pytest.raises(WireError, match="not prunable"):
        flat_mask({"bias": np.ones(3, np.bool_)}, TensorSpec("bias", (3,)))
