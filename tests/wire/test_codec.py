"""Claims about fedklpr_flwr.wire.codec: what goes in comes out, at the size that was promised."""

import importlib.util

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedklpr_flwr.errors import WireError
from fedklpr_flwr.wire.codec import decode_dense, encode, open_payload, quantise
from fedklpr_flwr.wire.entropy_bound import entropy_bound_bytes
from fedklpr_flwr.wire.layout import TensorSpec, layout_of

LEVELS = ["fast"] + ["tight"] * (importlib.util.find_spec("constriction") is not None)
FORMS = ["float32", "bfloat16", "float16", "int8"]


def same_bits(left, right):
    return left.shape == right.shape and left.tobytes() == right.tobytes()


def zeroed(array, mask):
    return np.where(mask, array, np.float32(0))


def small_model(seed=0):
    """A convolution, a linear layer, a bias, a running mean and a scalar."""
    generator = np.random.default_rng(seed)

    def draw(*shape):
        return np.asarray(generator.standard_t(6, shape) * 0.1, np.float32)

    tensors = {
        "conv": draw(8, 4, 3, 3),
        "bias": draw(8),
        "linear": draw(10, 72),
        "mean": draw(10),
        "scale": draw(),
    }
    masks = {
        name: np.abs(tensors[name]) > np.median(np.abs(tensors[name]))
        for name in ("conv", "linear")
    }
    return tensors, masks, layout_of(tensors, ["conv", "linear"])


def pruned_further(tensors, masks, share=0.1):
    return {
        name: mask & (np.abs(tensors[name]) > np.quantile(np.abs(tensors[name][mask]), share))
        for name, mask in masks.items()
    }


def wide_model(share, seed=0, shape=(256, 128, 3, 3)):
    generator = np.random.default_rng(seed)
    deviation = (2 / np.prod(shape[1:])) ** 0.5
    weights = (generator.standard_t(6, shape) * deviation).astype(np.float32)
    tensors = {"conv": weights, "bias": generator.normal(size=shape[0]).astype(np.float32)}
    masks = {"conv": np.abs(weights) >= np.quantile(np.abs(weights), share)} if share else {}
    return tensors, masks, layout_of(tensors, ["conv"])


@st.composite
def models(draw):
    shapes = draw(
        st.lists(st.lists(st.integers(0, 5), min_size=0, max_size=4).map(tuple), max_size=4)
    )
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    specials = np.array([0.0, -0.0, 1e-45, -1e-40, 1.0, 2.0**100, -65504.0], np.float32)
    tensors, masks, known, prunable = {}, {}, {}, []
    for number, shape in enumerate(shapes):
        name = f"t{number}"
        values = generator.normal(size=shape).astype(np.float32)
        special = generator.random(shape) < draw(st.sampled_from([0.0, 0.3, 1.0]))
        tensors[name] = np.where(special, generator.choice(specials, shape), values)
        if draw(st.booleans()):
            prunable.append(name)
            masks[name] = np.asarray(generator.random(shape) < draw(st.floats(0, 1)))
            grown = np.asarray(generator.random(shape) < draw(st.sampled_from([0.0, 0.5])))
            known[name] = masks[name] | grown
            if draw(st.booleans()):
                known[name] &= np.asarray(generator.random(shape) < 0.5)
    reference = {
        name: np.nextafter(array, np.float32(draw(st.sampled_from([0.0, 1.0]))))
        for name, array in tensors.items()
    }
    return tensors, masks, known, reference, layout_of(tensors, prunable)


@settings(max_examples=150, deadline=None)
@given(models(), st.booleans(), st.booleans(), st.sampled_from(LEVELS))
def test_float32_comes_back_to_the_bit(model, tell_known, tell_reference, level):
    tensors, masks, known, reference, layout = model
    held = {
        "known_masks": known if tell_known else None,
        "reference": reference if tell_reference else None,
    }
    payload = encode(tensors, masks, layout=layout, level=level, **held)
    arrays, decoded_masks = decode_dense(payload, layout=layout, **held)
    assert list(arrays) == list(tensors)
    for name, array in tensors.items():
        mask = masks.get(name, np.ones(array.shape, np.bool_))
        assert same_bits(arrays[name], zeroed(array, mask))
    assert set(decoded_masks) == set(masks)
    assert all(same_bits(decoded_masks[name], mask) for name, mask in masks.items())


