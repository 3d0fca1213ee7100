import hashlib
import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fedklpr_flwr.algorithm.masks import (
    apply_mask,
    full_mask,
    mask_difference,
    mask_hash,
    prunable_weights,
    pruning_ratio,
)
from fedklpr_flwr.algorithm.smallest_weights import prune_smallest
from fedklpr_flwr.errors import SettingsError, WeightsError


def tiny_network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 4, 3, groups=4),
        nn.Conv2d(4, 8, 1),
        nn.Flatten(),
        nn.Linear(8, 2),
    )


def kept_values(tensors, masks, name):
    return tensors[name][masks[name]].tolist()


def test_only_ordinary_convolutions_are_prunable_unless_asked():
    assert prunable_weights(tiny_network()) == ("3.weight",)
    assert prunable_weights(tiny_network(), stem=True) == ("0.weight", "3.weight")
    assert prunable_weights(tiny_network(), depthwise=True) == ("2.weight", "3.weight")


def test_prunable_names_are_names_of_the_state_dict():
    network = tiny_network()
    names = prunable_weights(network, depthwise=True, stem=True)
    assert set(names) <= set(network.state_dict())
    assert prunable_weights(nn.Conv2d(4, 4, 1)) == ("weight",)


def test_a_full_mask_keeps_all_and_refuses_an_unknown_name():
    tensors = {"a": torch.zeros(2, 3)}
    assert full_mask(tensors, ["a"])["a"].tolist() == [[True] * 3] * 2
    with pytest.raises(WeightsError, match="'b'"):
        full_mask(tensors, ["b"])


def test_the_smallest_magnitudes_go_first():
    tensors = {"a": torch.tensor([0.3, -0.1, 0.2, -0.4])}
    masks = prune_smallest(tensors, full_mask(tensors, ["a"]), 0.5)
    assert masks["a"].tolist() == [True, False, False, True]


def test_the_rate_is_of_what_survives_and_masks_only_shrink():
    tensors = {"a": torch.arange(1.0, 101.0)}
    masks = full_mask(tensors, ["a"])
    kept = []
    for _ in range(3):
        smaller = prune_smallest(tensors, masks, 0.1)
        assert not (smaller["a"] & ~masks["a"]).any()
        masks = smaller
        kept.append(int(masks["a"].sum()))
    assert kept == [90, 81, 73]


def test_the_inputs_are_not_changed():
    tensors = {"a": torch.tensor([3.0, 1.0, 2.0])}
    masks = full_mask(tensors, ["a"])
    smaller = prune_smallest(tensors, masks, 0.4)
    assert masks["a"].all()
    assert tensors["a"].tolist() == [3.0, 1.0, 2.0]
    smaller["a"][:] = False
    assert prune_smallest(tensors, masks, 0.0)["a"] is not masks["a"]


def test_equal_magnitudes_go_in_the_order_of_their_index():
    tensors = {"a": torch.tensor([[1.0, -1.0], [1.0, -1.0]])}
    masks = prune_smallest(tensors, full_mask(tensors, ["a"]), 0.5)
    assert masks["a"].tolist() == [[False, False], [True, True]]


def test_a_pruned_zero_is_not_pruned_twice():
    tensors = {"a": torch.tensor([0.0, 0.0, 1.0, 2.0])}
    masks = {"a": torch.tensor([False, False, True, True])}
    assert prune_smallest(tensors, masks, 0.5)["a"].tolist() == [False, False, False, True]


def test_the_last_step_hits_the_target_exactly():
    tensors = {"a": torch.arange(1.0, 101.0), "b": torch.arange(1.0, 61.0)}
    masks = full_mask(tensors, ["a", "b"])
    ratios = []
    for _ in range(9):
        masks = prune_smallest(tensors, masks, 0.1, floor_density=0.5)
        ratios.append(pruning_ratio(masks))
    assert ratios[0] == 0.1
    assert ratios[-1] == ratios[-2] == ratios[-3] == 0.5


@pytest.mark.parametrize("size", [7, 10, 31])
@pytest.mark.parametrize("target", [0.3, 0.5, 0.7, 0.9])
def test_density_never_falls_below_one_less_the_target(size, target):
    tensors = {"a": torch.arange(1.0, size + 1.0)}
    masks = full_mask(tensors, ["a"])
    for _ in range(30):
        masks = prune_smallest(tensors, masks, 0.5, floor_density=1 - target)
    assert int(masks["a"].sum()) == max(math.ceil(round((1 - target) * size, 6)), 1)


def test_each_tensor_gives_in_proportion_and_the_total_is_exact():
    tensors = {name: torch.arange(1.0, n + 1) for name, n in (("a", 15), ("b", 15), ("c", 70))}
    masks = prune_smallest(tensors, full_mask(tensors, tensors), 0.1)
    gone = {name: int((~mask).sum()) for name, mask in masks.items()}
    assert gone["c"] == 7
    assert sum(gone.values()) == 10
    assert sorted((gone["a"], gone["b"])) == [1, 2]


def test_over_the_network_the_layer_of_small_weights_gives_most():
    tensors = {"small": torch.tensor([0.1, -0.2, 0.3, 0.9]), "large": torch.tensor([5.0, -0.25])}
    masks = prune_smallest(tensors, full_mask(tensors, tensors), 0.5, scope="network")
    assert masks["small"].tolist() == [False, False, True, True]
    assert masks["large"].tolist() == [True, False]


