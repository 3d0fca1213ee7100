"""Claims about the benchmark `wire`: a codec that is fast, or short, and wrong is not `ok`."""

import numpy as np
import pytest

from experiments.benchmarks import wire
from experiments.benchmarks.wire import is_same, wire_rows
from fedklpr_flwr.wire.layout import layout_of

NAMES = ["conv"]


@pytest.fixture(scope="module")
def model():
    generator = np.random.default_rng(0)
    return {
        "bias": generator.standard_normal(32, np.float32),
        "conv": generator.standard_normal((32, 8, 3, 3), np.float32),
    }


@pytest.fixture
def wrong(model, monkeypatch):
    """The names of the rows that are not `ok`, whatever their bytes and times."""
    pytest.importorskip("constriction")
    right = wire.make_row

    def unbounded(name, value, unit, anchor, *bounds, equal=True):
        return right(name, value, unit, anchor, equal=equal)

    monkeypatch.setattr(wire, "make_row", unbounded)
    return lambda: {row["name"] for row in wire_rows(model, NAMES, repeats=1) if not row["ok"]}


@pytest.fixture(scope="module")
def ours(model):
    pytest.importorskip("constriction")
    rows = wire_rows(model, NAMES, repeats=1)
    return {row["name"] for row in rows if not row["name"].startswith("other_")}


def test_the_right_codec_is_ok(wrong):
    assert wrong() == set()


def test_an_encoder_that_leaves_out_a_weight_is_not_ok_in_any_row(wrong, ours, monkeypatch):
    right = wire.encode

    def encode(tensors, masks, **options):
        return right({**tensors, "bias": np.zeros_like(tensors["bias"])}, masks, **options)

    monkeypatch.setattr(wire, "encode", encode)
    assert wrong() == ours


def test_an_encoder_that_keeps_a_pruned_weight_is_not_ok_where_something_is_pruned(
    wrong, ours, monkeypatch
):
    right = wire.encode

    def encode(tensors, masks, **options):
        return right(tensors, {}, **options)

    monkeypatch.setattr(wire, "encode", encode)
    assert wrong() == ours - {"lossless_over_bound_fast_00", "lossless_over_bound_tight_00"}


def test_a_lossy_form_in_place_of_a_lossless_one_is_not_ok(wrong, ours, monkeypatch):
    """The other lossy forms are what was asked for."""
    right = wire.encode

    def encode(tensors, masks, *, values="float32", **options):
        form = "bfloat16" if values == "float32" else values
        return right(tensors, masks, values=form, **options)

    monkeypatch.setattr(wire, "encode", encode)
    assert wrong() == ours - {"round_trip_50_bfloat16", "round_trip_70_int8"}


def test_a_wrong_lossy_form_is_not_ok(wrong, monkeypatch):
    right = wire.encode

    def encode(tensors, masks, *, values="float32", **options):
        form = "float16" if values != "float32" else values
        return right(tensors, masks, values=form, **options)

    monkeypatch.setattr(wire, "encode", encode)
    assert wrong() == {"round_trip_50_bfloat16", "round_trip_70_int8"}


def test_a_decoder_that_is_asked_for_whole_arrays_alone_spoils_no_stream(wrong, ours, monkeypatch):
    right = wire.decode_dense

    def decode(payload, **options):
        arrays, masks = right(payload, **options)
        return {**arrays, "bias": -arrays["bias"]}, masks

    monkeypatch.setattr(wire, "decode_dense", decode)
    assert wrong() == ours - {"decode_tensors_mb_s"}


def test_a_stream_that_ends_early_is_not_ok(wrong, monkeypatch):
    """mask_unchanged_bytes asks the payload for its count, and nothing else of it."""
    right = wire.open_payload

    class Short:
        def __init__(self, payload, **options):
            self.opened = right(payload, **options)
            self.mask_bytes = self.opened.mask_bytes

        def __iter__(self):
            return iter([next(iter(self.opened))])

    monkeypatch.setattr(wire, "open_payload", Short)
    assert wrong() == {"decode_tensors_mb_s"}


def test_what_is_decoded_is_compared_to_the_sign_of_a_zero():
    tensors = {"w": np.float32([[1, 0]])}
    layout, mask = layout_of(tensors, ["w"]), np.array([[True, False]])
    assert is_same((tensors, {"w": mask}), tensors, {"w": mask}, layout)
    assert is_same((tensors, {"w": ~mask | mask}), tensors, {}, layout)
    assert not is_same((tensors, {"w": mask}), tensors, {}, layout)
    assert not is_same(({"w": np.float32([[1, -0.0]])}, {"w": mask}), tensors, {"w": mask}, layout)
    assert not is_same(({}, {"w": mask}), tensors, {"w": mask}, layout)
