"""Claims about adverts that are let into a round, and the model that an opened sum becomes."""

import numpy as np
import pytest
import torch

from fedklpr_flwr.algorithm.masks import mask_hash
from fedklpr_flwr.errors import WireError
from fedklpr_flwr.model.mask_file import MaskFile
from fedklpr_flwr.protocol.secure.keys import PublicKeys, new_secrets
from fedklpr_flwr.protocol.secure.quantise import LOWEST, quantise
from fedklpr_flwr.protocol.secure.stages import Advert
from fedklpr_flwr.runs.checkpoint import RunFolder
from fedklpr_flwr.server.secure_merge import (
    far_ranges,
    kept_counts,
    model_of_sum,
    spool_advert,
    steps_of,
)
from fedklpr_flwr.wire.layout import TensorSpec

LAYOUT = (TensorSpec("w", (2, 2), prunable=True), TensorSpec("bn.running_var", (2,)))
MASKS = {"w": torch.tensor([[True, False], [True, True]])}
SENT = {
    "w": np.array([[1.0, 5.0], [2.0, 3.0]], np.float32),
    "bn.running_var": np.array([1.0, 1e-6], np.float32),
}


@pytest.fixture
def folder(tmp_path):
    opened = RunFolder(tmp_path)
    yield opened
    opened.close()


KEYS = new_secrets().public


def spooled(folder, exponents=(0, 1), masks=MASKS, keys=KEYS, others=()):
    advert = Advert(keys.blinding, keys.sealing, mask_hash(masks), exponents)
    return spool_advert(advert, "gate", folder, MASKS, LAYOUT, SENT, others)


def test_an_advert_is_let_in_with_the_mask_of_all(folder):
    found = spooled(folder).found
    assert (found.pruned, found.spent.kept, found.change) == (0.25, 0, None)
    assert torch.equal(MaskFile(folder.next_mask_file("gate"))["w"], MASKS["w"])


def test_another_mask_and_another_count_of_ranges_are_refused(folder):
    with pytest.raises(WireError, match="not the one of all clients"):
        spooled(folder, masks={"w": torch.ones(2, 2, dtype=torch.bool)})
    for exponents in ((), (0,), (0, 1, 2)):
        with pytest.raises(WireError, match="ranges: expected 2"):
            spooled(folder, exponents)


def test_keys_that_every_other_client_would_refuse_are_refused_at_their_sender(folder):
    other = new_secrets().public
    taken = [Advert(other.blinding, other.sealing, "", ())]
    for wrong, words in (
        (PublicKeys("no key", KEYS.sealing), "expected PEM of P-384"),
        (PublicKeys(KEYS.blinding, ""), "expected PEM of P-384"),
        (PublicKeys(KEYS.blinding, KEYS.blinding), "two that nobody else has told"),
        (PublicKeys(KEYS.blinding, other.blinding), "two that nobody else has told"),
    ):
        with pytest.raises(WireError, match=words):
            spooled(folder, keys=wrong, others=taken)
    spooled(folder, others=taken)


def test_ranges_far_above_the_others_are_refused_by_name():
    """A step of 2^8 and more of the others' rounds what they have learnt to nothing."""
    honest = {"ash": (-5, -3, LOWEST), "birch": (-6, -2, -9), "cedar": (-3, -4, -7)}
    adverts = {name: Advert("", "", "", told) for name, told in honest.items()}
    assert far_ranges(adverts) == {}
    adverts["yard"] = Advert("", "", "", (8, 8, 8))
    assert far_ranges(adverts).keys() == {"yard"}
    assert "got more in 3 of 3 tensors" in far_ranges(adverts)["yard"]
    assert far_ranges({"ash": adverts["ash"], "yard": adverts["yard"]}) == {}


@pytest.mark.parametrize("exponents", [(12, 1), (0, 16), (65, 1), (LOWEST - 1, 1), (10**9, 0)])
def test_a_change_that_no_training_makes_is_refused_by_its_range(folder, exponents):
    """A weight may be 100 times the tensor's largest, 5: two such values are 1000 apart."""
    with pytest.raises(WireError, match="the update is damaged, or its training went astray"):
        spooled(folder, exponents)


def test_ranges_that_training_makes_are_let_in(folder):
    assert spooled(folder, (10, 15)).found.pruned == 0.25
    assert spooled(folder, (LOWEST, LOWEST)).found.pruned == 0.25


def test_the_model_of_a_sum_moves_what_is_kept_and_leaves_the_rest():
    """By hand: half of all weight came, so that a step is worth two."""
    steps = steps_of(LAYOUT, (0, 0), clients=2, weight=0.5)
    step = 1 / (32766 - 2)
    assert steps == pytest.approx({"w": 2 * step, "bn.running_var": 2 * step})
    assert kept_counts(LAYOUT, MASKS) == [3, 2]
    change = np.array([0.25, -0.5, 0.0, 0.125, -0.25], np.float32)
    total = quantise(change, 1.0, step)
    before = {**SENT, "other": np.zeros(1, np.float32)}
    merged = model_of_sum(total, steps, before, SENT, LAYOUT, MASKS)
    assert merged["w"] == pytest.approx(np.array([[1.5, 5.0], [1.0, 3.0]]), abs=2 * step)
    assert merged["bn.running_var"].tolist() == pytest.approx([1.25, 0.0], abs=2 * step)
    assert merged["bn.running_var"].min() == 0  # a variance is never below zero
    assert merged["other"] is before["other"]
    assert SENT["w"][0, 0] == 1.0
    assert {array.dtype for array in merged.values()} == {np.dtype(np.float32)}
