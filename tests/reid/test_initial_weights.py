"""Weights from files: what fits is loaded, what does not fit is named."""

import hashlib
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import get_model_weights, resnet18, resnet34

from fedklpr_flwr.errors import WeightsError
from fedklpr_flwr.reid.initial_weights import (
    IMAGENET_FILES,
    download_imagenet_weights,
    load_backbone_weights,
    read_tensors,
)
from fedklpr_flwr.reid.network import ReidNetwork, build_network


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
        (
            lambda d: (
                d.update({"backbone.layer9.x": torch.zeros(2)}) or d.pop("backbone.conv1.weight")
            ),
            "conv1.weight",
        ),
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


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("w.pth", b"not weights", "is not a readable file of weights: expected .safetensors, or"),
        ("w.safetensors", b"not weights", "is damaged or cut off (11 bytes"),
        ("w.safetensors", b"", "is empty: expected .safetensors"),
        ("w.pth", b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS"),
        ("w.pth", b"\n<!DOCTYPE html><html>", "is a web page, not the file"),
        ("w.pth", b"PK\x03\x04" + bytes(90), "is damaged or cut off (94 bytes)"),
        ("w.onnx", b"\x08\x0a\x12", "is ONNX, .*: expected .safetensors"),
    ],
)
def test_a_broken_file_is_a_weights_error(
    network: ReidNetwork, tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=said.replace("(", r"\(").replace(")", r"\)")):
        load_backbone_weights(network, tmp_path / name)


def test_a_file_that_was_cut_off_or_holds_a_program_is_called_so(
    network: ReidNetwork, tmp_path: Path
) -> None:
    save_file({"a": torch.ones(100)}, tmp_path / "w.safetensors")
    whole = (tmp_path / "w.safetensors").read_bytes()
    (tmp_path / "w.safetensors").write_bytes(whole[:-1])
    with pytest.raises(WeightsError, match=r"is damaged or cut off .* copy or export it anew"):
        load_backbone_weights(network, tmp_path / "w.safetensors")
    script = torch.jit.trace(torch.nn.ReLU(), torch.ones(1))  # type: ignore[no-untyped-call]
    torch.jit.save(script, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"is TorchScript, .* fedklpr export RUN --format"):
        load_backbone_weights(network, tmp_path / "w.pt")


def test_a_file_that_unpacks_to_far_more_is_refused_before_it_is_loaded(
    network: ReidNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"x": torch.zeros(1_000_000)}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "w.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    assert (tmp_path / "w.pth").stat().st_size < 10_000
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was loaded"))
    with pytest.raises(WeightsError, match=r"is compressed .* unpack to 4,\d+,\d+ bytes"):
        load_backbone_weights(network, tmp_path / "w.pth")


def test_a_missing_file_and_a_nested_one_are_weights_errors(
    network: ReidNetwork, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match="is no file"):
        load_backbone_weights(network, tmp_path / "none.pth")
    torch.save({"history": [network.state_dict()]}, tmp_path / "nested.pth")
    with pytest.raises(WeightsError, match="holds a dict with history, not a plain dict"):
        load_backbone_weights(network, tmp_path / "nested.pth")


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Path]:
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path))
    yield tmp_path / "checkpoints"
    torch.hub.set_dir(before)


