"""Claims about fedklpr_flwr.server.merge_round: weights and one model from many updates."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_federation import PLAIN_GAIN
from training_reports import REPORT

from fedklpr_flwr.algorithm.masks import mask_hash
from fedklpr_flwr.errors import WireError
from fedklpr_flwr.model.mask_file import FullMasks
from fedklpr_flwr.server.merge_round import Arrival, run_merge_round, step_along
from fedklpr_flwr.server.update_checks import inspect_update
from fedklpr_flwr.server.update_weights import weigh
from fedklpr_flwr.wire.codec import encode
from fedklpr_flwr.wire.layout import layout_of

SHAPES = {"conv": (2, 3), "bias": (2,)}
BEFORE = {"conv": np.full((2, 3), 9, np.float32), "bias": np.full(2, 9, np.float32)}
LAYOUT = layout_of(BEFORE, ["conv"])
FULL = FullMasks({"conv": (2, 3)})


@pytest.fixture
def tiny_settings(tiny_settings):
    """The tiny federation's settings, with a KLAW whose formula fits into a line."""
    return lambda *overrides: tiny_settings(*PLAIN_GAIN, *overrides)


def model(value):
    generator = np.random.default_rng(value)
    return {n: generator.normal(size=shape).astype(np.float32) for n, shape in SHAPES.items()}


def mask_of(*rows):
    return np.array(rows, np.bool_).reshape(2, 3)


@pytest.fixture
def arrive(tmp_path):
    """`arrive("a", tensors, mask, divergence=2.0)`: an update as the server holds one."""

    def arrival(client, tensors, mask=None, **said):
        file = tmp_path / f"{client}.payload"
        masks = {} if mask is None else {"conv": mask}
        file.write_bytes(encode(tensors, masks, layout=LAYOUT))
        return Arrival(client, replace(REPORT, **said), file, FULL)

    return arrival


def merge(arrivals, settings):
    return run_merge_round(BEFORE, BEFORE, arrivals, LAYOUT, settings)


def test_each_coordinate_is_the_weighted_mean_over_those_who_kept_it(arrive, tiny_settings):
    masks = {"a": mask_of(1, 1, 0, 0, 1, 0), "b": mask_of(1, 0, 1, 0, 1, 0), "c": None}
    masks["c"] = mask_of(1, 0, 0, 0, 1, 1)
    models = {name: model(number) for number, name in enumerate("abc")}
    said = {"a": 3.0, "b": 1.0, "c": 0.5}
    arrivals = [arrive(n, models[n], masks[n], divergence=said[n]) for n in "abc"]
    merged, notes = merge(arrivals, tiny_settings("method.aggregation_weights=klaw"))
    assert notes.weight == pytest.approx({n: d / 4.5 for n, d in said.items()})
    for at in itertools.product(range(2), range(3)):
        holders = [n for n in "abc" if masks[n][at]]
        total = sum(said[n] for n in holders)
        mean = sum(said[n] / total * float(models[n]["conv"][at]) for n in holders)
        assert merged["conv"][at] == pytest.approx(mean if holders else 9.0, rel=1e-6)
    for at in range(2):
        mean = sum(said[n] / 4.5 * float(models[n]["bias"][at]) for n in "abc")
        assert merged["bias"][at] == pytest.approx(mean, rel=1e-6)


def test_the_order_of_arrival_changes_not_a_bit(arrive, tiny_settings):
    arrivals = [arrive(name, model(n), divergence=n + 1.0) for n, name in enumerate("abcd")]
    first, _ = merge(arrivals, tiny_settings())
    for order in itertools.permutations(arrivals):
        merged, _ = merge(order, tiny_settings())
        assert all(np.array_equal(merged[name], first[name]) for name in SHAPES)


def test_an_idle_client_weighs_nothing_and_takes_nothing_from_the_others(arrive, tiny_settings):
    busy = [arrive("a", model(0)), arrive("b", model(1), divergence=2.0)]
    alone, notes = merge(busy, tiny_settings())
    merged, with_idle = merge(
        [*busy, arrive("c", model(2), idle=True, divergence=0.0)], tiny_settings()
    )
    assert with_idle.weight == {**notes.weight, "c": 0.0}
    assert all(np.array_equal(merged[name], alone[name]) for name in SHAPES)


def test_where_all_are_idle_the_model_stays(arrive, tiny_settings):
    merged, notes = merge([arrive("a", model(0), idle=True)], tiny_settings())
    assert notes.weight == {"a": 0.0}
    assert all(np.array_equal(merged[name], BEFORE[name]) for name in SHAPES)


TRIO = {"a": (10, 1.0, 0.1, 0.0), "b": (30, 3.0, 0.3, 0.5), "c": (60, 1.0, 0.2, 0.2)}


