"""Claims about fedklpr_flwr.wire.size_limit: no payload of a layout is longer."""

import importlib.util

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedklpr_flwr.wire.codec import encode
from fedklpr_flwr.wire.layout import TensorSpec, layout_of
from fedklpr_flwr.wire.size_limit import largest_payload

LEVELS = ["fast"] + ["tight"] * (importlib.util.find_spec("constriction") is not None)


def noise(generator, shape):
    """Floats whose bits are as random as finite ones can be."""
    bits = generator.integers(0, 2**32, shape, dtype=np.uint32)
    values = np.asarray(bits).view(np.float32)
    return np.where(np.isfinite(values), values, np.float32(1))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_no_payload_is_longer_than_the_largest(data):
    shapes = data.draw(st.lists(st.lists(st.integers(0, 9), max_size=3).map(tuple), max_size=4))
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    form = data.draw(st.sampled_from(["float32", "bfloat16", "float16", "int8"]))
    draw = noise if form == "float32" else lambda rng, shape: np.float32(rng.normal(size=shape))
    tensors = {f"t{n}": np.asarray(draw(generator, shape)) for n, shape in enumerate(shapes)}
    density = data.draw(st.sampled_from([0.0, 0.5, 0.99, 1.0]))
    masks = {n: np.asarray(generator.random(t.shape) < density) for n, t in tensors.items()}
    known = {n: mask | (generator.random(mask.shape) < 0.5) for n, mask in masks.items()}
    reference = {n: np.asarray(draw(generator, t.shape)) for n, t in tensors.items()}
    layout = layout_of(tensors, masks)
    payload = encode(
        tensors,
        masks,
        layout=layout,
        known_masks=data.draw(st.sampled_from([None, known])),
        reference=data.draw(st.sampled_from([None, reference])),
        values=form,
        level=data.draw(st.sampled_from(LEVELS)),
    )
    assert len(payload) <= largest_payload(layout)


@pytest.mark.parametrize(
    ("spec", "size"),
    [
        (TensorSpec("w", (2, 8), prunable=True), 2 + 64),
        (TensorSpec("w", (3, 3), prunable=True), 2 + 36),
        (TensorSpec("b", (5,)), 20),
        (TensorSpec("s", ()), 6),  # a step and a symbol of a change
        (TensorSpec("none", (5, 0)), 20),
        (TensorSpec("thin", (5, 1)), 25),
    ],
)
def test_a_tensor_has_its_mask_and_the_largest_of_its_forms(spec, size):
    assert largest_payload((spec,)) == 55 + 41 + size + 4
