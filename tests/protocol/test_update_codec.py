"""Claims about fedklpr_flwr.protocol.update_codec: deltas, and what lossy forms owe."""

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save

from fedklpr_flwr.model.mask_file import FullMasks
from fedklpr_flwr.protocol.update_codec import (
    encode_update,
    open_update,
    quantise_downlink,
    uses_delta,
)
from fedklpr_flwr.wire.layout import layout_of

GENERATOR = np.random.default_rng(0)
RECEIVED = {"conv": GENERATOR.normal(size=(4, 50)).astype(np.float32) * 0.1}
TRAINED = {"conv": torch.from_numpy(RECEIVED["conv"] * np.float32(1.0001))}
MASKS = {"conv": torch.from_numpy(GENERATOR.random((4, 50)) < 0.7)}
TRAINED["conv"] = torch.where(MASKS["conv"], TRAINED["conv"], 0.0)
LAYOUT = layout_of(RECEIVED, ["conv"])
FULL = FullMasks({"conv": (4, 50)})


def through_the_wire(settings, tensors=TRAINED, residual=None):
    payload, owed = encode_update(tensors, MASKS, FULL, RECEIVED, residual or {}, LAYOUT, settings)
    opened = open_update(payload, LAYOUT, FULL, RECEIVED, settings)
    tensor = opened.tensor("conv")
    full = np.zeros((4, 50), np.float32)
    full[tensor.mask] = tensor.values
    return full, owed, len(payload)


@pytest.mark.parametrize("delta", ["true", "false"])
def test_a_lossless_update_arrives_to_the_bit_and_owes_nothing(delta, tiny_settings):
    arrived, owed, _ = through_the_wire(tiny_settings(f"wire.delta={delta}"))
    assert np.array_equal(arrived, TRAINED["conv"].numpy())
    assert owed == {}


def test_a_small_step_is_smaller_as_a_delta(tiny_settings):
    sizes = [through_the_wire(tiny_settings(f"wire.delta={d}"))[2] for d in ("true", "false")]
    assert sizes[0] < 0.8 * sizes[1]


@pytest.mark.parametrize("values", ["bfloat16", "float16", "int8"])
def test_what_a_lossy_form_cuts_off_is_owed_and_paid_the_next_time(values, tiny_settings):
    """Sent again and again, the mean of what arrives tends to the model itself."""
    settings = tiny_settings(f"wire.values={values}")
    arrived, owed, _ = through_the_wire(settings)
    rest = np.where(MASKS["conv"], TRAINED["conv"].numpy() - arrived, 0)
    assert owed["conv"].numpy() == pytest.approx(rest, abs=1e-9)
    assert np.abs(rest).max() > 0
    total, residual = np.zeros((4, 50)), {}
    for _ in range(20):
        arrived, residual, _ = through_the_wire(settings, residual=residual)
        total += arrived
    assert np.abs(total / 20 - TRAINED["conv"].numpy()).max() < np.abs(rest).max() / 5


@pytest.mark.slow
def test_int8_and_rollback_send_no_deltas(tiny_settings):
    assert uses_delta(tiny_settings())
    assert uses_delta(tiny_settings("wire.values=bfloat16"))
    assert not uses_delta(tiny_settings("wire.values=int8"))
    assert not uses_delta(tiny_settings("crr.rollback=true"))
    assert not uses_delta(tiny_settings("wire.delta=false"))


def test_a_lossless_downlink_is_the_model_itself():
    sent, owed = quantise_downlink(RECEIVED, {}, "float32")
    assert sent["conv"] is RECEIVED["conv"]
    assert owed == {}


def test_a_lossy_downlink_owes_what_it_cut_off():
    sent, owed = quantise_downlink(RECEIVED, {}, "bfloat16")
    assert np.array_equal(sent["conv"] + owed["conv"], RECEIVED["conv"])
    again, _ = quantise_downlink(RECEIVED, dict(owed), "bfloat16")
    both = (sent["conv"] + again["conv"]) / 2
    assert np.abs(both - RECEIVED["conv"]).mean() < np.abs(owed["conv"]).mean()


@pytest.mark.parametrize("values", ["bfloat16", "float16", "int8"])
def test_a_tensor_without_axes_goes_down_over_a_lossy_wire_and_can_be_kept(values):
    model = {"scale": np.array(2.5, np.float32), **RECEIVED}
    owed = {}
    for _ in range(2):
        sent, owed = quantise_downlink(model, owed, values)
        for kept in (load(save(sent)), load(save(owed))):
            assert {name: array.shape for name, array in kept.items()} == {
                "scale": (),
                "conv": (4, 50),
            }
        assert (sent["scale"], owed["scale"]) == (2.5, 0.0)
