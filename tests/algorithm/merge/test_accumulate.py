import math
import time
import weakref
from threading import Lock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedklpr_flwr.algorithm.merge import accumulate, kernels, trimmed
from fedklpr_flwr.algorithm.merge.accumulate import MERGES, MergeAccumulator, merge_model
from fedklpr_flwr.algorithm.merge.contribution import ArrayValues, Contribution
from fedklpr_flwr.algorithm.merge.kernels import GROUP
from fedklpr_flwr.algorithm.weighting import pruning_weights
from fedklpr_flwr.errors import MergeError

OLD = np.array([9.0, 9.0, 9.0, 9.0], np.float32)


def f32(*values):
    return np.array(values, np.float32)


def bools(*values):
    return np.array(values, bool)


def contribution(weight, mask, values):
    """Of an array, or of a source of values."""
    if isinstance(values, np.ndarray):
        return Contribution.of(weight, None if mask is None else mask.reshape(-1), values)
    return Contribution(weight, mask, values)


def merge_tensor(name, previous, contributions, **how):
    """One tensor of (weight, mask, values) triples."""
    accumulator = MergeAccumulator(name, previous, **how)
    for one in contributions:
        accumulator.add(contribution(*one))
    return accumulator.result()


def slow_merge(previous, contributions, *, plain=False):
    """The formula, one coordinate and one client at a time, in Python's float64.

    Also gives each coordinate's mean magnitude, by which rounding is judged.
    """
    merged, magnitude = [], []
    for j, old in enumerate(previous.reshape(-1).tolist()):
        top = bottom = absolute = 0.0
        for weight, mask, values in contributions:
            held = mask is None or bool(mask.reshape(-1)[j])
            value = float(values.reshape(-1)[j]) if held else 0.0
            top += weight * value
            absolute += weight * abs(value)
            bottom += weight if held or plain else 0.0
        merged.append(top / bottom if bottom > 0 else old)
        magnitude.append(absolute / bottom if bottom > 0 else abs(old))
    return np.array(merged).reshape(previous.shape), np.array(magnitude).reshape(previous.shape)


def assert_merged(fast, previous, contributions, **options):
    exact, magnitude = slow_merge(previous, contributions, **options)
    assert fast.dtype == np.float32
    assert fast.shape == previous.shape
    assert (np.abs(fast - exact) <= 1e-6 * magnitude).all()


def random_updates(shape, clients, seed, density=0.5):
    rng = np.random.default_rng(seed)
    updates = []
    for number in range(clients):
        values = rng.standard_normal(shape).astype(np.float32)
        mask = rng.random(shape) < density if number % 3 != 2 else None
        if mask is not None:
            values *= mask
        updates.append((float(rng.random()), mask, values))
    return rng.standard_normal(shape).astype(np.float32), updates


def survivors(updates, pack=False):
    for weight, mask, values in updates:
        if mask is None:
            yield weight, None, values
        else:
            kept = values.reshape(-1)[mask.reshape(-1)]
            yield weight, np.packbits(mask) if pack else mask, kept


def later(contributions):
    return [lambda one=one: contribution(*one) for one in contributions]


def test_full_masks_and_equal_weights_give_the_plain_mean():
    updates = [
        (0.5, bools(1, 1, 1, 1), f32(1, 2, 3, 4)),
        (0.5, None, f32(3, 2, 1, -4)),
    ]
    assert merge_tensor("a", OLD, updates).tolist() == [2, 2, 2, 0]


def test_disjoint_masks_give_each_coordinate_from_its_holder():
    updates = [
        (0.25, bools(1, 1, 0, 0), f32(1, 2)),
        (0.75, bools(0, 0, 1, 1), f32(3, 4)),
    ]
    assert merge_tensor("a", OLD, updates).tolist() == [1, 2, 3, 4]


def test_a_coordinate_that_nobody_holds_keeps_its_old_value_to_the_bit():
    old = f32(0.1, 1e-40, -0.0, 7)
    updates = [(0.5, bools(0, 0, 0, 1), f32(3)), (0.5, bools(0, 0, 0, 1), f32(5))]
    merged = merge_tensor("a", old, updates)
    assert merged[:3].tobytes() == old[:3].tobytes()
    assert merged[3] == 4


def test_pruned_weights_do_not_dilute_the_merge():
    updates = [(0.5, bools(1, 1), f32(4, 4)), (0.5, bools(1, 0), f32(2))]
    assert merge_tensor("a", f32(9, 9), updates).tolist() == [3, 4]