def test_imagenet_weights_already_in_the_cache_are_not_fetched(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.mkdir()
    carried = cache / "resnet34-b627a593.pth"
    carried.write_bytes(b"what torchvision published")
    sha256 = hashlib.sha256(carried.read_bytes()).hexdigest()
    monkeypatch.setitem(IMAGENET_FILES, "resnet34", (carried.name, sha256))
    assert download_imagenet_weights("resnet34") == carried


def test_a_carried_file_that_is_another_is_refused_with_both_hashes(cache: Path) -> None:
    cache.mkdir()
    (cache / "resnet34-b627a593.pth").write_bytes(b"half of it")
    with pytest.raises(WeightsError, match=r"expected SHA-256 b627a593.*found [0-9a-f]{64}"):
        download_imagenet_weights("resnet34")


@pytest.mark.parametrize("backbone", sorted(IMAGENET_FILES))
def test_the_files_to_carry_are_those_that_torchvision_names(backbone: str) -> None:
    url = get_model_weights(backbone).DEFAULT.url
    name, sha256 = IMAGENET_FILES[backbone]
    assert url == f"https://download.pytorch.org/models/{name}"
    assert len(sha256) == 64
    assert name.endswith(f"-{sha256[:8]}.pth")


@pytest.mark.parametrize(
    ("published", "backbone", "key"),
    [
        (resnet34, "resnet18", "layer1.2.conv1.weight"),
        (resnet18, "resnet50", "layer1.0.conv1.weight"),
        (resnet18, "mobilenet_v2", "features.0.0.weight"),
    ],
)
def test_weights_of_another_architecture_are_refused_at_the_first_key_that_differs(
    published: Callable[..., nn.Module], backbone: str, key: str, tmp_path: Path
) -> None:
    torch.save(published(weights=None).state_dict(), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=f"'{re.escape(key)}'"):
        build_network(backbone, weights=tmp_path / "w.pth", generator_seed=0)


def test_the_refusal_names_the_backbone_that_fits_and_its_prefix(tmp_path: Path) -> None:
    state = build_network("resnet18", weights=None, generator_seed=0).backbone.state_dict()
    path = tmp_path / "w.pth"
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, path)
    told = r"all of resnet18 is there behind the prefix module\.: set model=resnet18"
    with pytest.raises(WeightsError, match=told):
        build_network("mobilenet_v2", weights=path, generator_seed=0)
    state.pop("layer4.1.bn2.weight")
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, path)
    told = r"resnet18 is nearest, with 99 tensors of the same name and shape behind the prefix mod"
    with pytest.raises(WeightsError, match=told):
        build_network("resnet18", weights=path, generator_seed=0)


def test_names_that_are_numbers_are_no_prefix(tmp_path: Path) -> None:
    body = build_network("resnet18", weights=None, generator_seed=0).backbone
    path = tmp_path / "w.pth"
    torch.save(nn.Sequential(*body.children()).state_dict(), path)
    with pytest.raises(WeightsError, match=r"names begin with numbers.*own state_dict") as caught:
        build_network("resnet18", weights=path, generator_seed=0)
    assert "4.0." not in str(caught.value)


def test_a_backbone_without_imagenet_weights_is_refused() -> None:
    with pytest.raises(WeightsError, match="'small'"):
        download_imagenet_weights("small")


@pytest.mark.parametrize(
    "content",
    [
        {"a": torch.eye(3).to_sparse()},
        {"a": torch.empty(3, device="meta")},
        {"a": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)},
        {"a": torch.ones(3, dtype=torch.complex64)},
        {1: torch.ones(3)},
    ],
    ids=["sparse", "meta", "quantised", "complex", "a number for a name"],
)
def test_tensors_that_are_no_plain_numbers_are_refused_in_words(content, tmp_path) -> None:
    path = tmp_path / "odd.pth"
    torch.save(content, path)
    with pytest.raises(WeightsError, match=r"odd.pth"):
        read_tensors(path)


WRAPPINGS = {
    "DataParallel": lambda d: {f"module.{k}": v for k, v in d.items()},
    "base": lambda d: {f"base.{k}": v for k, v in d.items()},
    "DataParallel of a model of a backbone": lambda d: {
        f"module.model.backbone.{k}": v for k, v in d.items()
    },
    "torchreid": lambda d: {
        "state_dict": {f"module.{k}": v for k, v in d.items()}
        | {"module.classifier.weight": torch.zeros(751, 9)},
        "epoch": 60,
        "rank1": np.float64(0.9),
    },
    "fast-reid": lambda d: {
        "model": {f"backbone.{k}": v for k, v in d.items()}
        | {"heads.bottleneck.0.weight": torch.zeros(9), "heads.weight": torch.zeros(751, 9)}
    },
}


