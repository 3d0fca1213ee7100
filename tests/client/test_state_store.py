"""Claims about fedklpr_flwr.client.state_store: what a client keeps, and for how long."""

import shutil

import pytest
import torch
from safetensors.torch import save_file

from fedklpr_flwr.algorithm.recovery import RecoveryState
from fedklpr_flwr.algorithm.recovery_evidence import Evidence, Pairs
from fedklpr_flwr.client.state_store import ClientMemory, MemoryFolder, fresh_memory
from fedklpr_flwr.config.settings import Client
from fedklpr_flwr.errors import MemoryStateError
from fedklpr_flwr.model.site import open_site
from fedklpr_flwr.protocol.task import payload_name

MASKS = {"conv": torch.tensor([[True, False], [False, True]]), "bias": torch.tensor([True])}


def memory(number, **more):
    return ClientMemory(round=number, masks=MASKS, **more)


@pytest.fixture
def folder(tmp_path):
    return MemoryFolder(tmp_path, "run-1", "gate-3")


def test_all_that_a_client_keeps_comes_back(folder):
    kept = memory(
        4,
        recovery=RecoveryState(((2, 0.5), (3, 0.75)), 0.75, 0.5, 3, 0.75),
        masks_before_last_prune={name: torch.ones_like(mask) for name, mask in MASKS.items()},
        before_prune={"conv": torch.tensor([[1.5, -2.0], [0.0, 3e-9]])},
        personal={"neck.weight": torch.tensor([0.1, 0.2])},
        residual={"conv": torch.tensor([[1e-4, 0.0], [0.0, -1e-4]])},
    )
    folder.write(kept, keep=3)
    back = folder.read(4)
    assert (back.round, back.recovery) == (4, kept.recovery)
    for part in ("masks", "masks_before_last_prune", "before_prune", "personal", "residual"):
        assert getattr(back, part).keys() == getattr(kept, part).keys(), part
        for name, tensor in getattr(kept, part).items():
            assert torch.equal(getattr(back, part)[name], tensor), (part, name)


def test_what_recovery_compares_with_comes_back_to_the_bit(folder):
    evidence = Evidence(holding=True, carried=Pairs(3, 2, 90))
    kept = memory(
        2,
        recovery=RecoveryState(evidence=evidence),
        reference_features=torch.tensor([[0.5, 1e-3], [1.0, -0.25]]).half(),
        reference_labels=torch.tensor([5, 2]),
        judged_labels=torch.tensor([4, -1]),
        labels=torch.tensor([7, 8]),
    )
    folder.write(kept, keep=1)
    back = folder.read(2)
    assert back.recovery.evidence == evidence
    assert back.reference_features.dtype == torch.float16
    assert torch.equal(back.reference_features, kept.reference_features)
    assert torch.equal(back.reference_labels, kept.reference_labels)
    assert torch.equal(back.judged_labels, kept.judged_labels)
    assert torch.equal(back.labels, kept.labels)


def test_a_memory_from_before_there_were_pairs_is_read():
    older = RecoveryState(((1, 0.5),), 0.5).to_dict()
    del older["evidence"]
    assert RecoveryState.from_dict(older) == RecoveryState(((1, 0.5),), 0.5)


def test_what_was_not_kept_comes_back_as_nothing(folder):
    folder.write(memory(1), keep=0)
    back = folder.read(1)
    assert back.masks_before_last_prune is None
    assert (back.before_prune, back.personal, back.residual) == ({}, {}, {})
    assert back.recovery == RecoveryState()


def test_two_rounds_are_kept_the_newest_and_the_one_the_server_builds_on(folder):
    for number, keep in ((1, 0), (2, 1), (3, 1), (4, 1)):
        folder.write(memory(number), keep=keep)
    assert [folder.read(number) is not None for number in range(5)] == [
        False,
        True,
        False,
        False,
        True,
    ]


def test_records_of_another_run_or_client_are_not_seen(folder, tmp_path):
    folder.write(memory(1), keep=0)
    assert MemoryFolder(tmp_path, "run-2", "gate-3").read(1) is None
    assert MemoryFolder(tmp_path, "run-1", "gate-4").read(1) is None
    assert MemoryFolder(tmp_path, "run-1", "gate-3").read(1) is not None