@pytest.mark.parametrize(
    ("choice", "raw"),
    [
        ("uniform", [1, 1, 1]),
        ("data_size", [10, 30, 60]),
        ("klaw", [1, 3, 1]),
        ("cosine_distance", [0.1, 0.3, 0.2]),
        ("praw", [1 / 1.0, 1 / 0.5, 1 / 0.8]),
        ("klpwa", [1 * 1.0, 3 / 0.5, 1 / 0.8]),
    ],
)
def test_every_choice_of_weights_is_its_formula(choice, raw, tiny_settings):
    reports = [
        replace(REPORT, examples=n, divergence=d, cosine_distance=c, pruned=p)
        for n, d, c, p in TRIO.values()
    ]
    notes = weigh([*TRIO], reports, LAYOUT, tiny_settings(f"method.aggregation_weights={choice}"))
    expected = {name: value / sum(raw) for name, value in zip(TRIO, raw, strict=True)}
    assert notes.weight == pytest.approx(expected)
    assert sum(notes.klaw.values()) == pytest.approx(1)
    assert sum(notes.praw.values()) == pytest.approx(1)


@pytest.mark.slow
def test_a_cap_holds_back_a_client_that_reports_a_huge_divergence(tiny_settings):
    reports = [replace(REPORT, divergence=d) for d in (1.0, 1e9, 1.0)]
    free = weigh("abc", reports, LAYOUT, tiny_settings())
    capped = weigh("abc", reports, LAYOUT, tiny_settings("klpwa.cap=0.5"))
    assert free.weight["b"] > 0.999
    assert capped.weight == pytest.approx({"a": 0.25, "b": 0.5, "c": 0.25})
    assert weigh("abc", reports, LAYOUT, tiny_settings("deployment=true")).weight == capped.weight


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ("data_size", {"examples": 10**9}),
        ("cosine_distance", {"cosine_distance": 2.0}),
        ("klaw", {"divergence": 1e12}),
    ],
)
def test_no_figure_that_a_client_reports_counts_for_more_than_three_medians(
    weights, said, tiny_settings
):
    ordinary = replace(REPORT, cosine_distance=0.01)
    reports = [*[ordinary] * 9, replace(ordinary, **said)]
    chosen = f"method.aggregation_weights={weights}"
    free = weigh("abcdefghij", reports, LAYOUT, tiny_settings(chosen))
    assert free.weight["j"] > 0.9
    held = weigh("abcdefghij", reports, LAYOUT, tiny_settings(chosen, "deployment=true"))
    assert held.weight["j"] == pytest.approx(3 / 12)


def test_an_inspection_says_what_a_payload_really_holds(arrive, tiny_settings):
    mask = mask_of(1, 1, 0, 1, 0, 1)
    arrival = arrive("a", model(0), mask, pruned=0.0)
    settings = tiny_settings("pruning.target=0.5")
    found = inspect_update(arrival.payload, LAYOUT, FULL, BEFORE, settings)
    assert (found.pruned, found.spent.kept) == (pytest.approx(2 / 6), 4 + 2)
    assert torch.equal(found.masks["conv"], torch.from_numpy(mask))
    assert found.mask_hash == mask_hash({"conv": torch.from_numpy(mask)})
    assert 0 < found.bound < 4 * found.spent.kept + 2


def test_an_update_pruned_beyond_the_target_is_refused(arrive, tiny_settings):
    arrival = arrive("a", model(0), mask_of(1, 0, 0, 0, 0, 1))
    with pytest.raises(WireError, match=r"0\.667.*target 0\.500"):
        inspect_update(arrival.payload, LAYOUT, FULL, BEFORE, tiny_settings("pruning.target=0.5"))


def test_what_was_pruned_before_the_target_was_lowered_is_no_new_prune(arrive, tiny_settings):
    """A run that continues another may have a lower target than its masks."""
    mask, settings = mask_of(1, 0, 0, 0, 0, 1), tiny_settings("pruning.target=0.5")
    known = {"conv": torch.from_numpy(mask)}
    payload = arrive("a", model(0), mask).payload
    assert inspect_update(payload, LAYOUT, known, BEFORE, settings).pruned == pytest.approx(4 / 6)
    further = arrive("b", model(0), mask_of(1, 0, 0, 0, 0, 0)).payload
    with pytest.raises(WireError, match=r"0\.833.*target 0\.500"):
        inspect_update(further, LAYOUT, known, BEFORE, settings)


@pytest.mark.parametrize(("name", "largest"), [("conv", 100 * 9), ("bias", 10_000 * 9)])
def test_an_update_of_numbers_that_no_training_reaches_is_refused(
    name, largest, arrive, tiny_settings
):
    """As damaged exponents give them: finite, and enough to spoil the merged model."""

    def inspect(value):
        tensors = {n: array.copy() for n, array in BEFORE.items()}
        tensors[name].flat[1] = value
        payload = arrive("a", tensors).payload
        return inspect_update(payload, LAYOUT, FULL, BEFORE, tiny_settings())

    assert inspect(-largest).spent.kept == 8
    for value in (-1.01 * largest, 3e38):
        with pytest.raises(WireError, match=f"values of {name}: expected none beyond"):
            inspect(value)


