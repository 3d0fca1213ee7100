"""Claims about what numba compiles: the same as numpy, to the bit, on arrays that are worth it."""

import numpy as np
import pytest

from fedklpr_flwr.compiled_loops import WORTH_COMPILING
from fedklpr_flwr.wire.layout import TensorSpec
from fedklpr_flwr.wire.masks import SHRUNK, restore_mask

pytest.importorskip("numba")

SIZE = WORTH_COMPILING + 1003
RANDOM = np.random.default_rng(7)
MASK = RANDOM.random(SIZE) < 0.4
VALUES = RANDOM.standard_normal(SIZE).astype(np.float32)


def test_a_mask_shrinks_as_it_was_told():
    known, kept = MASK, MASK & (VALUES > 0)
    told = np.packbits(~kept[np.flatnonzero(known)])
    bits = int(known.sum())
    spec = TensorSpec("w", (SIZE,), prunable=True)
    restored = restore_mask(SHRUNK, told, spec, known, bits)
    assert np.array_equal(restored, kept)