def test_the_plain_mean_counts_pruned_weights_as_zero():
    updates = [(0.5, bools(1, 1, 0), f32(4, 4)), (0.5, bools(1, 0, 0), f32(2))]
    assert merge_tensor("a", f32(9, 9, 9), updates, how="plain_mean").tolist() == [3, 2, 0]


def test_a_kept_zero_counts_as_a_value():
    updates = [(0.5, bools(1), f32(0)), (0.5, bools(1), f32(2))]
    assert merge_tensor("a", f32(9), updates).tolist() == [1]


def test_the_trimmed_mean_leaves_the_ends_out_and_asks_no_weight():
    values = (f32(0), f32(1), f32(5), f32(900))
    updates = [(0.7 if k == 3 else 0.1, None, value) for k, value in enumerate(values)]
    assert merge_tensor("a", f32(9), updates, how="trimmed_mean", trim=0.25).tolist() == [3]
    assert merge_tensor("a", f32(9), updates, how="trimmed_mean", trim=0).tolist() == [226.5]


def test_the_trimmed_mean_counts_holders_only_and_keeps_what_nobody_holds():
    updates = [
        (0.5, bools(1, 1, 0), f32(2, 8)),
        (0.2, bools(1, 0, 0), f32(4)),
        (0.2, bools(1, 0, 0), f32(-90)),
        (0.1, bools(1, 0, 0), f32(70)),
        (0.0, None, f32(1, 1, 1)),  # idle
    ]
    merged = merge_tensor("a", f32(9, 9, 0.1), updates, how="trimmed_mean", trim=0.25)
    assert merged.tolist() == f32(3, 8, 0.1).tolist()


@pytest.mark.parametrize("clients", [1, 3, 9, 20])
def test_the_trimmed_mean_is_that_of_the_slow_loop_whoever_comes_first(monkeypatch, clients):
    previous, updates = random_updates((40, 13), clients, seed=11)
    trim, flat = 0.3, previous.reshape(-1)
    expected = flat.astype(np.float64)
    for at in range(flat.size):
        held = sorted(
            float(values.reshape(-1)[at])
            for weight, mask, values in updates
            if weight > 0 and (mask is None or mask.reshape(-1)[at])
        )
        cut = int(trim * len(held))
        if held:
            expected[at] = np.mean(held[cut : len(held) - cut])
    backwards = list(survivors(updates, pack=True))[::-1]
    merged = merge_tensor("a", previous, backwards, how="trimmed_mean", trim=trim)
    np.testing.assert_allclose(merged.reshape(-1), expected, rtol=1e-6, atol=1e-7)
    monkeypatch.setattr(accumulate, "SHARED", 1)
    for module in (kernels, trimmed):
        monkeypatch.setattr(module, "BLOCK", 64)
    shared = merge_model(
        {"a": previous},
        lambda _: later(survivors(updates)),
        how="trimmed_mean",
        trim=trim,
        threads=3,
    )
    assert shared["a"].tobytes() == merged.tobytes()


def test_weights_need_not_sum_to_one():
    updates = [(1.0, None, f32(0)), (3.0, None, f32(4))]
    assert merge_tensor("a", f32(9), updates).tolist() == [3]


@pytest.mark.parametrize("how", MERGES)
def test_idle_clients_leave_no_trace(how):
    idle = [(0.0, None, f32(5, 5, 5, 5)), (0.0, bools(1, 0, 0, 0), f32(math.nan))]
    assert merge_tensor("a", OLD, idle, how=how).tolist() == OLD.tolist()
    one = (1.0, bools(0, 1, 1, 1), f32(1, 2, 3))
    assert merge_tensor("a", OLD, [*idle, one], how="masked_mean").tolist() == [9, 1, 2, 3]
    assert merge_tensor("a", OLD, [], how=how).tolist() == OLD.tolist()


def test_inverse_density_weights_give_clients_equal_mass():
    masks = [bools(1, 1, 1, 1), bools(1, 1, 0, 0)]
    weights = pruning_weights([0.0, 0.5])
    pairs = zip(weights, masks, strict=True)
    updates = [(w, m, f32(*[k] * m.sum())) for k, (w, m) in enumerate(pairs)]
    merged = merge_tensor("a", OLD, updates)
    np.testing.assert_allclose(merged, [2 / 3, 2 / 3, 0, 0], rtol=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.sampled_from([(), (0,), (1,), (7,), (8,), (3, 5), (2, 3, 2, 2)]),
    clients=st.integers(0, 20),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    seed=st.integers(0, 99),
    how=st.sampled_from(["masked_mean", "plain_mean"]),
)
def test_every_form_of_an_update_merges_as_the_slow_loop_says(shape, clients, density, seed, how):
    previous, updates = random_updates(shape, clients, seed, density)
    dense = merge_tensor("a", previous, updates, how=how)
    assert_merged(dense, previous, updates, plain=how == "plain_mean")
    for pack in (False, True):
        sparse = merge_tensor("a", previous, survivors(updates, pack), how=how)
        assert sparse.tobytes() == dense.tobytes()


