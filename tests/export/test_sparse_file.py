"""Claims about exported safetensors: to the bit, as small as on the wire, and checked when read."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from fedklpr_flwr.algorithm.masks import apply_mask, full_mask, prunable_weights
from fedklpr_flwr.algorithm.smallest_weights import prune_smallest
from fedklpr_flwr.errors import WeightsError
from fedklpr_flwr.export.sparse_file import Architecture, is_sparse, read_sparse, write_sparse
from fedklpr_flwr.reid.network import build_network, float_state
from fedklpr_flwr.wire.codec import encode
from fedklpr_flwr.wire.layout import layout_of

SMALL = Architecture("small", True, 64, 32)


@pytest.fixture(scope="module")
def pruned():
    """A network and its masks, six of ten prunable weights gone."""
    network = build_network("small", weights=None, generator_seed=3).eval()
    state = float_state(network)
    state["backbone.bn1.running_mean"].normal_(generator=torch.Generator().manual_seed(0))
    masks = prune_smallest(state, full_mask(state, prunable_weights(network)), 0.6)
    apply_mask(state, masks)
    return network, masks


@pytest.fixture
def file(pruned, tmp_path):
    write_sparse(tmp_path / "model.safetensors", *pruned, SMALL)
    return tmp_path / "model.safetensors"


def test_every_number_and_mask_reads_back_to_the_bit(pruned, file):
    architecture, network, masks = read_sparse(file)
    assert architecture == SMALL
    state = float_state(network)
    for name, tensor in float_state(pruned[0]).items():
        assert np.array_equal(tensor.numpy(), state[name].numpy()), name
    for name, mask in pruned[1].items():
        assert torch.equal(masks[name], mask)
    assert all(bool(mask.all()) for name, mask in masks.items() if name not in pruned[1])
    assert not network.training


def test_the_file_is_no_larger_than_the_update_of_the_same_model_and_mask(pruned, file):
    pytest.importorskip("constriction")
    state = {name: tensor.numpy() for name, tensor in float_state(pruned[0]).items()}
    masks = {name: mask.numpy() for name, mask in pruned[1].items()}
    sent = encode(state, masks, layout=layout_of(state, list(masks)))
    assert file.stat().st_size <= len(sent)
    dense = sum(array.nbytes for array in state.values())
    assert file.stat().st_size < 0.45 * dense


def test_beside_the_payload_there_are_a_few_hundred_bytes(pruned, tmp_path):
    payload = write_sparse(tmp_path / "model.safetensors", *pruned, SMALL)
    assert (tmp_path / "model.safetensors").stat().st_size < payload + 300


def test_equal_models_make_equal_files(pruned, file, tmp_path):
    write_sparse(tmp_path / "again.safetensors", *pruned, SMALL)
    assert (tmp_path / "again.safetensors").read_bytes() == file.read_bytes()


def test_other_files_are_not_taken_for_one(file, tmp_path):
    assert is_sparse(file)
    save_file({"payload": np.zeros(3, np.uint8)}, tmp_path / "other.safetensors")
    (tmp_path / "text").write_text("x")
    assert not is_sparse(tmp_path / "other.safetensors")
    assert not is_sparse(tmp_path / "text")
    assert not is_sparse(tmp_path / "nothing")


@pytest.mark.parametrize(
    "told",
    [
        {"backbone": "vgg"},
        {"height": 0},
        {"height": "64"},
        {"stem_relu": 1},
        {"new": 1},
        {"backbone": "resnet18"},
    ],
)
def test_what_another_version_wrote_is_refused_by_name(told, file):
    words = json.dumps({**vars(SMALL), **told})
    save_file(load_file(file), file, metadata={"fedklpr-model-1": words})
    with pytest.raises(WeightsError, match=r"model\.safetensors is no model that fedklpr export"):
        read_sparse(file)


def test_a_damaged_byte_is_noticed(file):
    content = bytearray(file.read_bytes())
    content[-1000] ^= 1
    file.write_bytes(content)
    with pytest.raises(WeightsError, match="checksum"):
        read_sparse(file)