@pytest.mark.parametrize("how", WRAPPINGS)
def test_weights_load_as_other_toolkits_save_them(how: str, network: ReidNetwork, tmp_path: Path):
    state = {
        k: v + 1 if v.is_floating_point() else v for k, v in network.backbone.state_dict().items()
    }
    torch.save(WRAPPINGS[how](state), tmp_path / "w.pth")
    said = load_backbone_weights(network, tmp_path / "w.pth")
    assert torch.equal(network.backbone.conv1.weight, state["conv1.weight"])
    assert "taken off" in said
    assert ("passed over" in said) == (how in ("torchreid", "fast-reid"))


INSIDE = {
    "a step beside the tensors": lambda d: {"state_dict": {**d, "step": 5, "version": "1"}},
    "numpy's arrays": lambda d: {"state_dict": {k: v.numpy() for k, v in d.items()}},
    "a float16 figure": lambda d: {"state_dict": d, "rank1": np.float16(0.5), "n": np.uint8(3)},
} | {
    name: lambda d, name=name: {name: d, "epoch": 3}
    for name in ("ema_state_dict", "state_dict_ema", "model_state", "checkpoint", "backbone")
}


@pytest.mark.parametrize("how", INSIDE)
def test_weights_are_found_in_what_others_put_them_into(
    how: str, network: ReidNetwork, tmp_path: Path
) -> None:
    state = {
        k: v + 1 if v.is_floating_point() else v for k, v in network.backbone.state_dict().items()
    }
    torch.save(INSIDE[how](state), tmp_path / "w.pth")
    assert load_backbone_weights(network, tmp_path / "w.pth") == ""
    assert torch.equal(network.backbone.conv1.weight, state["conv1.weight"])


def test_of_a_teacher_and_a_student_the_one_taken_is_said(
    network: ReidNetwork, tmp_path: Path
) -> None:
    own = network.backbone.state_dict()
    torch.save({"student": own, "teacher": own, "epoch": 1}, tmp_path / "w.pth")
    assert load_backbone_weights(network, tmp_path / "w.pth") == (
        "teacher taken, student passed over"
    )


def test_figures_that_numpy_1_wrote_are_read(network: ReidNetwork, tmp_path: Path) -> None:
    """It calls the same function numpy.core.multiarray.scalar, two letters shorter in the file."""
    content = {"state_dict": network.state_dict(), "rank1": np.float64(0.5)}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    bytes_now = (tmp_path / "w.pth").read_bytes()
    assert b"numpy._core.multiarray\nscalar" in bytes_now
    (tmp_path / "w.pth").write_bytes(bytes_now.replace(b"numpy._core.multi", b"numpy.core.multi"))
    load_backbone_weights(network, tmp_path / "w.pth")


def test_a_suffix_in_capitals_is_the_same(network: ReidNetwork, tmp_path: Path) -> None:
    save_file(network.state_dict(), tmp_path / "W.SAFETENSORS")
    assert read_tensors(tmp_path / "W.SAFETENSORS").keys() == network.state_dict().keys()


def test_a_cache_that_cannot_be_written_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", "/proc/x")
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    with pytest.raises(WeightsError, match=r"could not fetch .* carry resnet18-f37072fd\.pth"):
        download_imagenet_weights("resnet18")


def test_a_file_that_holds_a_programs_object_names_it(network: ReidNetwork, tmp_path: Path) -> None:
    torch.save({"state_dict": network.state_dict(), "args": Path("x")}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"holds an object of a program \(pathlib"):
        load_backbone_weights(network, tmp_path / "w.pth")


def test_of_two_branches_the_first_is_taken_and_the_other_named(
    network: ReidNetwork, tmp_path: Path
) -> None:
    """As MoCo keeps a query encoder, which is trained, and a key encoder, which follows it."""
    own = network.state_dict()
    both = {f"module.encoder_q.{name}": value for name, value in own.items()}
    both |= {f"module.encoder_k.{name}": value * 0 for name, value in own.items()}
    torch.save(both, tmp_path / "w.pth")
    fresh = build_network("small", weights=None, generator_seed=9)
    said = load_backbone_weights(fresh, tmp_path / "w.pth")
    assert "the prefix module.encoder_q. taken off" in said
    assert "behind module.encoder_k.backbone. fits as well and is passed over" in said
    assert all(torch.equal(value, own[name]) for name, value in fresh.state_dict().items())