@pytest.mark.parametrize("clients", [3, 8, 9, 17])
def test_blocks_join_without_a_seam(monkeypatch, clients):
    previous, updates = random_updates((50, 11), clients, seed=5)
    whole = merge_tensor("a", previous, survivors(updates))
    monkeypatch.setattr(kernels, "BLOCK", 64)
    blocks = merge_tensor("a", previous, survivors(updates, pack=True))
    assert blocks.tobytes() == whole.tobytes()
    assert_merged(whole, previous, updates)


def test_a_tensor_of_several_real_blocks_merges_right():
    size = 2 * kernels.BLOCK + 3
    rng = np.random.default_rng(1)
    previous = rng.standard_normal(size).astype(np.float32)
    masks = [rng.random(size) < 0.5 for _ in range(3)]
    values = [rng.standard_normal(size).astype(np.float32) * m for m in masks]
    weights = [0.2, 0.3, 0.5]
    updates = zip(weights, masks, values, strict=True)
    merged = merge_tensor("a", previous, survivors(updates))
    bottom = sum(w * m for w, m in zip(weights, masks, strict=True))
    top = sum(w * v.astype(np.float64) for w, v in zip(weights, values, strict=True))
    scale = sum(w * np.abs(v) for w, v in zip(weights, values, strict=True))
    safe = np.where(bottom > 0, bottom, 1)
    exact = np.where(bottom > 0, top / safe, previous)
    assert (np.abs(merged - exact) <= 1e-6 * np.where(bottom > 0, scale / safe, 0)).all()


@pytest.mark.parametrize("clients", [5, 12])
def test_threads_change_no_bit(clients):
    models = [random_updates((300, 7 * (i + 1)), clients, seed=i) for i in range(12)]
    previous = {str(i): old for i, (old, _) in enumerate(models)}

    def contributors_of(name):
        return later(survivors(models[int(name)][1]))

    alone = merge_model(previous, contributors_of)
    for threads in (2, 5):
        together = merge_model(previous, contributors_of, threads=threads)
        assert list(together) == list(previous)
        assert all(together[name].tobytes() == alone[name].tobytes() for name in previous)
    name = "4"
    single = merge_tensor(name, previous[name], survivors(models[int(name)][1]))
    assert single.tobytes() == alone[name].tobytes()


def test_few_coordinates_are_in_work_at_once(monkeypatch):
    monkeypatch.setattr(accumulate, "SHARED", 10)
    sizes = {"huge": 50, "large": 18, "small": 8, "smaller": 6, "tiny": 1}
    lock, in_work, most = Lock(), [], []

    def contributors_of(name):
        def contribute():
            with lock:
                in_work.append(name)
                most.append(sum(sizes[other] for other in set(in_work)))
            time.sleep(0.01)
            with lock:
                in_work.remove(name)
            return Contribution.of(1.0, None, np.ones(sizes[name], np.float32))

        return [contribute] * 3

    previous = {name: np.zeros(size, np.float32) for name, size in sizes.items()}
    merged = merge_model(previous, contributors_of, threads=4)
    assert all((array == 1).all() for array in merged.values())
    large, small = (50, 18), (8, 6, 1)
    beside = {one + other for one in large for other in small}
    assert set(most) <= {*large, *small, *beside}, "one large and one small are in work at once"


@pytest.mark.parametrize("clients", [3, 8, 9, 17])
@pytest.mark.parametrize("pack", [False, True])
def test_a_tensor_shared_by_threads_is_the_tensor_of_one_to_the_bit(monkeypatch, clients, pack):
    previous, updates = random_updates((50, 13), clients, seed=7)
    alone = merge_tensor("a", previous, survivors(updates, pack=pack))
    monkeypatch.setattr(accumulate, "SHARED", 1)
    monkeypatch.setattr(kernels, "BLOCK", 64)
    for threads in (2, 3):
        shared = merge_model(
            {"a": previous}, lambda _: later(survivors(updates, pack=pack)), threads=threads
        )
        assert shared["a"].tobytes() == alone.tobytes()


