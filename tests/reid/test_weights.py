"""Weights from files: what fits is loaded, what does not fit is named."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet18

from fedklpr_flwr.errors import WeightsError
from fedklpr_flwr.reid.network import ReidNetwork, build_network
from fedklpr_flwr.reid.weights import download_imagenet_weights, load_backbone_weights


@pytest.fixture
def network() -> ReidNetwork:
    return build_network("small", weights=None, generator_seed=0)


def test_a_whole_network_comes_back_from_a_pth(network: ReidNetwork, tmp_path: Path) -> None:
    torch.save(network.state_dict(), tmp_path / "w.pth")
    other = build_network("small", weights=tmp_path / "w.pth", generator_seed=1)
    for key, value in network.state_dict().items():
        assert torch.equal(value, other.state_dict()[key])


def test_counters_may_be_absent_from_safetensors(network: ReidNetwork, tmp_path: Path) -> None:
    floats = {k: v for k, v in network.state_dict().items() if v.is_floating_point()}
    save_file(floats, tmp_path / "w.safetensors")
    other = build_network("small", weights=tmp_path / "w.safetensors", generator_seed=1)
    assert torch.equal(network.neck.running_var, other.neck.running_var)
    assert torch.equal(network.backbone.conv1.weight, other.backbone.conv1.weight)


def test_torchvisions_own_names_load_and_its_classifier_is_passed_over(tmp_path: Path) -> None:
    published = resnet18(weights=None)
    torch.save(published.state_dict(), tmp_path / "resnet18.pth")
    network = build_network("resnet18", weights=tmp_path / "resnet18.pth", generator_seed=0)
    assert torch.equal(network.backbone.layer4[1].conv2.weight, published.layer4[1].conv2.weight)
    assert torch.equal(network.neck.weight, torch.ones(512))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("backbone.bn1.weight"), "bn1.weight.*shape .16,.*found no such key"),
        (lambda d: d.update(extra=torch.zeros(2)), "extra.*expected no such key, found shape .2,"),
        (lambda d: d.update({"neck.weight": torch.ones(7)}), "neck.weight.*128,.*shape .7,"),
    ],
)
def test_the_first_misfit_is_named_and_nothing_is_loaded(
    network: ReidNetwork, tmp_path: Path, change, message: str
) -> None:
    tensors = {k: torch.ones_like(v) for k, v in network.state_dict().items()}
    change(tensors)
    torch.save(tensors, tmp_path / "w.pth")
    before = network.backbone.conv1.weight.clone()
    with pytest.raises(WeightsError, match=message):
        load_backbone_weights(network, tmp_path / "w.pth")
    assert torch.equal(before, network.backbone.conv1.weight)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_a_broken_file_is_a_weights_error(network: ReidNetwork, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not weights")
    with pytest.raises(WeightsError, match="not a readable file"):
        load_backbone_weights(network, tmp_path / name)


def test_a_missing_file_and_a_nested_one_are_weights_errors(
    network: ReidNetwork, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match="is no file"):
        load_backbone_weights(network, tmp_path / "none.pth")
    torch.save({"state_dict": network.state_dict()}, tmp_path / "nested.pth")
    with pytest.raises(WeightsError, match="plain dict"):
        load_backbone_weights(network, tmp_path / "nested.pth")


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Path]:
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path))
    yield tmp_path / "checkpoints"
    torch.hub.set_dir(before)


def test_imagenet_weights_already_in_the_cache_are_not_fetched(cache: Path) -> None:
    cache.mkdir()
    carried = cache / "resnet34-b627a593.pth"
    carried.write_bytes(b"")
    assert download_imagenet_weights("resnet34") == carried


def test_a_backbone_without_imagenet_weights_is_refused() -> None:
    with pytest.raises(WeightsError, match="'small'"):
        download_imagenet_weights("small")
