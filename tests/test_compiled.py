"""Claims about what numba compiles: the same as numpy, to the bit, on arrays that are worth it."""

import numpy as np
import pytest

from fedklpr_flwr.algorithm.block_arithmetic import (
    ALL_HELD,
    add_by_numpy,
    add_compiled,
    divide,
    divide_compiled,
    is_compiled,
)
from fedklpr_flwr.algorithm.merging import merge_model, merge_tensor
from fedklpr_flwr.compiled import WORTH_COMPILING
from fedklpr_flwr.wire.byte_planes import difference, split_planes
from fedklpr_flwr.wire.dtypes import BFLOAT16, FLOAT32
from fedklpr_flwr.wire.layout import TensorSpec
from fedklpr_flwr.wire.lazy_values import KeptValues
from fedklpr_flwr.wire.masks import SHRUNK, restore_mask

pytest.importorskip("numba")

SIZE = WORTH_COMPILING + 1003
RANDOM = np.random.default_rng(7)
MASK = RANDOM.random(SIZE) < 0.4
VALUES = RANDOM.standard_normal(SIZE).astype(np.float32)


def same_bits(one, other):
    return np.array_equal(one.view(np.uint32), other.view(np.uint32))


def test_small_tensors_are_not_compiled_for():
    assert is_compiled(WORTH_COMPILING)
    assert not is_compiled(WORTH_COMPILING - 1)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_values_are_added_to_the_same_bit(whole, masked):
    places = slice(0, SIZE) if whole else np.flatnonzero(MASK)
    values = VALUES if whole else VALUES[MASK]
    numerators, codes = (
        [VALUES[::-1].copy() for _ in range(2)],
        [(VALUES > 0).astype(np.uint8) for _ in range(2)],
    )
    room, weight = np.empty(SIZE, np.float32), np.float32(0.3)
    mask = MASK if masked else None
    add_by_numpy(numerators[0], codes[0], mask, places, values, weight, room)
    bits = MASK.view(np.uint8)
    held, counted = ALL_HELD if whole else bits, bits if masked else ALL_HELD
    taken = add_compiled(numerators[1], codes[1], [(values, held, counted)], [weight])
    assert taken == [values.size]
    assert same_bits(*numerators)
    assert np.array_equal(*codes)


def test_means_are_divided_to_the_same_bit_and_nobodys_are_kept():
    code = RANDOM.integers(0, 4, SIZE).astype(np.uint8)
    table = np.zeros(256, np.float32)
    table[1:4] = 0.1, 0.7, 0.8
    means = []
    for way in (divide, divide_compiled):
        merged, room = np.empty((2, SIZE), np.float32)
        way(VALUES.copy(), code, table, VALUES[::-1].copy(), merged, room)
        means.append(merged)
    assert same_bits(*means)
    assert np.array_equal(means[0][code == 0], VALUES[::-1][code == 0])


@pytest.mark.parametrize("clients", [3, 11])
def test_a_large_tensor_is_merged_as_small_ones_are(clients):
    updates = []
    for number in range(clients):
        mask = np.random.default_rng(number).random(SIZE) < 0.5
        updates.append((0.1 + 0.05 * number, mask, (VALUES * (1 + number))[mask]))
    whole = merge_tensor("w", VALUES, updates)
    cut = WORTH_COMPILING // 2
    begins = [int(np.count_nonzero(mask[:cut])) for _, mask, _ in updates]
    pairs = list(zip(updates, begins, strict=True))
    small = [
        merge_tensor("w", VALUES[:cut], [(w, m[:cut], v[:b]) for (w, m, v), b in pairs]),
        merge_tensor("w", VALUES[cut:], [(w, m[cut:], v[b:]) for (w, m, v), b in pairs]),
    ]
    assert len(small[1]) >= cut
    assert np.array_equal(whole.view(np.uint32), np.concatenate(small).view(np.uint32))