def test_over_the_network_equal_magnitudes_go_exactly_and_no_tensor_wholly():
    tensors = {name: torch.ones(4) for name in "abc"}
    masks = full_mask(tensors, tensors)
    counts = []
    for _ in range(8):
        masks = prune_smallest(tensors, masks, 0.25, scope="network")
        counts.append(sum(int(mask.sum()) for mask in masks.values()))
    assert counts[:4] == [9, 7, 5, 4]
    assert all(mask.any() for mask in masks.values())


@pytest.mark.parametrize("target", [0.3, 0.5, 0.9])
def test_over_the_network_the_target_is_hit_exactly(target):
    generator = torch.Generator().manual_seed(3)
    tensors = {name: torch.randn(n, generator=generator) for name, n in (("a", 30), ("b", 170))}
    masks = full_mask(tensors, tensors)
    for _ in range(30):
        masks = prune_smallest(tensors, masks, 0.2, floor_density=1 - target, scope="network")
    assert pruning_ratio(masks) == pytest.approx(target, abs=1e-9)
    kept = torch.cat([tensors[name][masks[name]].abs() for name in tensors])
    gone = torch.cat([tensors[name][~masks[name]].abs() for name in tensors])
    assert gone.max() < kept.min()


def test_an_unknown_scope_is_refused():
    with pytest.raises(SettingsError, match="'world'"):
        prune_smallest({}, {}, 0.1, scope="world")


def test_no_tensor_is_pruned_to_nothing():
    tensors = {"one": torch.tensor([1e-9]), "many": torch.arange(1.0, 9.0)}
    masks = full_mask(tensors, tensors)
    for _ in range(20):
        masks = prune_smallest(tensors, masks, 0.9)
    assert int(masks["one"].sum()) == 1
    assert int(masks["many"].sum()) == 1


@settings(max_examples=60, deadline=None)
@given(
    weights=st.lists(st.sampled_from([-2.0, -1.0, 0.0, 1.0, 2.0, 3.0]), min_size=1, max_size=40),
    rate=st.floats(0, 0.99),
    target=st.floats(0, 0.99),
)
def test_pruning_equals_a_slow_sort(weights, rate, target):
    tensors = {"a": torch.tensor(weights)}
    fast = prune_smallest(tensors, full_mask(tensors, ["a"]), rate, floor_density=1 - target)
    n = len(weights)
    room = n - math.ceil((1 - target) * n - 1e-9 * n)
    count = max(min(round(rate * n), room, n - 1), 0)
    order = sorted(range(n), key=lambda i: (abs(weights[i]), i))
    assert [i for i in range(n) if not fast["a"][i]] == sorted(order[:count])


def test_pruning_refuses_bad_rates_foreign_masks_and_nan():
    tensors = {"a": torch.tensor([1.0, float("nan")])}
    masks = full_mask(tensors, ["a"])
    with pytest.raises(WeightsError, match="NaN"):
        prune_smallest(tensors, masks, 0.5)
    with pytest.raises(SettingsError, match=r"1\.5"):
        prune_smallest(tensors, masks, 1.5)
    with pytest.raises(WeightsError, match="architecture"):
        prune_smallest(tensors, {"a": torch.ones(3, dtype=torch.bool)}, 0.5)
    with pytest.raises(WeightsError, match="'z'"):
        apply_mask(tensors, {"z": torch.ones(3, dtype=torch.bool)})


def test_applying_a_mask_changes_the_network_and_clears_nan():
    network = nn.Conv2d(1, 1, (1, 3), bias=False)
    network.weight.data[:] = torch.tensor([-1.0, float("nan"), 2.0])
    apply_mask(network.state_dict(), {"weight": torch.tensor([[[[False, False, True]]]])})
    assert network.weight.flatten().tolist() == [0.0, 0.0, 2.0]
    assert not torch.signbit(network.weight.flatten()[0])


def test_a_kept_zero_stays_kept():
    tensors = {"a": torch.tensor([0.0, 5.0])}
    masks = full_mask(tensors, ["a"])
    apply_mask(tensors, masks)
    assert pruning_ratio(masks) == 0.0


def test_the_pruning_ratio_is_over_all_tensors_together():
    masks = {"a": torch.tensor([True, False]), "b": torch.tensor([True] * 6)}
    assert pruning_ratio(masks) == pytest.approx(1 / 8)
    assert pruning_ratio({}) == 0.0


def test_mask_difference_is_the_mean_of_per_tensor_hamming_shares():
    first = {"a": torch.tensor([True, True]), "b": torch.tensor([True] * 4)}
    second = {"a": torch.tensor([True, False]), "b": torch.tensor([False, True, True, True])}
    assert mask_difference(first, second) == pytest.approx((1 / 2 + 1 / 4) / 2)
    assert mask_difference(first, first) == 0.0
    with pytest.raises(WeightsError):
        mask_difference(first, {"a": first["a"]})


def test_the_fingerprint_is_of_names_shapes_and_bits():
    mask = torch.tensor([[True, False, True]])
    expected = hashlib.sha256(b"a\x001x3\x00" + np.packbits([True, False, True]).tobytes())
    assert mask_hash({"a": mask}) == expected.hexdigest()
    others = [{"b": mask}, {"a": mask.T}, {"a": ~mask}, {}]
    assert len({mask_hash(m) for m in [*others, {"a": mask}]}) == 5
    assert mask_hash({"a": mask, "b": ~mask}) == mask_hash({"b": ~mask, "a": mask})


@pytest.mark.slow
def test_a_resnet50_is_pruned_in_under_a_second():
    generator = torch.Generator().manual_seed(0)
    tensors = {str(i): torch.randn(512, 512, 9, generator=generator) for i in range(10)}
    masks = full_mask(tensors, tensors)
    start = time.process_time()
    prune_smallest(tensors, masks, 0.1)
    assert time.process_time() - start < 1.0
