"""Claims about fedklpr_flwr.wire.change_entropy: small numbers below their order-0 entropy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedklpr_flwr.errors import WireError

pytest.importorskip("numba")
from fedklpr_flwr.wire.change_entropy import LARGEST, pack_symbols, unpack_symbols


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_what_is_packed_opens_to_the_same(data):
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    rows, row = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 60))
    spread = data.draw(st.sampled_from([0.3, 1.0, 20.0, 3000.0]))
    symbols = np.clip(generator.normal(size=rows * row) * spread, -LARGEST, LARGEST)
    symbols = symbols.astype(np.int16)
    mask = None if data.draw(st.booleans()) else generator.random(rows * row) < 0.5
    symbols = symbols if mask is None else symbols[mask]
    packed = pack_symbols(symbols, mask, row)
    if packed is not None:
        assert len(packed) < 2 * symbols.size
        opened = unpack_symbols(memoryview(packed), symbols.size, mask, row, "symbols")
        assert (opened == symbols).all()


def test_channels_of_different_scale_cost_less_than_their_order_0_entropy():
    generator = np.random.default_rng(0)
    scales = np.exp(generator.normal(size=(64, 1)))
    symbols = np.rint(generator.normal(size=(64, 288)) * scales).astype(np.int16).ravel()
    counts = np.bincount(symbols.view(np.uint16))
    shares = counts[counts > 0] / symbols.size
    order_0 = -(shares * np.log2(shares)).sum() * symbols.size / 8
    assert len(pack_symbols(symbols, None, 288)) < 0.9 * order_0


def test_noise_of_the_whole_range_stays_uncoded():
    generator = np.random.default_rng(0)
    symbols = generator.integers(-LARGEST, LARGEST, 100).astype(np.int16)
    assert pack_symbols(symbols, None, 10) is None


@pytest.mark.parametrize("change", ["cut", "longer", "padding"])
def test_bytes_that_no_sender_writes_are_refused(change):
    symbols = np.array([0, 1, -1, 0, 2, 0, 0, 1], np.int16)
    packed = pack_symbols(symbols, None, 4)
    damaged = {"cut": packed[:-1], "longer": packed + bytes(1), "padding": b""}[change]
    with pytest.raises(WireError, match="symbols: expected 8 coded numbers"):
        unpack_symbols(memoryview(damaged), 8, None, 4, "symbols")