def test_a_damaged_record_is_said_to_be_damaged_and_what_to_do(folder):
    folder.write(memory(1), keep=0)
    (path,) = folder.folder.iterdir()
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(MemoryStateError, match=r"round-0001.*damaged.*delete it"):
        folder.read(1)


def test_a_client_that_has_not_trained_remembers_full_masks_and_nothing_else():
    fresh = fresh_memory(MASKS)
    assert (fresh.round, fresh.recovery, fresh.personal) == (0, RecoveryState(), {})


def test_only_the_last_model_received_is_kept(folder):
    first, second = folder.store_received(b"first"), folder.store_received(memoryview(b"second"))
    assert folder.received(first) is None
    assert folder.received(second) == b"second"
    assert second == payload_name(b"second")
    assert len(second) == 32


def test_a_record_with_a_single_bit_turned_is_damaged(folder):
    """A debt of a thousand times its size would be finite, and told to the server."""
    folder.write(memory(1), keep=0)
    (path,) = folder.folder.iterdir()
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(MemoryStateError, match=r"round-0001.*damaged: its checksum"):
        folder.read(1)


def test_a_stored_model_that_was_damaged_counts_as_lost(folder):
    name = folder.store_received(b"the model")
    (path,) = folder.folder.glob("received-*")
    path.write_bytes(b"the m0del")
    assert folder.received(name) is None
    assert folder.received("0" * 32) is None


def test_what_a_killed_client_left_half_written_is_removed(tmp_path):
    folder = MemoryFolder(tmp_path, "run", "gate")
    left = folder.folder / ".round-0001.safetensors.4711.tmp"
    left.write_bytes(b"half")
    folder.remove_leftovers()
    assert not left.exists()


@pytest.mark.parametrize(
    "record",
    [None, "{}", "[]", "[" * 100_000, '{"shapes": {"conv": [9]}}', '{"shapes": {"x": [1]}}'],
)
def test_a_memory_without_what_it_needs_is_damaged_in_words(record, folder):
    """Then the client asks to be sent everything, where it failed in every round."""
    told = {"format": "fedklpr-memory-1"} | ({} if record is None else {"record": record})
    path = folder.folder / "round-0003.safetensors"
    save_file({"mask/conv": torch.ones(1, dtype=torch.uint8)}, path, metadata=told)
    with pytest.raises(MemoryStateError, match="is damaged"):
        folder.read(3)


def test_a_memory_of_float8_is_damaged_in_words(folder):
    path = folder.folder / "round-0003.safetensors"
    save_file({"own/conv": torch.ones(2).to(torch.float8_e4m3fn)}, path)
    with pytest.raises(MemoryStateError, match="is damaged"):
        folder.read(3)


def test_features_go_from_every_record_when_a_training_picture_has_gone(
    folder, sites, tiny_settings, tmp_path
):
    shutil.copytree(sites / "ash", tmp_path / "ash")
    ash = Client(name="gate-3", reader="folder", folder=str(tmp_path / "ash"))
    site = open_site(ash, tiny_settings(), tmp_path / "cache")
    features = torch.full((len(site.train), 2), 0.123).half()
    for number in (1, 2):
        told = {"reference_features": features, "judged_labels": site.train.persons}
        folder.write(memory(number, **told), keep=1)
    folder.pictures_changed(site, 2)
    kept = folder.read(2)
    assert folder.without_gone(kept, site) is kept, "the pictures are the same"

    next((tmp_path / "ash" / "train" / "p0").iterdir()).unlink()
    changed = open_site(ash, tiny_settings(), tmp_path / "cache")
    left = folder.without_gone(kept, changed)
    assert (left.round, left.reference_features, left.judged_labels) == (2, None, None)
    needle = features.numpy()[0].tobytes() * 4
    assert not any(needle in path.read_bytes() for path in folder.folder.iterdir())
    assert folder.read(1).reference_features is None
    assert mask_values(folder.read(1)) == mask_values(kept)


def mask_values(kept):
    return {name: mask.tolist() for name, mask in kept.masks.items()}