@settings(max_examples=150, deadline=None)
@given(models(), st.booleans(), st.sampled_from(["bfloat16", "float16", "int8"]))
def test_a_lossy_form_comes_back_as_quantise_said(model, tell_reference, values):
    tensors, masks, known, reference, layout = model
    if values == "float16":
        tensors = {name: np.clip(array, -60000, 60000) for name, array in tensors.items()}
        reference = {name: np.clip(array, -60000, 60000) for name, array in reference.items()}
    held = {"known_masks": known, "reference": reference if tell_reference else None}
    payload = encode(tensors, masks, layout=layout, values=values, **held)
    arrays, _ = decode_dense(payload, layout=layout, **held)
    seen = quantise(tensors, masks, values=values)
    assert all(same_bits(arrays[name], seen[name]) for name in tensors)


def test_kept_weights_that_are_zero_stay_kept():
    weights = np.array([[0.0, 1.0, -0.0, 2.0]], np.float32)
    mask = np.array([[True, False, True, True]])
    layout = layout_of({"w": weights}, ["w"])
    payload = encode({"w": weights}, {"w": mask}, layout=layout)
    spec, decoded, values = open_payload(payload, layout=layout).tensor("w")
    assert decoded.tolist() == mask.tolist()
    assert values.tobytes() == np.array([0.0, -0.0, 2.0], np.float32).tobytes()
    assert spec == layout[0]


def test_pruned_values_are_not_in_the_payload():
    tensors, masks, layout = small_model()
    other = {
        name: np.where(masks[name], array, np.float32(np.nan)) if name in masks else array
        for name, array in tensors.items()
    }
    assert encode(other, masks, layout=layout) == encode(tensors, masks, layout=layout)


def test_the_same_model_gives_the_same_bytes():
    tensors, masks, layout = small_model()
    fortran = {name: np.array(array, order="F") for name, array in tensors.items()}
    assert encode(fortran, masks, layout=layout) == encode(tensors, masks, layout=layout)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("share", [0, 0.3, 0.5, 0.7, 0.9])
def test_the_payload_is_close_to_the_bound(level, share):
    tensors, masks, layout = wide_model(share)
    payload = encode(tensors, masks, layout=layout, level=level)
    ratio = len(payload) / entropy_bound_bytes(tensors, masks)
    assert ratio <= {"fast": 1.03, "tight": 1.006}[level]


def test_an_unchanged_mask_costs_its_hash():
    tensors, masks, layout = wide_model(0.5)
    payload = encode(tensors, masks, layout=layout, known_masks=masks)
    assert open_payload(payload, layout=layout, known_masks=masks).mask_bytes == 16
    told = encode(tensors, masks, layout=layout)
    saved = open_payload(told, layout=layout).mask_bytes
    # The header keeps room for the hash; the table compresses a little better or worse.
    assert abs(len(told) - len(payload) - saved) <= 16


def test_a_payload_says_what_its_parts_take():
    tensors, masks, layout = wide_model(0.5)
    payload = encode(tensors, masks, layout=layout)
    spent = open_payload(payload, layout=layout).spent
    short = [spec for spec in layout if len(spec.shape) < 2]
    assert short, "the model has no batch norm"
    pruned = sum(int((~mask).sum()) for mask in masks.values())
    assert spent.kept == sum(spec.size for spec in layout) - pruned
    # Leaving a part out leaves out its bytes, but for the table, which compresses otherwise.
    wide = tuple(spec for spec in layout if spec not in short)
    without = encode({s.name: tensors[s.name] for s in wide}, masks, layout=wide)
    record = 64
    assert abs(len(payload) - len(without) - spent.vectors) <= record * len(short)
    whole = open_payload(encode(tensors, {}, layout=layout), layout=layout).spent
    assert (whole.masks, whole.vectors) == (0, spent.vectors)


def test_all_bytes_are_of_masks_of_values_or_of_the_front():
    layout = (TensorSpec("a", (3,)), TensorSpec("b", (5,)))
    tensors = {spec.name: np.arange(spec.size, dtype=np.float32) for spec in layout}
    payload = encode(tensors, {}, layout=layout)
    spent = open_payload(payload, layout=layout).spent
    assert spent.front + spent.masks + spent.vectors == len(payload)
    nothing = open_payload(encode({}, {}, layout=()), layout=()).spent
    assert 0 < nothing.front < spent.front


