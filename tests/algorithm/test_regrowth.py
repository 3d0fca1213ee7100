"""Claims about fedklpr_flwr.algorithm.regrowth: places change, numbers stay."""

import pytest
import torch

from fedklpr_flwr.algorithm.regrowth import regrow_share, regrown_masks
from fedklpr_flwr.errors import WeightsError


def test_the_share_falls_by_a_cosine_from_its_start_to_nothing():
    assert regrow_share(0.04, 0, 20) == 0.04
    assert regrow_share(0.04, 10, 20) == pytest.approx(0.02)
    assert regrow_share(0.04, 20, 20) == pytest.approx(0.0)


def test_the_smallest_kept_and_the_largest_gradient_change_places_by_hand():
    weights = {"w": torch.tensor([5.0, 0.1, 4.0, 3.0, 0.0, 0.0])}
    masks = {"w": torch.tensor([True, True, True, True, False, False])}
    gradients = {"w": torch.tensor([9.0, 0.0, 9.0, 9.0, -2.0, 1.0])}
    grown = regrown_masks(weights, masks, gradients, 0.25)
    assert grown["w"].tolist() == [True, False, True, True, True, False]


def test_a_dropped_weight_that_is_wanted_most_stays():
    weights = {"w": torch.tensor([5.0, 0.1, 0.0])}
    masks = {"w": torch.tensor([True, True, False])}
    gradients = {"w": torch.tensor([0.0, 3.0, 1.0])}
    assert torch.equal(regrown_masks(weights, masks, gradients, 0.5)["w"], masks["w"])


def test_it_equals_sorting_and_keeps_every_count():
    generator = torch.Generator().manual_seed(1)
    weights = {"w": torch.randn(8, 25, generator=generator)}
    masks = {"w": torch.rand(8, 25, generator=generator) > 0.4}
    gradients = {"w": torch.randn(8, 25, generator=generator)}
    grown = regrown_masks(weights, masks, gradients, 0.1)["w"]
    kept = masks["w"].flatten().nonzero().ravel().tolist()
    count = int(0.1 * len(kept))
    by_size = sorted(kept, key=lambda i: abs(float(weights["w"].flatten()[i])))
    left = set(by_size[count:])
    outside = [i for i in range(200) if i not in left]
    wanted = sorted(outside, key=lambda i: -abs(float(gradients["w"].flatten()[i])))[:count]
    assert set(grown.flatten().nonzero().ravel().tolist()) == left | set(wanted)
    assert int(grown.sum()) == len(kept)


def test_nothing_changes_where_nothing_is_pruned_or_asked():
    weights = {"w": torch.arange(4.0)}
    full = {"w": torch.ones(4, dtype=torch.bool)}
    assert torch.equal(regrown_masks(weights, full, weights, 0.5)["w"], full["w"])
    half = {"w": torch.tensor([True, True, False, False])}
    assert torch.equal(regrown_masks(weights, half, weights, 0.0)["w"], half["w"])


def test_a_gradient_of_another_shape_is_refused():
    full = {"w": torch.ones(4, dtype=torch.bool)}
    with pytest.raises(WeightsError, match="'w'"):
        regrown_masks({"w": torch.zeros(4)}, full, {"w": torch.zeros(3)}, 0.5)
