"""Claims about fedklpr_flwr.wire.change and change_codec: changes in steps, nothing lost."""

import math

import numpy as np
import pytest

from fedklpr_flwr.errors import WireError
from fedklpr_flwr.wire.change import apply_change, check_step, quantise_change, root_mean_square
from fedklpr_flwr.wire.codec import decode_dense, open_payload
from fedklpr_flwr.wire.layout import layout_of

GENERATOR = np.random.default_rng(0)
REFERENCE = {
    "conv": GENERATOR.normal(size=(8, 30)).astype(np.float32),
    "running_var": GENERATOR.random(9).astype(np.float32) + np.float32(0.01),
    "scale": np.array(2.5, np.float32),
    "none": np.zeros((0, 3), np.float32),
}
WANTED = {
    name: np.asarray(array + np.float32(0.1) * GENERATOR.normal(size=array.shape), np.float32)
    for name, array in REFERENCE.items()
}
LAYOUT = layout_of(REFERENCE, ["conv"])
MASKS = {"conv": GENERATOR.random((8, 30)) < 0.6}


def test_a_change_is_rounded_and_its_step_goes_as_far_as_the_change():
    zeros = np.zeros(6, np.float32)
    wanted = np.array([0.4, -0.4, 0.6, -0.6, 1.4, 1.6], np.float32)
    symbols, step = quantise_change(wanted, zeros, 1 / root_mean_square(wanted))
    assert symbols.tolist() == [0, 0, 1, -1, 1, 2]
    # sum(d d) / sum(d symbol) = 5.56 / (0.6 + 0.6 + 1.4 + 3.2)
    assert step == pytest.approx(5.56 / 5.8)


@pytest.mark.parametrize("share", [0.5, 1.0, 1.4, 2.0])
def test_every_symbol_is_that_of_the_formula_and_nothing_arrives_too_short(share):
    wanted, base = WANTED["conv"].ravel(), REFERENCE["conv"].ravel()
    symbols, step = quantise_change(wanted, base, share)
    changes = [float(w) - float(b) for w, b in zip(wanted, base, strict=True)]
    unit = share * math.sqrt(sum(change**2 for change in changes) / len(changes))
    for change, symbol in zip(changes, symbols, strict=True):
        steps = abs(change) / unit
        if abs(steps % 1 - 0.5) > 1e-4:  # not at an edge between two symbols
            assert symbol == math.copysign(math.floor(steps + 0.5), change)
    along = sum(
        change * float(step) * int(symbol) for change, symbol in zip(changes, symbols, strict=True)
    )
    assert along == pytest.approx(sum(change**2 for change in changes), rel=1e-5)


def test_many_senders_errors_average_out():
    """Sixteen senders of one change, each with noise of its own, at a step of twice its size."""
    noise = np.random.default_rng(1)
    change = noise.normal(size=4000).astype(np.float32)
    total = np.zeros(4000)
    for _ in range(16):
        wanted = change + noise.normal(size=4000).astype(np.float32)
        arrived = apply_change(
            np.zeros(4000, np.float32), *quantise_change(wanted, np.zeros(4000, np.float32), 2.0)
        )
        total += arrived - wanted
    mean_error = total / 16
    assert abs(mean_error @ change) < 0.02 * (change @ change), "nor too short, nor too long"
    assert (mean_error @ mean_error) < 0.1 * (change @ change)


@pytest.mark.parametrize("share", [0.3, 1.0, 3.0, 6.0, 30.0, 300.0])
def test_what_is_owed_is_always_less_than_the_change(share):
    """Also where one number of many alone is told: so debts cannot grow without end."""
    heavy = np.random.default_rng(2).standard_t(2, size=5000).astype(np.float32)
    zeros = np.zeros(5000, np.float32)
    arrived = apply_change(zeros, *quantise_change(heavy, zeros, share))
    if share < 50:
        assert np.square(heavy - arrived).sum() < np.square(heavy).sum()
    else:
        assert not arrived.any(), "no number is as large as half of such a step"


def test_no_change_has_no_step():
    base = REFERENCE["conv"].ravel()
    symbols, step = quantise_change(base, base, 1.0)
    assert (step, symbols.any()) == (0, False)
    assert quantise_change(base[:0], base[:0], 1.0)[1] == 0


def test_what_is_owed_is_paid_in_the_end():
    """The same model wanted again and again, each time from where the last change led."""
    wanted, arrived = WANTED["conv"].ravel(), REFERENCE["conv"].ravel()
    for _ in range(12):
        symbols, step = quantise_change(wanted, arrived, 1.0)
        arrived = apply_change(arrived, symbols, step)
    assert np.abs(arrived - wanted).max() < 1e-4


