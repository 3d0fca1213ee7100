"""Claims about fedklpr_flwr.wire.entropy_bound."""

import math

import numpy as np
import pytest

from fedklpr_flwr.errors import WireError
from fedklpr_flwr.wire.entropy_bound import entropy_bound_bytes


def slow_bound(tensors, masks):
    bits = 0.0
    for name, array in tensors.items():
        mask = masks.get(name, np.ones(array.shape, np.bool_))
        kept = [float(v) for v, m in zip(array.ravel(), mask.ravel(), strict=True) if m]
        exponents = {}
        for value in kept:
            exponent = max(math.frexp(value)[1] + 126, 0) if value else 0
            exponents[exponent] = exponents.get(exponent, 0) + 1
        bits += 24 * len(kept)
        bits += sum(count * math.log2(len(kept) / count) for count in exponents.values())
        if name in masks:
            for count in (len(kept), mask.size - len(kept)):
                bits += count * math.log2(mask.size / count) if count else 0
    return bits / 8


def test_a_hand_sized_update():
    # Mask: 4 of 8 kept, 8 bits. Kept: 4 x 24 bits, exponents 1/2 and 1/2, 4 bits. 108 bits.
    array = np.array([1, 1.5, 2, 3, 0, 0, 0, 0], np.float32)
    assert entropy_bound_bytes({"w": array}, {"w": array > 0}) == 108 / 8


def test_a_dense_tensor_has_no_mask_to_tell():
    assert entropy_bound_bytes({"b": np.ones(8, np.float32)}, {}) == 24


def test_nothing_kept_costs_nothing():
    tensors = {"w": np.ones((2, 3), np.float32), "e": np.empty((0, 3), np.float32)}
    assert entropy_bound_bytes(tensors, {"w": np.zeros((2, 3), np.bool_)}) == 0


def test_the_formula_equals_a_loop():
    generator = np.random.default_rng(0)
    tensors = {
        "w": generator.normal(size=(6, 7)).astype(np.float32),
        "b": generator.normal(size=5).astype(np.float32),
        "s": np.float32(0.25).reshape(()),
    }
    masks = {"w": generator.random((6, 7)) < 0.3}
    expected = slow_bound(tensors, masks)
    assert entropy_bound_bytes(tensors, masks) == pytest.approx(expected, rel=1e-12)


def test_masks_and_dtypes_that_do_not_fit_are_refused():
    ones = np.ones(3, np.float32)
    with pytest.raises(WireError, match="belong"):
        entropy_bound_bytes({"w": ones}, {"v": ones > 0})
    with pytest.raises(WireError, match="expected bool"):
        entropy_bound_bytes({"w": ones}, {"w": np.ones(4, np.bool_)})
    with pytest.raises(WireError, match="float64"):
        entropy_bound_bytes({"w": np.ones(3)}, {})