def test_an_error_in_a_thread_comes_out_and_says_which_tensor():
    previous = {"good": f32(1), "bad": f32(1)}
    parts = {"good": [(1.0, None, f32(2))], "bad": [(math.nan, None, f32(2))]}
    for threads in (1, 2, 8):
        with pytest.raises(MergeError, match="'bad'"):
            merge_model(previous, lambda name: later(parts[name]), threads=threads)


def test_at_most_eight_contributions_are_held():
    given_out, most = [], 0

    def stream():
        nonlocal most
        for _ in range(100):
            values = np.ones(3, np.float32)
            given_out.append(weakref.ref(values))
            most = max(most, sum(one() is not None for one in given_out))
            yield 0.01, None, values

    merged = merge_tensor("a", f32(0, 0, 0), stream())
    np.testing.assert_allclose(merged, 1, rtol=1e-6)
    # The group of eight, the one that did not fit it any more, and the one just made.
    assert most <= GROUP + 2


@pytest.mark.parametrize("how", MERGES)
@pytest.mark.parametrize("clients", [3, 20])
def test_every_source_is_let_go_once_it_is_added_up(how, clients):
    let_go = []

    class Source(ArrayValues):
        def release(self):
            let_go.append(self)

    sources = [Source(f32(1, 2, 3)) for _ in range(clients)]
    merge_tensor("a", f32(0, 0, 0), [(0.1, None, source) for source in sources], how=how)
    assert let_go == sources


def test_many_clients_do_not_pile_up_rounding():
    rng = np.random.default_rng(2)
    values = (1 + rng.random((256, 64))).astype(np.float32)
    weights = rng.random(256)
    updates = [(float(w), None, v) for w, v in zip(weights, values, strict=True)]
    merged = merge_tensor("a", np.zeros(64, np.float32), updates)
    exact = (weights[:, None] * values.astype(np.float64)).sum(0) / weights.sum()
    np.testing.assert_allclose(merged, exact, rtol=2e-7)


def test_inputs_are_not_changed():
    previous, updates = random_updates((40,), 4, seed=3)
    copies = [previous.copy()] + [array.copy() for _, _, array in updates]
    merge_tensor("a", previous, updates)
    assert previous.tobytes() == copies[0].tobytes()
    for (_, _, values), copy in zip(updates, copies[1:], strict=True):
        assert values.tobytes() == copy.tobytes()


@pytest.mark.parametrize("weight", [math.nan, math.inf, -math.inf, -0.5, 1e300])
def test_a_weight_that_cannot_be_is_refused(weight):
    accumulator = MergeAccumulator("layer", OLD)
    with pytest.raises(MergeError, match="'layer'"):
        accumulator.add(Contribution.of(weight, None, OLD))


@pytest.mark.parametrize(
    ("mask", "values"),
    [
        (None, f32(1, 2, 3)),
        (bools(1, 1, 1), f32(1, 2, 3)),
        (bools(1, 1, 0, 0), f32(1, 2, 3)),
        (np.array([0b11000000], np.uint8), f32(1)),
        (np.array([1, 2], np.uint8), f32(1, 2)),
        (np.array([1, 1, 0, 0], np.int64), f32(1, 2)),
        (None, np.array([1.0, 2.0, 3.0, 4.0])),
    ],
)
def test_what_does_not_fit_the_tensor_is_refused_by_name(mask, values):
    with pytest.raises(MergeError, match="'layer'"):
        merge_tensor("layer", OLD, [(0.0, mask, values)])


def test_an_unknown_merge_is_refused():
    with pytest.raises(MergeError, match="'median'"):
        merge_tensor("a", OLD, [], how="median")


@pytest.mark.parametrize("clients", [3, 11])
def test_small_tensors_beside_a_large_one_are_merged_as_they_are_alone(clients):
    values = np.random.default_rng(7).standard_normal(accumulate.SHARED + 1003).astype(np.float32)
    model = {"large": values, "small": values[:1003], "one": values[:1]}
    updates = {}
    for name, previous in model.items():
        masks = [np.random.default_rng(k).random(previous.size) < 0.5 for k in range(clients)]
        updates[name] = [
            (0.1 + 0.05 * k, mask, previous[mask] * (1 + k)) for k, mask in enumerate(masks)
        ]
        updates[name][1] = 0.3, None, -previous
    beside = merge_model(model, lambda name: later(updates[name]), threads=2)
    for name in model:
        alone = merge_tensor(name, model[name], updates[name])
        assert beside[name].tobytes() == alone.tobytes()
