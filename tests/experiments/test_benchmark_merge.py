"""Claims about the benchmark `merge`: what it sends a server would take, and wrong is not `ok`."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.benchmarks import merge
from experiments.benchmarks.merge import time_rows
from experiments.benchmarks.merge_checks import are_means
from experiments.benchmarks.round_files import drawn_updates, write_round
from fedklpr_flwr.wire.payload import NOTHING

NAMES = ["conv"]
ROWS = {
    "merge_over_flower",
    "merge_survivors_over_flower",
    "inspect_over_flower",
    "decode_merge_over_flower",
    "decode_merge_plain_over_flower",
}


@pytest.fixture(scope="module")
def model():
    generator = np.random.default_rng(0)
    return {
        "bn.running_var": generator.uniform(0, 1, 64).astype(np.float32),
        "conv": generator.standard_normal((64, 16, 3, 3), np.float32),
    }


@pytest.fixture(scope="module")
def updates(model):
    return list(drawn_updates(model, NAMES))


@pytest.fixture(scope="module")
def folder(model, updates, tmp_path_factory):
    place = tmp_path_factory.mktemp("round")
    write_round(place, model, NAMES, updates)
    return place


@pytest.fixture
def wrong(folder, model, updates, monkeypatch):
    """The names of the rows that are not `ok`, whatever their times."""
    monkeypatch.setattr(merge, "MUSTS", {})

    def measured():
        rows = time_rows(folder, model, NAMES, updates, 1)
        assert {row["name"] for row in rows} == ROWS
        return {row["name"] for row in rows if not row["ok"]}

    return measured


def larger(arrays):
    return {name: array * np.float32(1.001) for name, array in arrays.items()}


@pytest.mark.slow
def test_updates_are_those_that_a_server_takes_and_right_results_are_ok(wrong, updates):
    assert all((values["bn.running_var"] >= 0).all() for values, _ in updates)
    assert wrong() == set()


@pytest.mark.parametrize(
    ("whole", "row"), [(False, "merge_survivors_over_flower"), (True, "merge_over_flower")]
)
def test_a_wrong_mean_in_memory_is_not_ok(wrong, monkeypatch, whole, row):
    right = merge.merge_model

    def mean(previous, contributors_of, **options):
        merged = right(previous, contributors_of, **options)
        is_whole = contributors_of("conv")[0]().values.size == previous["conv"].size
        return larger(merged) if is_whole == whole else merged

    monkeypatch.setattr(merge, "merge_model", mean)
    assert wrong() == {row}


@pytest.mark.parametrize(
    ("kind", "row"),
    [(".delta", "decode_merge_over_flower"), (".plain", "decode_merge_plain_over_flower")],
)
def test_a_wrong_merge_from_files_is_not_ok(wrong, monkeypatch, kind, row):
    right = merge.run_merge_round

    def merge_round(previous, sent, arrivals, *others):
        merged, notes = right(previous, sent, arrivals, *others)
        return larger(merged) if arrivals[0].payload.suffix == kind else merged, notes

    monkeypatch.setattr(merge, "run_merge_round", merge_round)
    assert wrong() == {row}


def test_an_inspection_that_saw_another_mask_is_not_ok(wrong, monkeypatch):
    right = merge.inspect_update

    def inspect(payload, *others):
        found = right(payload, *others)
        if payload.name == "7.delta":
            found.masks["conv"].view(-1)[0].logical_not_()
        return found

    monkeypatch.setattr(merge, "inspect_update", inspect)
    assert wrong() == {"inspect_over_flower"}


def test_an_inspection_that_left_values_out_is_not_ok(wrong, monkeypatch):
    right = merge.inspect_update
    monkeypatch.setattr(merge, "inspect_update", lambda *a: replace(right(*a), spent=NOTHING))
    assert wrong() == {"inspect_over_flower"}


def test_a_merge_is_held_to_the_formula_and_to_what_nobody_holds():
    before = {"w": np.float32([5, 5, 5])}
    updates = [
        ({"w": np.float32([1, 2, 0])}, {"w": np.array([True, True, False])}),
        ({"w": np.float32([4, 0, 0])}, {"w": np.array([True, False, False])}),
    ]
    merges = [
        {"w": np.float32([3, 2, 5])},
        {"w": np.float32([3, 2, 0])},
        {"w": np.float32([3, 2.001, 5])},
        {"w": np.float32([3, np.nan, 5])},
        {},
    ]
    right = are_means(merges, before, updates, [1.0, 2.0])
    assert right == [True, False, False, False, False]
