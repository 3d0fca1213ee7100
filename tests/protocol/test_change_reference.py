"""Claims about fedklpr_flwr.protocol.change_reference: one reference, and debts both ways."""

import numpy as np
import pytest
import torch

from fedklpr_flwr.model.mask_file import FullMasks
from fedklpr_flwr.protocol.change_reference import (
    change_downlink,
    cut_change,
    encode_change,
    model_name,
    step_share,
    with_debt,
)
from fedklpr_flwr.wire.codec import decode_dense
from fedklpr_flwr.wire.layout import TensorSpec, layout_of

pytest.importorskip("numba")

GENERATOR = np.random.default_rng(0)
REFERENCE = {
    "conv": GENERATOR.normal(size=(4, 50)).astype(np.float32),
    "norm.running_var": np.full(6, 0.5, np.float32),
}
TRAINED = {
    name: np.asarray(array + 0.1 * GENERATOR.normal(size=array.shape), np.float32)
    for name, array in REFERENCE.items()
}
MASKS = {"conv": GENERATOR.random((4, 50)) < 0.7}
LAYOUT = layout_of(REFERENCE, ["conv"])
FULL = FullMasks({"conv": (4, 50)})


def up(settings, residual, round_number=2):
    payload, owed = encode_change(
        TRAINED, MASKS, FULL, REFERENCE, residual, LAYOUT, settings, round_number
    )
    known = {"conv": np.ones((4, 50), np.bool_)}
    arrays, _ = decode_dense(payload, layout=LAYOUT, known_masks=known, reference=REFERENCE)
    return arrays, owed


def test_steps_are_finer_at_first_and_in_the_last_round_and_always_for_vectors(tiny_settings):
    settings = tiny_settings(
        *("wire.values=change", "federation.rounds=10", "wire.step.first=0.5"),
        *("wire.step.first_share=0.3", "wire.step.last=0.25", "wire.step.vectors=0.1"),
    )
    conv, vector = TensorSpec("w", (4, 50)), TensorSpec("b", (6,))
    shares = [step_share(conv, 2.0, settings, number) for number in (1, 3, 4, 9, 10)]
    assert shares == [1.0, 1.0, 2.0, 2.0, 0.5]
    assert {step_share(vector, 2.0, settings, number) for number in (1, 5, 10)} == {0.1}


def test_what_a_step_cuts_off_is_owed_where_the_mask_keeps(tiny_settings):
    arrays, owed = up(tiny_settings("wire.values=change"), {})
    rest = np.where(MASKS["conv"], TRAINED["conv"] - arrays["conv"], 0)
    assert np.abs(rest).max() > 0
    assert owed["conv"].numpy() == pytest.approx(rest, abs=1e-7)


def test_the_mean_of_what_arrives_tends_to_what_was_wanted(tiny_settings):
    settings = tiny_settings("wire.values=change", "wire.step.up=2.0")
    total, residual = np.zeros((4, 50)), {}
    for _ in range(30):
        arrays, residual = up(settings, residual, round_number=1)
        total += arrays["conv"]
    rest = np.where(MASKS["conv"], TRAINED["conv"] - total / 30, 0)
    assert np.abs(rest).max() < 0.05


def test_without_feedback_nothing_is_owed(tiny_settings):
    assert up(tiny_settings("wire.values=change", "wire.step.feedback=false"), {})[1] == {}


@pytest.mark.parametrize(
    "broken",
    [
        torch.full((4, 50), torch.nan),
        torch.ones(3),
        torch.ones(4, 50, dtype=torch.float64),
        torch.ones(4, 50, dtype=torch.int32),
    ],
)
def test_a_damaged_debt_is_forgotten(broken, tiny_settings):
    settings = tiny_settings("wire.values=change")
    assert np.array_equal(up(settings, {"conv": broken})[0]["conv"], up(settings, {})[0]["conv"])