def test_a_shrunken_mask_costs_about_the_entropy_of_what_was_pruned():
    tensors, masks, layout = wide_model(0.4)
    shrunk = pruned_further(tensors, masks, 0.1)
    payload = encode(tensors, shrunk, layout=layout, known_masks=masks)
    held = masks["conv"].sum()
    bound = held * -(0.1 * np.log2(0.1) + 0.9 * np.log2(0.9)) / 8
    spent = open_payload(payload, layout=layout, known_masks=masks).mask_bytes
    assert bound < spent < 1.08 * bound


@pytest.mark.parametrize(
    ("share", "values", "most"),
    [(0.5, "float32", 0.43), (0.5, "bfloat16", 0.18), (0.7, "int8", 0.09)],
)
def test_up_and_down_stay_under_their_share_of_dense(share, values, most):
    tensors, masks, layout = wide_model(1 - (1 - share) / 0.9)
    shrunk = pruned_further(tensors, masks, 0.1)
    up = encode(tensors, shrunk, layout=layout, known_masks=masks, values=values)
    down = encode(tensors, shrunk, layout=layout, known_masks=shrunk, values=values)
    dense = sum(array.nbytes for array in tensors.values())
    assert len(up) + len(down) <= most * 2 * dense


@pytest.mark.parametrize("values", FORMS)
def test_a_difference_is_sent_only_where_it_is_smaller(values):
    tensors, masks, layout = wide_model(0.5, shape=(64, 64, 3, 3))
    generator = np.random.default_rng(1)
    plain = encode(tensors, masks, layout=layout, values=values)
    near = {
        name: array * (1 + generator.normal(0, 1e-3, array.shape).astype(np.float32))
        for name, array in tensors.items()
    }
    far = {
        name: generator.normal(size=array.shape).astype(np.float32) for name, array in near.items()
    }
    close = encode(tensors, masks, layout=layout, values=values, reference=near)
    assert len(close) < 0.8 * len(plain)
    assert encode(tensors, masks, layout=layout, values=values, reference=far) == plain


def test_an_unchanged_model_is_almost_free_as_a_difference():
    tensors, masks, layout = wide_model(0.5, shape=(64, 64, 3, 3))
    held = {"known_masks": masks, "reference": tensors}
    assert len(encode(tensors, masks, layout=layout, **held)) < 300


def test_quantised_values_are_a_fixed_point():
    tensors, masks, _ = small_model()
    for values in ("bfloat16", "float16"):
        once = quantise(tensors, masks, values=values)
        twice = quantise(once, masks, values=values)
        assert all(same_bits(once[name], twice[name]) for name in tensors)


def test_float32_is_quantised_to_itself_with_zeros_where_pruned():
    tensors, masks, _ = small_model()
    seen = quantise(tensors, masks)
    assert same_bits(seen["bias"], tensors["bias"])
    assert same_bits(seen["conv"], zeroed(tensors["conv"], masks["conv"]))


def test_no_tensors_at_all_make_a_payload():
    payload = encode({}, {}, layout=())
    assert decode_dense(payload, layout=()) == ({}, {})


def test_what_does_not_fit_the_layout_is_refused():
    tensors, masks, layout = small_model()
    without = {name: array for name, array in tensors.items() if name != "mean"}
    with pytest.raises(WireError, match="mean is missing"):
        encode(without, masks, layout=layout)
    with pytest.raises(WireError, match="extra"):
        encode({**tensors, "extra": tensors["bias"]}, masks, layout=layout)
    with pytest.raises(WireError, match="not prunable"):
        encode(tensors, {"bias": np.ones(8, np.bool_)}, layout=layout)
    with pytest.raises(WireError, match="zip"):
        encode(tensors, masks, layout=layout, level="zip")
    with pytest.raises(WireError, match="int4"):
        encode(tensors, masks, layout=layout, values="int4")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_kept_value_that_is_not_finite_is_refused_by_tensor_name(value):
    tensors, masks, layout = small_model()
    tensors["mean"][3] = value
    with pytest.raises(WireError, match="values of mean"):
        encode(tensors, masks, layout=layout)
    with pytest.raises(WireError, match="values of mean"):
        quantise(tensors, masks)
