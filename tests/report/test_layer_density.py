"""Claims about fedklpr_flwr.report.layer_density: what clients keep of each layer."""

import pytest
import torch
from safetensors.numpy import save_file

from fedklpr_flwr.errors import FedKlprError, RunError
from fedklpr_flwr.model.mask_file import masks_to_bytes
from fedklpr_flwr.report.layer_density import model_density


def write_masks(folder, **clients):
    for name, masks in clients.items():
        place = folder / "clients" / name
        place.mkdir(parents=True)
        tensors = {layer: torch.tensor(bits, dtype=torch.bool) for layer, bits in masks.items()}
        (place / "mask.safetensors").write_bytes(masks_to_bytes(tensors))


def test_a_layer_has_the_mean_the_spread_and_what_anybody_keeps(tmp_path):
    write_masks(tmp_path, ash={"w": [1, 1, 0, 0]}, birch={"w": [1, 0, 0, 0]})
    (layer,) = model_density(tmp_path).layers
    assert (layer.numbers, layer.mean, layer.least, layer.most) == (4, 0.375, 0.25, 0.5)
    assert layer.held == 0.5


def test_over_all_layers_larger_ones_count_more(tmp_path):
    write_masks(
        tmp_path, ash={"backbone.a.weight": [1, 1, 1, 0, 0, 0], "backbone.b.weight": [1, 1]}
    )
    density = model_density(tmp_path)
    assert density.over_all("mean") == 5 / 8
    assert [layer.short_name for layer in density.layers] == ["a", "b"]


def test_layers_stand_in_the_order_of_their_numbers(tmp_path):
    names = ["features.10.w", "features.2.w", "features.1.w"]
    write_masks(tmp_path, ash={name: [1] for name in names})
    assert [layer.name for layer in model_density(tmp_path).layers] == names[::-1]


def test_what_no_mask_is_of_is_counted_as_dense(tmp_path):
    write_masks(tmp_path, ash={"w": [1, 0]})
    assert model_density(tmp_path).dense is None
    tensors = {"w": torch.zeros(2).numpy(), "norm": torch.zeros(3, 2).numpy()}
    save_file(tensors, tmp_path / "global.safetensors")
    assert model_density(tmp_path).dense == 6


def test_a_run_without_masks_has_no_density(tmp_path):
    assert model_density(tmp_path) is None
    write_masks(tmp_path, ash={})
    assert model_density(tmp_path) is None


@pytest.mark.parametrize(
    ("other", "said"), [({"v": [1]}, "has no "), ({"w": [1, 0, 1]}, r"shape \(3,\)")]
)
def test_masks_of_two_networks_are_refused(tmp_path, other, said):
    write_masks(tmp_path, ash={"w": [1, 0]}, birch=other)
    with pytest.raises(RunError, match=said):
        model_density(tmp_path)


@pytest.mark.parametrize("file", ["clients/ash/mask.safetensors", "global.safetensors"])
def test_a_damaged_file_is_named(tmp_path, file):
    write_masks(tmp_path, ash={"w": [1, 0]})
    (tmp_path / file).write_bytes(b"rubbish")
    with pytest.raises(FedKlprError, match=file.rpartition("/")[2]):
        model_density(tmp_path)
