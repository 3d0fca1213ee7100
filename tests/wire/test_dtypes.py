"""Claims about fedklpr_flwr.wire.dtypes."""

import struct

import numpy as np
import pytest

from fedklpr_flwr.errors import WireError
from fedklpr_flwr.wire.dtypes import (
    BFLOAT16,
    FLOAT16,
    FLOAT32,
    INT8,
    channel_scales,
    check_finite,
    check_scales,
    form_of,
    from_symbols,
    to_symbols,
)


def numbers(*values):
    return np.array(values, np.float32)


def through(values, form, steps=None):
    return from_symbols(to_symbols(values, form, steps, "x"), form, steps)


def nearest_bfloat16(value):
    """Slow: of the two bfloat16 around a number the nearer one, the even one of a tie."""
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    below, above = bits >> 16, (bits >> 16) + 1
    far_below, far_above = bits - (below << 16), (above << 16) - bits
    if far_below == far_above:
        return below if below % 2 == 0 else above
    return below if far_below < far_above else above


def test_only_tensors_of_two_axes_or_more_are_rounded():
    assert form_of((64, 3, 7, 7), "int8") == INT8
    assert form_of((5, 5), "bfloat16") == BFLOAT16
    assert form_of((64,), "int8") == FLOAT32
    assert form_of((), "float16") == FLOAT32


def test_an_unknown_form_is_refused_by_name():
    with pytest.raises(WireError, match="int4"):
        form_of((2, 2), "int4")


def test_float32_keeps_every_bit():
    values = numbers(0.0, -0.0, 1e-45, -1.17e-38, 3.4e38, 1 / 3)
    assert through(values, FLOAT32).tobytes() == values.tobytes()


def test_bfloat16_rounds_to_nearest_even():
    generator = np.random.default_rng(0)
    values = generator.normal(size=500).astype(np.float32)
    ties = numbers(1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8, 1e-45, -0.0)
    values = np.concatenate([values, ties])
    expected = [nearest_bfloat16(value) for value in values]
    assert to_symbols(values, BFLOAT16, None, "x").tolist() == expected
    assert through(numbers(1 + 2**-8), BFLOAT16)[0] == 1.0


def test_float16_rounds_to_nearest_even():
    assert through(numbers(1 + 2**-11, 1 + 3 * 2**-11), FLOAT16).tolist() == [1, 1 + 2**-9]


@pytest.mark.parametrize(("form", "value"), [(FLOAT16, 65520.0), (BFLOAT16, 3.4e38)])
def test_a_value_beyond_the_largest_of_its_form_is_refused(form, value):
    with pytest.raises(WireError, match="values of x"):
        to_symbols(numbers(-value), form, None, "x")


def test_a_channels_largest_value_takes_127_steps():
    values = numbers(127, -1, 0.5, 2, -254)
    scales = channel_scales(values, np.array([3, 0, 2]))
    assert scales.tolist() == [1, 0, 2]
    steps = np.repeat(scales, [3, 0, 2])
    # 0.5 lies between 0 and 1 step: the even one.
    assert to_symbols(values, INT8, steps, "x").tolist() == [255, 127, 128, 129, 1]
    assert through(values, INT8, steps).tolist() == [127, -1, 0, 2, -254]


def test_int8_errs_by_half_a_step_at_most():
    values = np.random.default_rng(1).normal(size=1000).astype(np.float32)
    scale = channel_scales(values, np.array([1000]))[0]
    seen = through(values, INT8, np.full(1000, scale))
    assert np.abs(seen - values).max() <= scale * 0.5001


def test_a_channel_of_zeros_and_one_of_denormals_stay_finite():
    values = numbers(0, 0, 1e-45, -3e-45)
    steps = np.repeat(channel_scales(values, np.array([2, 2])), 2)
    seen = through(values, INT8, steps)
    assert seen[:2].tolist() == [0, 0]
    assert np.isfinite(seen).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_refused(value):
    with pytest.raises(WireError, match="values of x"):
        check_finite(numbers(1, value), "x")


@pytest.mark.parametrize("scale", [np.nan, np.inf, -1.0, 3.4e38])
def test_a_scale_that_cannot_be_is_refused(scale):
    with pytest.raises(WireError, match="scales of x"):
        check_scales(numbers(1, scale), "x")