@pytest.mark.parametrize("delta", [False, True])
def test_a_block_of_one_pruned_coordinate_is_not_taken_for_one_that_all_hold(delta):
    """What is left of a tensor after whole blocks may be a single coordinate."""
    previous, mask = np.full(SIZE, 5, np.float32), np.ones(SIZE, np.bool_)
    mask[-1] = False
    reference = previous if delta else None
    symbols = VALUES[:-1].view(np.uint32)
    if reference is not None:
        symbols = difference(symbols, reference[:-1].view(np.uint32))
    planes = split_planes(symbols, FLOAT32, delta)
    kept = KeptValues("w", SIZE - 1, planes, FLOAT32, reference, None, lambda: None)
    numerator, code, pruned = np.zeros(1, np.float32), np.zeros(1, np.uint8), np.zeros(1, np.uint8)
    weight = np.float32(1)
    assert kept.add_block(SIZE - 1, SIZE - 1, numerator, code, pruned, pruned, weight) == 0
    assert add_compiled(numerator, code, [(VALUES[:0], pruned, pruned)], [weight]) == [0]
    assert (numerator[0], code[0]) == (0, 0)


@pytest.mark.parametrize("clients", [3, 11])
def test_small_tensors_beside_a_large_one_are_merged_as_they_are_alone(clients):
    model = {"large": VALUES, "small": VALUES[:1003], "one": VALUES[:1]}
    updates = {}
    for name, previous in model.items():
        masks = [np.random.default_rng(k).random(previous.size) < 0.5 for k in range(clients)]
        updates[name] = [
            (0.1 + 0.05 * k, mask, previous[mask] * (1 + k)) for k, mask in enumerate(masks)
        ]
        updates[name][1] = 0.3, None, -previous
    beside = merge_model(
        model, lambda name: [lambda update=update: update for update in updates[name]], threads=2
    )
    for name in ("small", "one"):
        assert same_bits(beside[name], merge_tensor(name, model[name], updates[name]))


@pytest.mark.parametrize("delta", [False, True])
@pytest.mark.parametrize("dense", [False, True])
def test_planes_are_joined_and_added_to_the_same_bit(delta, dense):
    """A block in the middle of a tensor, beside what numpy decodes and adds."""
    mask = np.ones(SIZE, np.bool_) if dense else MASK
    reference = VALUES[::-1].copy() if delta else None
    symbols = VALUES[mask].view(np.uint32)
    if reference is not None:
        symbols = difference(symbols, reference[mask].view(np.uint32))
    planes = split_planes(symbols, FLOAT32, delta)
    kept = KeptValues("w", int(mask.sum()), planes, FLOAT32, reference, None, lambda: None)
    start, stop = 4096, 70_001
    first, size = int(np.count_nonzero(mask[:start])), stop - start
    places = slice(0, size) if dense else np.flatnonzero(mask[start:stop])
    block = kept.block(first, start, places)
    assert np.array_equal(block, VALUES[start:stop][mask[start:stop]])
    numerators, codes = np.zeros((2, size), np.float32), np.ones((2, size), np.uint8)
    bits, weight = mask[start:stop], np.float32(0.7)
    room = np.empty(size, np.float32)
    add_by_numpy(numerators[0], codes[0], bits, places, block, weight, room)
    held = ALL_HELD if dense else bits.view(np.uint8)
    taken = kept.add_block(first, start, numerators[1], codes[1], held, held, weight)
    assert taken == block.size
    assert same_bits(*numerators)
    assert np.array_equal(*codes)


def test_other_forms_have_no_loop_and_nothing_is_done():
    planes = split_planes((VALUES.view(np.uint32) >> 16).astype(np.uint16), BFLOAT16, False)
    kept = KeptValues("w", SIZE, planes, BFLOAT16, None, None, lambda: None)
    numerator, code = np.zeros(SIZE, np.float32), np.zeros(SIZE, np.uint8)
    assert kept.add_block(0, 0, numerator, code, ALL_HELD, ALL_HELD, np.float32(1)) == -1
    assert not numerator.any()
    assert not code.any()


def test_a_mask_shrinks_as_it_was_told():
    known, kept = MASK, MASK & (VALUES > 0)
    told = np.packbits(~kept[np.flatnonzero(known)])
    bits = int(known.sum())
    spec = TensorSpec("w", (SIZE,), prunable=True)
    restored = restore_mask(SHRUNK, told, spec, known, bits)
    assert np.array_equal(restored, kept)
