"""Claims about fedklpr_flwr.wire.layout."""

import hashlib

import numpy as np
import pytest

from fedklpr_flwr.errors import WireError
from fedklpr_flwr.wire.layout import (
    TensorSpec,
    check_layout,
    flat_array,
    layout_hash,
    layout_of,
)

TENSORS = {"conv": np.zeros((2, 3, 1, 1), np.float32), "bias": np.zeros(2, np.float32)}


def test_a_layout_lists_the_tensors_in_their_own_order():
    layout = layout_of(TENSORS, ["conv"])
    assert layout == (
        TensorSpec("conv", (2, 3, 1, 1), "float32", True),
        TensorSpec("bias", (2,), "float32", False),
    )


def test_a_scalar_has_one_coordinate_and_one_channel():
    spec = TensorSpec("scale", ())
    assert (spec.size, spec.channels) == (1, 1)


def test_the_hash_is_the_documented_one():
    text = b"conv|2,3,1,1|float32|1\nbias|2|float32|0\n"
    expected = hashlib.blake2b(text, digest_size=16).digest()
    assert layout_hash(layout_of(TENSORS, ["conv"])) == expected


def test_the_hash_changes_with_name_shape_order_and_prunability():
    conv, bias = layout_of(TENSORS, ["conv"])
    layouts = [
        (conv, bias),
        (bias, conv),
        (conv,),
        (TensorSpec("conv2", conv.shape, prunable=True), bias),
        (TensorSpec("conv", (3, 2, 1, 1), prunable=True), bias),
        (TensorSpec("conv", conv.shape), bias),
    ]
    assert len({layout_hash(layout) for layout in layouts}) == len(layouts)


def test_a_prunable_name_that_is_no_tensor_is_refused():
    with pytest.raises(WireError, match="cnov"):
        layout_of(TENSORS, ["cnov"])


@pytest.mark.parametrize(
    "layout",
    [
        (TensorSpec("a", (1,)), TensorSpec("a", (2,))),
        (TensorSpec("counter", (), "int64"),),
        (TensorSpec("huge", (2**16, 2**16)),),
    ],
)
def test_a_layout_that_cannot_travel_is_refused(layout):
    with pytest.raises(WireError, match="layout"):
        check_layout(layout)


def test_numbers_are_read_in_row_major_order_whatever_their_memory_order():
    array = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    flat = flat_array({"a": array}, TensorSpec("a", (2, 3)))
    assert flat.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_missing_tensor_a_wrong_shape_and_a_wrong_dtype_are_refused():
    spec = TensorSpec("a", (2,))
    with pytest.raises(WireError, match="missing"):
        flat_array({}, spec)
    with pytest.raises(WireError, match="float32"):
        flat_array({"a": np.zeros(3, np.float32)}, spec)
    with pytest.raises(WireError, match="float64"):
        flat_array({"a": np.zeros(2)}, spec)
