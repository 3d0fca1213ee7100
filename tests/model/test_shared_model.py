"""Claims about fedklpr_flwr.model.shared_model: what all begin with, and what travels."""

import pytest
import torch

from fedklpr_flwr.errors import WeightsError
from fedklpr_flwr.model.shared_model import (
    full_masks,
    initial_network,
    personal_names,
    prunable_names,
    shared_layout,
)
from fedklpr_flwr.reid.network import float_state


def test_the_seed_alone_decides_the_initial_network(tiny_settings):
    torch.manual_seed(1)
    one = float_state(initial_network(tiny_settings(), pretrained=True))
    torch.manual_seed(2)
    same = float_state(initial_network(tiny_settings(), pretrained=True))
    other = float_state(initial_network(tiny_settings("seed=1"), pretrained=True))
    assert all(torch.equal(one[name], same[name]) for name in one)
    weights = [name for name in one if name.endswith(("conv1.weight", "conv2.weight"))]
    assert len(weights) > 5
    assert not any(torch.equal(one[name], other[name]) for name in weights)


@pytest.mark.slow
def test_a_new_run_starts_from_the_merged_model_of_an_old_one(federate, tiny_settings):
    names = ("ash", "birch")
    old = federate("training.learning_rate=0.003", "federation.rounds=1", names=names)
    new = federate(f"model.weights={old.folder}", "seed=5", folder="new", names=names)
    settings = tiny_settings(f"model.weights={old.folder}", "seed=5")
    start = float_state(initial_network(settings, pretrained=True))
    merged = old.state().tensors
    assert all(torch.equal(start[name], torch.from_numpy(merged[name])) for name in merged)
    assert [new.row(0, n).map for n in names] == [old.row(1, n).map for n in names]


@pytest.mark.slow
def test_a_folder_without_a_merged_model_and_one_of_another_network_are_refused(
    tiny_settings, federate, tmp_path
):
    with pytest.raises(WeightsError, match="holds no global"):
        initial_network(tiny_settings(f"model.weights={tmp_path}"), pretrained=True)
    old = federate("federation.rounds=1", names=("ash", "birch"))
    other = tiny_settings(f"model.weights={old.folder}", "model.backbone=resnet18")
    with pytest.raises(WeightsError, match="set model=small"):
        initial_network(other, pretrained=True)


def test_counters_do_not_travel(tiny_settings):
    names = {spec.name for spec in shared_layout(tiny_settings())}
    assert any(name.endswith("running_mean") for name in names)
    assert not any("num_batches_tracked" in name for name in names)


@pytest.mark.parametrize("parts", ["none", "batchnorm", "neck", "all"])
def test_what_is_personal_does_not_travel_and_all_else_does(parts, tiny_settings):
    settings = tiny_settings(f"method.personal_parts={parts}", "method.pruning=none")
    network = initial_network(settings, pretrained=False)
    personal = personal_names(network, parts)
    travelling = {spec.name for spec in shared_layout(settings)}
    assert personal | travelling == set(float_state(network))
    assert not personal & travelling
    expected = {
        "none": 0,
        "neck": 4,  # weight, bias, running mean and variance
        "all": len(float_state(network)),
    }
    if parts in expected:
        assert len(personal) == expected[parts]
    else:
        assert {name for name in personal if "running_var" in name} == {
            name for name in float_state(network) if "running_var" in name
        }
        assert not any(".conv" in name for name in personal)


def test_only_a_method_that_prunes_has_masks(tiny_settings):
    network = initial_network(tiny_settings(), pretrained=False)
    assert prunable_names(network, tiny_settings("method.pruning=none")) == ()
    names = prunable_names(network, tiny_settings())
    assert names
    masks = full_masks(network, tiny_settings())
    assert masks.keys() == set(names)
    assert all(mask.all() and mask.dtype == torch.bool for mask in masks.values())
    marked = {spec.name for spec in shared_layout(tiny_settings()) if spec.prunable}
    assert marked == set(names)


@pytest.mark.slow
def test_the_stem_is_pruned_only_where_asked(tiny_settings):
    network = initial_network(tiny_settings(), pretrained=False)
    stem = {*prunable_names(network, tiny_settings("pruning.stem=true"))} - {
        *prunable_names(network, tiny_settings())
    }
    assert stem == {"backbone.conv1.weight"}