def test_a_variance_stays_above_zero_whatever_is_wanted():
    base = np.array([1.0, 0.01, 4.0], np.float32)
    wanted = np.array([0.0, -5.0, 3.0], np.float32)
    arrived = apply_change(base, *quantise_change(wanted, base, 0.1, positive=True))
    assert (arrived >= 0.015 * base).all()
    assert arrived[2] == pytest.approx(3.0, abs=0.3)


@pytest.mark.parametrize("share", [0.03, 0.125])
def test_variances_arrive_apart_from_the_initial_one_on(share):
    """Of an eighth of their change, steps would be as long as most of these are."""
    wanted = np.linspace(0.05, 0.2, 64, dtype=np.float32)
    start = np.ones(64, np.float32)
    arrived = apply_change(start, *quantise_change(wanted, start, share, positive=True))
    assert np.abs(arrived / wanted - 1).max() < 1.2 * share


@pytest.mark.parametrize("least", [0.0, 1e-8])
def test_variances_of_hardly_anything_fall_at_once_as_well(least):
    """Of their own size alone, 32,767 steps would bring them nowhere."""
    wanted, start = np.full(64, least, np.float32), np.ones(64, np.float32)
    arrived = apply_change(start, *quantise_change(wanted, start, 0.125, positive=True))
    assert 0.015 <= arrived.min() <= arrived.max() < 0.02


@pytest.mark.parametrize("step", [0.0, -1.0, math.nan, math.inf, 1e38])
def test_a_step_that_no_sender_writes_is_refused(step):
    with pytest.raises(WireError, match="step of conv"):
        check_step(np.float32(step), "conv")


# ---------------------------------------------------------------------------- payloads

pytest.importorskip("numba")
from fedklpr_flwr.wire.change_codec import ChangeWriter  # noqa: E402


def written(masks=MASKS, known=None, share=0.5, wanted=WANTED):
    writer = ChangeWriter(masks, known, LAYOUT)
    seen = {
        spec.name: writer.add(spec, wanted[spec.name], REFERENCE[spec.name], share)
        for spec in LAYOUT
    }
    return writer.seal(), seen


@pytest.mark.parametrize("known", [None, {}, MASKS])
def test_what_arrives_is_what_the_sender_says_it_is(known):
    payload, seen = written(known=known)
    arrays, masks = decode_dense(payload, layout=LAYOUT, known_masks=known, reference=REFERENCE)
    assert {name: array.tobytes() for name, array in arrays.items()} == {
        name: array.tobytes() for name, array in seen.items()
    }
    assert (masks["conv"] == MASKS["conv"]).all()


def test_nothing_changed_costs_no_symbols_and_arrives():
    payload, _ = written(wanted=REFERENCE, masks={})
    arrays, _ = decode_dense(payload, layout=LAYOUT, reference=REFERENCE)
    assert all((arrays[name] == REFERENCE[name]).all() for name in arrays)


def test_a_clients_part_is_cut_from_the_change_of_every_coordinate():
    whole, seen = written(masks={})
    writer = ChangeWriter(MASKS, MASKS, LAYOUT)
    with open_payload(whole, layout=LAYOUT) as opened:
        for spec in LAYOUT:
            writer.cut(spec, opened, seen[spec.name])
    arrays, _ = decode_dense(writer.seal(), layout=LAYOUT, known_masks=MASKS, reference=REFERENCE)
    assert (arrays["conv"] == np.where(MASKS["conv"], seen["conv"], 0)).all()
    assert (arrays["running_var"] == seen["running_var"]).all()


def test_another_reference_is_refused_by_name():
    payload, _ = written()
    other = {**REFERENCE, "conv": REFERENCE["conv"] + np.float32(0.001)}
    with pytest.raises(WireError, match=r"reference of conv: .*ask for the whole model"):
        decode_dense(payload, layout=LAYOUT, reference=other)
    with pytest.raises(WireError, match="this side holds none"):
        decode_dense(payload, layout=LAYOUT)


def test_nan_is_not_sent():
    spoilt = {**WANTED, "conv": np.full((8, 30), np.nan, np.float32)}
    with pytest.raises(WireError, match="values of conv"):
        written(wanted=spoilt)


def test_the_largest_step_that_is_written_is_read():
    """In float32 the limit itself is rounded up, beyond what a reader takes."""
    wanted = np.full(40_000, 3e38, np.float32)
    wanted[::2] *= -1
    _, step = quantise_change(wanted, np.zeros_like(wanted), 1e6)
    check_step(step, "conv")
    with pytest.raises(WireError, match="step of conv"):
        check_step(np.nextafter(step, np.float32(np.inf)), "conv")