def test_where_updates_are_bounded_no_update_is_ten_times_as_long_as_the_model(
    arrive, tiny_settings
):
    moved = {"conv": BEFORE["conv"] - np.float32(9 * 10.1), "bias": BEFORE["bias"]}
    payload = arrive("a", moved).payload
    inspect_update(payload, LAYOUT, FULL, BEFORE, tiny_settings())
    with pytest.raises(WireError, match="expected at most 10 times the model's own 22, got 223"):
        inspect_update(payload, LAYOUT, FULL, BEFORE, tiny_settings("deployment=true"))
    near = {"conv": BEFORE["conv"] - np.float32(9 * 9.9), "bias": BEFORE["bias"]}
    inspect_update(
        arrive("b", near).payload, LAYOUT, FULL, BEFORE, tiny_settings("deployment=true")
    )


def test_a_variance_below_zero_is_refused(tmp_path, tiny_settings):
    before = {"bn.running_var": np.ones(3, np.float32)}
    layout = layout_of(before, [])
    for value, good in ((0.0, True), (-0.01, False)):
        tensors = {"bn.running_var": np.array([1, value, 2], np.float32)}
        payload = tmp_path / "payload"
        payload.write_bytes(encode(tensors, {}, layout=layout))
        if good:
            inspect_update(payload, layout, {}, before, tiny_settings())
        else:
            with pytest.raises(WireError, match=r"a variance is never below zero, got -0\.01"):
                inspect_update(payload, layout, {}, before, tiny_settings())


def test_an_update_that_stands_out_moves_the_merge_no_further_than_the_bound(arrive, tiny_settings):
    def moved(by):
        return {name: array + np.float32(by) for name, array in BEFORE.items()}

    steps = {"a": 1.0, "b": 1.1, "c": 0.9, "d": 20.0}
    lengths = {n: (s * 6**0.5, s * 2**0.5) for n, s in steps.items()}
    arrivals = [replace(arrive(n, moved(s)), lengths=lengths[n]) for n, s in steps.items()]
    uniform = "method.aggregation_weights=uniform"
    free, notes = merge(arrivals, tiny_settings(uniform))
    assert free["conv"][0, 0] == pytest.approx(9 + 23 / 4)
    assert notes.shortened == {}
    held, notes = merge(arrivals, tiny_settings(uniform, "defence.norm_bound=2"))
    most = 2 * 1.05
    assert notes.shortened == {"d": pytest.approx((most / 20, most / 20))}
    for name in SHAPES:
        np.testing.assert_allclose(held[name], 9 + (3 + most) / 4, rtol=1e-5)


def test_a_damaged_update_moves_nothing_and_one_that_stands_out_says_no_more_than_the_median(
    arrive, tiny_settings
):
    said = {"a": 1.0, "b": 2.0, "c": 3.0, "long": 9.0, "damaged": 9.0}
    lengths = {"a": (1.0, 1.0), "b": (1.0, 1.0), "c": (1.0, 1.0), "long": (5.0, 1.0)}
    lengths["damaged"] = 31.0, 1.0
    arrivals = [
        replace(arrive(name, BEFORE, divergence=said[name]), lengths=lengths[name]) for name in said
    ]
    settings = tiny_settings("method.aggregation_weights=klaw", "defence.norm_bound=3")
    _, notes = merge(arrivals, settings)
    assert notes.left_out == {"damaged"}
    assert notes.weight == pytest.approx(
        {"a": 1 / 9, "b": 2 / 9, "c": 3 / 9, "long": 3 / 9, "damaged": 0.0}
    )


def test_the_inspection_says_how_far_an_update_lies_from_what_was_sent(arrive, tiny_settings):
    mask = mask_of(1, 0, 0, 0, 0, 1)
    arrival = arrive("a", {n: array + 2 for n, array in BEFORE.items()}, mask)
    found = inspect_update(
        arrival.payload,
        LAYOUT,
        FULL,
        BEFORE,
        tiny_settings("pruning.target=.9", "defence.norm_bound=3"),
    )
    assert found.lengths == pytest.approx((8**0.5, 8**0.5))


@pytest.mark.parametrize("rate", [0.5, 1.0, 1.5])
def test_the_server_goes_along_what_was_learnt_and_takes_what_was_measured(rate):
    shapes = {"conv": (2, 3), "bn.weight": (2,), "bn.running_mean": (2,), "bn.running_var": (2,)}
    sent = {name: np.full(shape, 9, np.float32) for name, shape in shapes.items()}
    merged = {name: np.full(shape, 5, np.float32) for name, shape in shapes.items()}
    here = {"not.sent": np.full(2, 5, np.float32)}
    told = {**merged, **here}
    step_along(told, {**sent, "not.sent": sent["bn.weight"]}, layout_of(sent, ["conv"]), rate)
    for name in ("conv", "bn.weight"):
        np.testing.assert_array_equal(told[name], np.full(shapes[name], 9 - 4 * rate))
    for name in ("bn.running_mean", "bn.running_var", "not.sent"):
        np.testing.assert_array_equal(told[name], np.full(2, 5))
