"""Claims about what numba compiles: the same as numpy, to the bit, on arrays that are worth it."""

import numpy as np
import pytest

from fedklpr_flwr.algorithm.block_arithmetic import BY_NUMPY, arithmetic
from fedklpr_flwr.algorithm.merging import merge_tensor
from fedklpr_flwr.compiled import WORTH_COMPILING, places_of
from fedklpr_flwr.wire.compiled_join import join_compiled
from fedklpr_flwr.wire.forms import FLOAT32
from fedklpr_flwr.wire.kept_values import KeptValues
from fedklpr_flwr.wire.layout import TensorSpec
from fedklpr_flwr.wire.masks import SHRUNK, restore_mask
from fedklpr_flwr.wire.planes import apply_difference, difference, join_planes, split_planes

pytest.importorskip("numba")

SIZE = WORTH_COMPILING + 1003
RANDOM = np.random.default_rng(7)
MASK = RANDOM.random(SIZE) < 0.4
VALUES = RANDOM.standard_normal(SIZE).astype(np.float32)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_masks_places_are_flatnonzeros(share):
    mask = RANDOM.random(SIZE) < share
    assert np.array_equal(places_of(mask), np.flatnonzero(mask))


def test_small_arrays_are_not_compiled_for():
    assert arithmetic(WORTH_COMPILING - 1) is BY_NUMPY
    assert arithmetic(WORTH_COMPILING) is not BY_NUMPY


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_values_are_added_to_the_same_bit(whole, masked):
    places = slice(0, SIZE) if whole else np.flatnonzero(MASK)
    values = VALUES if whole else VALUES[MASK]
    sums = []
    for compute in (arithmetic(SIZE), BY_NUMPY):
        numerator, code = VALUES[::-1].copy(), (VALUES > 0).astype(np.uint8)
        mask = MASK if masked else None
        room = np.empty(SIZE, np.float32)
        compute.add(numerator, code, mask, places, values, np.float32(0.3), room)
        sums.append((numerator.tobytes(), code.tobytes()))
    assert sums[0] == sums[1], "numpy adds otherwise"


def test_means_are_divided_to_the_same_bit_and_nobodys_are_kept():
    code = RANDOM.integers(0, 4, SIZE).astype(np.uint8)
    table = np.zeros(256, np.float32)
    table[1:4] = 0.1, 0.7, 0.8
    means = []
    for compute in (arithmetic(SIZE), BY_NUMPY):
        merged, room = np.empty((2, SIZE), np.float32)
        compute.divide(VALUES.copy(), code, table, VALUES[::-1].copy(), merged, room)
        means.append(merged)
    assert np.array_equal(means[0].view(np.uint32), means[1].view(np.uint32))
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


def planes_of(delta):
    """The planes of what MASK keeps of VALUES, and the reference they are told against."""
    symbols, reference = VALUES[MASK].view(np.uint32), VALUES[::-1].copy()
    if not delta:
        return split_planes(symbols, FLOAT32, False), None
    steps = difference(symbols, reference[MASK].view(np.uint32))
    return split_planes(steps, FLOAT32, True), reference


@pytest.mark.parametrize("delta", [False, True])
def test_planes_are_joined_to_the_same_bit(delta):
    planes, reference = planes_of(delta)
    joined = np.empty(int(MASK.sum()), np.float32)
    assert join_compiled(planes, reference, 0, np.flatnonzero(MASK), joined)
    slow = join_planes(planes, FLOAT32, delta)
    if reference is not None:
        slow = apply_difference(slow, reference[MASK].view(np.uint32))
    assert np.array_equal(joined.view(np.uint32), slow)
    assert np.array_equal(joined, VALUES[MASK])


@pytest.mark.parametrize("delta", [False, True])
@pytest.mark.parametrize("dense", [False, True])
def test_a_block_of_a_large_tensor_is_that_of_the_whole(delta, dense):
    mask = np.ones(SIZE, np.bool_) if dense else MASK
    reference = VALUES[::-1].copy() if delta else None
    symbols = VALUES[mask].view(np.uint32)
    if reference is not None:
        symbols = difference(symbols, reference[mask].view(np.uint32))
    # Twice the size: only a tensor with many kept values is worth it.
    planes = [np.tile(plane, 2) for plane in split_planes(symbols, FLOAT32, delta)]
    count = int(mask.sum())
    kept = KeptValues("w", 2 * count, planes, FLOAT32, reference, None, lambda: None)
    start, stop = 4096, 70_000
    first = int(np.count_nonzero(mask[:start]))
    places = slice(0, stop - start) if dense else np.flatnonzero(mask[start:stop])
    block = kept.block(first, start, places)
    assert np.array_equal(block, VALUES[start:stop][mask[start:stop]])


def test_a_mask_shrinks_as_it_was_told():
    known, kept = MASK, MASK & (VALUES > 0)
    told = np.packbits(~kept[np.flatnonzero(known)])
    bits = int(known.sum())
    spec = TensorSpec("w", (SIZE,), prunable=True)
    restored = restore_mask(SHRUNK, told, spec, known, bits)
    assert np.array_equal(restored, kept)
