"""Claims about fedklpr_flwr.model.mask_file: masks by name, one at a time."""

import json

import pytest
import torch
from safetensors.numpy import save_file

from fedklpr_flwr.errors import MemoryStateError
from fedklpr_flwr.model.mask_file import (
    ArrayView,
    FullMasks,
    MaskFile,
    masks_to_bytes,
    pack_masks,
)

MASKS = {
    "conv": torch.tensor([True, False, True, True, False, False, True, False, True]).reshape(3, 3),
    "one": torch.tensor(False),
    "wide": torch.arange(1003) % 7 != 0,
}


def test_masks_come_back_as_they_were_written(tmp_path):
    file = tmp_path / "mask.safetensors"
    file.write_bytes(masks_to_bytes(MASKS))
    read = MaskFile(file)
    assert sorted(read) == sorted(MASKS)
    assert len(read) == 3
    for name, mask in MASKS.items():
        assert read[name].dtype == torch.bool
        assert torch.equal(read[name], mask), name


def test_a_mask_file_is_not_held_open(tmp_path):
    file = tmp_path / "mask.safetensors"
    file.write_bytes(masks_to_bytes(MASKS))
    read = MaskFile(file)
    assert torch.equal(read["conv"], MASKS["conv"])
    file.unlink()
    with pytest.raises(MemoryStateError, match=r"mask\.safetensors"):
        read["conv"]


def test_a_mask_costs_a_bit_a_coordinate():
    plain = len(masks_to_bytes({"a": torch.ones(8, dtype=torch.bool)}))
    large = len(masks_to_bytes({"a": torch.ones(80_000, dtype=torch.bool)}))
    assert large - plain == pytest.approx(10_000, abs=64)


def test_a_name_without_a_mask_is_a_key_error(tmp_path):
    file = tmp_path / "mask.safetensors"
    file.write_bytes(masks_to_bytes(MASKS))
    assert MaskFile(file).get("elsewhere") is None
    with pytest.raises(KeyError):
        MaskFile(file)["elsewhere"]


@pytest.mark.parametrize("damage", ["missing", "cut", "foreign"])
def test_a_file_that_is_not_a_mask_file_is_refused_by_name(damage, tmp_path):
    from safetensors.torch import save_file

    file = tmp_path / "mask.safetensors"
    if damage == "cut":
        file.write_bytes(masks_to_bytes(MASKS)[:20])
    if damage == "foreign":
        save_file({"a": torch.zeros(2)}, file)
    with pytest.raises(MemoryStateError, match=r"mask\.safetensors"):
        MaskFile(file)


def test_full_masks_keep_everything():
    full = FullMasks({"conv": (2, 3), "scalar": ()})
    assert torch.equal(full["conv"], torch.ones(2, 3, dtype=torch.bool))
    assert full["scalar"].shape == ()
    assert (list(full), len(full)) == (["conv", "scalar"], 2)


def test_an_array_view_shares_the_tensors_memory():
    tensor = torch.zeros(3, requires_grad=True)
    view = ArrayView({"a": tensor})
    with torch.no_grad():
        tensor[1] = 5.0
    assert view["a"].tolist() == [0.0, 5.0, 0.0]


def test_equal_masks_are_equal_bytes_in_whatever_order_they_come():
    backwards = dict(reversed(MASKS.items()))
    written = {masks_to_bytes(masks) for masks in (MASKS, backwards) for _ in range(10)}
    assert len(written) == 1


def test_a_mask_file_of_the_first_runs_is_read(tmp_path):
    packed, shapes = pack_masks(MASKS)
    file = tmp_path / "mask.safetensors"
    save_file(packed, file, {"format": "fedklpr-masks-1", "shapes": json.dumps(shapes)})
    assert torch.equal(MaskFile(file)["conv"], MASKS["conv"])


@pytest.mark.parametrize("shape", [[100_000_000], [10**9, 10**9], [-1], [2, 2.5], ["a"], [True, 9]])
def test_a_shape_that_the_bits_are_too_few_for_is_refused_before_it_takes_memory(shape, tmp_path):
    file = tmp_path / "mask.safetensors"
    told = {"fedklpr-masks-1": json.dumps({"conv": shape})}
    save_file(pack_masks({"conv": MASKS["conv"]})[0], file, metadata=told)
    with pytest.raises(MemoryStateError, match="cannot be read as a mask file"):
        MaskFile(file)["conv"]


def test_shapes_nested_without_end_are_no_mask_file(tmp_path):
    file = tmp_path / "mask.safetensors"
    told = {"fedklpr-masks-1": "[" * 100_000}
    save_file(pack_masks(MASKS)[0], file, metadata=told)
    with pytest.raises(MemoryStateError, match="nested too deeply"):
        MaskFile(file)
