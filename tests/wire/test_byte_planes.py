"""Claims about fedklpr_flwr.wire.byte_planes."""

import numpy as np
import pytest

from fedklpr_flwr.wire.byte_planes import (
    apply_difference,
    difference,
    join_planes,
    plane_widths,
    split_planes,
)
from fedklpr_flwr.wire.dtypes import BFLOAT16, FLOAT16, FLOAT32, INT8, SYMBOL_DTYPES

FORMS = [FLOAT32, BFLOAT16, FLOAT16, INT8]


def random_symbols(form, seed, count=1000):
    dtype = SYMBOL_DTYPES[form]
    generator = np.random.default_rng(seed)
    symbols = generator.integers(0, np.iinfo(dtype).max, count, dtype, endpoint=True)
    return np.concatenate([symbols, np.array([0, 1, np.iinfo(dtype).max], dtype)])


def signed_rank(bits, width):
    """Slow: how many representable numbers lie between this one and +0."""
    top = 1 << (width - 1)
    return bits if bits < top else top - 1 - bits


def test_float32_is_split_into_exponent_sign_with_top_and_low_bits():
    # -1.5 = sign 1, exponent 127, mantissa 100...0; 2^-126 (1 + 2^-23) = 0, 1, 0...01
    symbols = np.array([0xBFC00000, 0x00800001], np.uint32)
    exponent, top, low = split_planes(symbols, FLOAT32, False)
    assert exponent.tolist() == [127, 1]
    assert top.tolist() == [0b11000000, 0]
    assert low.tolist() == [0, 0, 1, 0]


def test_bfloat16_is_split_like_the_upper_half_of_float32():
    planes = split_planes(np.array([0xBFC0], np.uint16), BFLOAT16, False)
    assert [plane.tolist() for plane in planes] == [[127], [0b11000000]]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("delta", [False, True])
def test_joined_planes_are_the_symbols(form, delta):
    symbols = random_symbols(form, 0)
    planes = split_planes(symbols, form, delta)
    assert [plane.size // symbols.size for plane in planes] == list(plane_widths(form, delta))
    joined = join_planes(planes, form, delta)
    assert joined.dtype == symbols.dtype
    assert joined.tolist() == symbols.tolist()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("delta", [False, True])
def test_no_values_make_empty_planes(form, delta):
    empty = np.empty(0, SYMBOL_DTYPES[form])
    assert join_planes(split_planes(empty, form, delta), form, delta).size == 0


@pytest.mark.parametrize("form", FORMS)
def test_a_difference_is_undone_to_the_bit(form):
    symbols, reference = random_symbols(form, 1), random_symbols(form, 2)
    steps = difference(symbols, reference)
    assert steps.dtype == symbols.dtype
    assert apply_difference(steps, reference).tolist() == symbols.tolist()


@pytest.mark.parametrize("form", [FLOAT32, BFLOAT16])
def test_a_difference_counts_the_representable_numbers_between(form):
    width = 8 * np.dtype(SYMBOL_DTYPES[form]).itemsize
    symbols, reference = random_symbols(form, 3, 50), random_symbols(form, 4, 50)
    for symbol, base, step in zip(
        symbols.tolist(), reference.tolist(), difference(symbols, reference).tolist(), strict=True
    ):
        apart = (signed_rank(symbol, width) - signed_rank(base, width)) % 2**width
        apart = apart - 2**width if apart >= 2 ** (width - 1) else apart
        assert step == (2 * apart if apart >= 0 else -2 * apart - 1)


def test_close_numbers_differ_by_little_even_across_zero():
    symbols = np.array([1e-45, 1.0, 1.0], np.float32).view(np.uint32)
    reference = np.array([-1e-45, 1.0, np.nextafter(np.float32(1), np.float32(2))], np.float32)
    assert difference(symbols, reference.view(np.uint32)).tolist() == [6, 0, 1]
