"""Claims about fedklpr_flwr.client.client: a payload and a task in, an answer out."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fedklpr_flwr.algorithm.masks import mask_hash, pruning_ratio
from fedklpr_flwr.client.client import SiteClient
from fedklpr_flwr.client.state_store import MemoryFolder
from fedklpr_flwr.errors import WireError
from fedklpr_flwr.model.mask_file import ArrayView
from fedklpr_flwr.model.shared_model import full_masks, initial_network, shared_layout
from fedklpr_flwr.protocol.task import NEEDS_SYNC, Task, payload_name
from fedklpr_flwr.reid.network import float_state
from fedklpr_flwr.wire.codec import encode

PRUNES = ("method.pruning=always", "pruning.first_round=1")


@pytest.fixture
def settings(tiny_settings):
    return tiny_settings(*PRUNES)


@pytest.fixture
def client(settings, tiny_site, tmp_path):
    return SiteClient(tiny_site, settings, tmp_path)


@pytest.fixture
def model(settings):
    """The initial model as a payload for a client that has pruned nothing."""
    network = initial_network(settings, pretrained=False)
    masks = full_masks(network, settings)
    payload = encode(
        ArrayView(float_state(network)),
        ArrayView(masks),
        layout=shared_layout(settings),
        known_masks=ArrayView(masks),
    )
    return payload, mask_hash(masks)


def task(model, number=1, **more):
    payload, known = model
    first = Task("run-1", number, 0, known, payload_name(payload), full=False)
    return replace(first, **more)


def test_a_model_received_once_is_trained_from_without_being_sent_again(client, model):
    said = client.evaluate(task(model, 0), model[0])
    assert said["status"] == "ok"
    assert {"rank1", "rank5", "rank10", "map", "minp"} <= said.keys()
    update, said = client.train(task(model), b"")
    assert (said["status"], said["examples"]) == ("ok", 20)
    assert len(update) > 1000
    assert {"rank1_local", "map_local", "divergence", "seconds"} <= said.keys()


def test_a_model_that_never_came_is_asked_for(client, model):
    assert client.train(task(model), b"") == (b"", {"status": NEEDS_SYNC})


def test_a_mask_the_server_does_not_hold_is_asked_for(client, model):
    other = task(model, mask_hash="0" * 32)
    assert client.evaluate(other, model[0]) == {"status": NEEDS_SYNC}


def test_a_record_of_a_round_the_server_never_merged_does_not_count(client, model):
    """The update of round 1 was lost: the server builds on round 0, and so does the client."""
    client.evaluate(task(model, 0), model[0])
    first, _ = client.train(task(model), b"")
    again, said = client.train(task(model), b"")
    assert first == again
    assert said["pruned"] == pytest.approx(0.2, abs=1e-3)


def test_a_whole_model_brings_the_mask_to_a_client_that_lost_it(
    client, settings, model, tmp_path, tiny_site
):
    network = initial_network(settings, pretrained=False)
    masks = full_masks(network, settings)
    name = next(iter(masks))
    masks[name] = torch.arange(masks[name].numel()).reshape(masks[name].shape) % 2 == 0
    whole = encode(
        ArrayView(float_state(network)), ArrayView(masks), layout=shared_layout(settings)
    )
    lost = Task("run-1", 5, 4, mask_hash(masks), payload_name(whole), full=False)
    assert client.train(lost, whole)[1]["status"] == NEEDS_SYNC
    said = client.evaluate(replace(lost, full=True), whole)
    assert said["status"] == "ok"
    memory = MemoryFolder(tmp_path, "run-1", tiny_site.name).read(4)
    assert torch.equal(memory.masks[name], masks[name])
    _, said = client.train(lost, b"")
    assert said["status"] == "ok", "the stored payload cannot be read with the stored mask"
    assert said["pruned"] > pruning_ratio(masks)


def test_a_damaged_record_counts_as_lost_and_the_whole_model_is_asked_for(client, model, tmp_path):
    client.evaluate(task(model, 0), model[0])
    client.train(task(model), b"")
    (record,) = tmp_path.rglob("round-0001*")
    content = bytearray(record.read_bytes())
    content[-2] ^= 1
    record.write_bytes(content)
    merged = replace(task(model, 2), base_round=1)
    with pytest.warns(UserWarning, match="round-0001.*damaged.*come from the server"):
        said = client.evaluate(merged, model[0])
    assert said == {"status": NEEDS_SYNC}


def test_a_payload_too_long_is_refused_by_its_length_and_not_kept(client, model, tmp_path):
    long = memoryview(bytes(10 * len(model[0])))
    with pytest.raises(WireError, match=f"at most .* bytes, got {len(long)}"):
        client.evaluate(task(model, 0), long)
    assert not list(tmp_path.rglob("received-*"))


def test_the_seconds_of_opening_and_encoding_are_told(client, model):
    client.evaluate(task(model, 0), model[0])
    _, said = client.train(task(model), b"")
    assert min(said["seconds"]["open"], said["seconds"]["encode"]) > 0
    assert said["seconds"].keys() > {"open", "encode", "train"}


def test_a_damaged_payload_is_an_error_and_is_not_kept(client, model, tmp_path, tiny_site):
    spoilt = bytearray(model[0])
    spoilt[len(spoilt) // 2] ^= 1
    with pytest.raises(WireError):
        client.evaluate(task(model, 0), bytes(spoilt))
    folder = MemoryFolder(tmp_path, "run-1", tiny_site.name)
    assert not list(folder.folder.glob("received-*"))


def test_the_update_says_what_the_model_is_and_not_more_than_the_privacy_page_lists(client, model):
    client.evaluate(task(model, 0), model[0])
    _, said = client.train(task(model), b"")
    told = {key for key, value in said.items() if key != "seconds" and value is not None}
    assert told <= {
        "status", "examples", "divergence", "cosine_distance", "pruned", "accuracy", "clusters",
        "outliers", "idle", "crr", "loss", "kl_loss", "rank1_local", "map_local",
        "cluster_precision", "cluster_recall", "camera_split", "camera_span",
        "pictures_changed",
        "steps", "pairs_worse", "pairs_better", "pairs_compared", "crr_statistic",
    }  # fmt: skip
    plain = (str, bool, int, float, np.floating)
    assert all(isinstance(said[key], plain) for key in told)