def test_the_model_that_goes_down_comes_near_and_the_rest_is_told_later(tiny_settings):
    settings = tiny_settings("wire.values=change")
    sent, wanted = dict(REFERENCE), dict(TRAINED)
    for number in range(1, 9):
        change, arrived = change_downlink(wanted, dict(sent), LAYOUT, settings, number)
        decoded, _ = decode_dense(change, layout=LAYOUT, reference=sent)
        assert all(np.array_equal(decoded[name], arrived[name]) for name in sent)
        # Nobody learns anything more: the merge is what was sent, and variances are measured anew.
        merged = {**arrived, "norm.running_var": TRAINED["norm.running_var"]}
        wanted, sent = with_debt(merged, dict(wanted), arrived), arrived
    assert all(np.abs(sent[name] - TRAINED[name]).max() < 1e-3 for name in sent)


def test_where_a_quarter_is_kept_steps_are_of_the_kept_ones_changes(tiny_settings):
    """The others are zero on both sides, and would halve the root mean square."""
    once, twice = (tiny_settings("wire.values=change", f"wire.step.down={d}") for d in (1.4, 2.8))
    quarter = change_downlink(TRAINED, dict(REFERENCE), LAYOUT, once, 1, {"conv": 0.25})
    doubled = change_downlink(TRAINED, dict(REFERENCE), LAYOUT, twice, 1)
    assert np.array_equal(quarter[1]["conv"], doubled[1]["conv"])
    plain = change_downlink(TRAINED, dict(REFERENCE), LAYOUT, once, 1)
    assert not np.array_equal(quarter[1]["conv"], plain[1]["conv"])


def test_a_clients_part_brings_what_its_mask_keeps(tiny_settings):
    settings = tiny_settings("wire.values=change")
    change, arrived = change_downlink(TRAINED, dict(REFERENCE), LAYOUT, settings, 1)
    part = cut_change(change, arrived, MASKS, MASKS, LAYOUT)
    arrays, _ = decode_dense(part, layout=LAYOUT, known_masks=MASKS, reference=REFERENCE)
    assert np.array_equal(arrays["conv"], np.where(MASKS["conv"], arrived["conv"], 0))
    assert len(part) < len(change)


def test_a_debt_changes_the_merge_where_it_lies_and_never_what_was_sent():
    travels, stays = np.ones(3, np.float32), np.zeros(3, np.float32)
    sent = {"conv": np.zeros(3, np.float32), "home": stays}
    before = {name: np.full(3, 2, np.float32) for name in sent}
    found = with_debt({"conv": travels, "home": stays}, before, sent)
    assert found["conv"] is travels
    assert travels.tolist() == [3, 3, 3]
    assert found["home"].tolist() == [2, 2, 2]
    assert stays.tolist() == [0, 0, 0]


@pytest.mark.parametrize("name", ["norm.running_var", "norm.running_mean"])
def test_what_each_training_measures_anew_has_no_debt_at_the_server(name):
    merged = np.full(6, 0.4, np.float32)
    before, sent = {name: np.full(6, -3, np.float32)}, {name: np.full(6, 0.5, np.float32)}
    assert np.array_equal(with_debt({name: merged}, before, sent)[name], merged)


def test_what_each_training_measures_anew_has_no_debt_at_a_client(tiny_settings):
    settings = tiny_settings("wire.values=change", "wire.step.vectors=0.5")
    old = {"norm.running_var": torch.full((6,), 0.3)}
    arrays, owed = up(settings, old)
    assert owed.keys() == {"conv"}
    assert np.array_equal(arrays["norm.running_var"], up(settings, {})[0]["norm.running_var"])


def test_a_models_name_changes_with_any_bit_and_with_the_layout():
    names = {model_name(REFERENCE, LAYOUT), model_name(TRAINED, LAYOUT)}
    names.add(model_name(REFERENCE, layout_of(REFERENCE, [])))
    assert len(names) == 3
    assert model_name({n: a.copy() for n, a in REFERENCE.items()}, LAYOUT) in names
