"""Claims about fedklpr_flwr.wire.payload: any tensor, from bytes or files, in any thread."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fedklpr_flwr.errors import WireError
from fedklpr_flwr.wire.codec import decode_dense, encode, open_payload
from fedklpr_flwr.wire.layout import layout_of

GENERATOR = np.random.default_rng(0)
TENSORS = {
    f"conv{number}": GENERATOR.normal(size=(16, 8, 3, 3)).astype(np.float32) for number in range(6)
} | {"bias": np.arange(5, dtype=np.float32), "scale": np.asarray(2, np.float32)}
MASKS = {f"conv{number}": TENSORS[f"conv{number}"] > 0.3 for number in range(5)}
LAYOUT = layout_of(TENSORS, [name for name in TENSORS if name.startswith("conv")])
PAYLOAD = encode(TENSORS, MASKS, layout=LAYOUT)


def test_iterating_gives_every_tensor_in_layout_order():
    with open_payload(PAYLOAD, layout=LAYOUT) as payload:
        assert len(payload) == len(LAYOUT)
        for (spec, mask, values), expected in zip(payload, LAYOUT, strict=True):
            assert spec == expected
            array = TENSORS[spec.name]
            if spec.name in MASKS:
                assert mask.tolist() == MASKS[spec.name].tolist()
                assert values.tolist() == array[MASKS[spec.name]].tolist()
            else:
                assert mask is None
                assert values.tolist() == array.tolist()
                assert values.shape == spec.shape


def test_any_one_tensor_is_read_by_its_name():
    with open_payload(PAYLOAD, layout=LAYOUT) as payload:
        alone = payload.tensor("conv3")
        assert alone.values.tolist() == TENSORS["conv3"][MASKS["conv3"]].tolist()
        assert payload.kept("conv3") == MASKS["conv3"].sum()
        assert payload.kept("bias") == 5


def test_decoded_arrays_outlive_the_payload_and_may_be_written():
    with open_payload(PAYLOAD, layout=LAYOUT) as payload:
        decoded = list(payload)
    for _, mask, values in decoded:
        values += 1
        if mask is not None:
            mask[...] = False
    assert decoded[6].values.tolist() == [1, 2, 3, 4, 5]


def test_threads_read_the_same_as_one():
    with open_payload(PAYLOAD, layout=LAYOUT) as payload, ThreadPoolExecutor(4) as pool:
        names = [spec.name for spec in LAYOUT] * 20
        for name, decoded in zip(names, pool.map(payload.tensor, names), strict=True):
            assert decoded.values.tobytes() == payload.tensor(name).values.tobytes()


@pytest.mark.parametrize("source", [str, lambda path: path])
def test_a_file_reads_like_its_bytes(tmp_path, source):
    path = tmp_path / "update.bin"
    path.write_bytes(PAYLOAD)
    from_file, _ = decode_dense(source(path), layout=LAYOUT)
    from_bytes, _ = decode_dense(memoryview(bytearray(PAYLOAD)), layout=LAYOUT)
    assert all(from_file[name].tobytes() == from_bytes[name].tobytes() for name in TENSORS)
    path.unlink()


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="counts pages as Linux does")
def test_a_payload_that_was_read_leaves_no_pages_of_its_file_in_memory(tmp_path):
    noise = np.random.default_rng(0).standard_normal((64, 40_000)).astype(np.float32)
    layout = layout_of({"noise": noise}, ())
    path = tmp_path / "update.bin"
    path.write_bytes(encode({"noise": noise}, {}, layout=layout))
    with open_payload(path, layout=layout) as payload:
        assert np.array_equal(payload.tensor("noise").values, noise)
        (mapped,) = Path("/proc/self/smaps").read_text().split(str(path))[1:]
        resident = int(mapped.split("Rss:")[1].split()[0])
        assert path.stat().st_size > 8_000_000
        assert resident < 200  # kB; all of it, were its pages not let go


def test_an_empty_file_is_refused(tmp_path):
    path = tmp_path / "update.bin"
    path.touch()
    with pytest.raises(WireError, match="empty"):
        open_payload(path, layout=LAYOUT)


def test_an_unknown_tensor_is_refused_by_name():
    with (
        open_payload(PAYLOAD, layout=LAYOUT) as payload,
        pytest.raises(WireError, match="'conv9'"),
    ):
        payload.tensor("conv9")


def test_masks_that_this_side_does_not_hold_are_refused():
    payload = encode(TENSORS, MASKS, layout=LAYOUT, known_masks=MASKS)
    other = MASKS | {"conv0": ~MASKS["conv0"]}
    for held in (None, {}, other):
        with pytest.raises(WireError, match="mask hash"):
            open_payload(payload, layout=LAYOUT, known_masks=held)


def test_a_reference_that_this_side_does_not_hold_is_refused_by_tensor_name():
    payload = encode(TENSORS, MASKS, layout=LAYOUT, reference=TENSORS)
    other = TENSORS | {"conv3": TENSORS["conv3"] + 1}
    for held in (None, {"bias": TENSORS["bias"]}, other):
        opened = open_payload(payload, layout=LAYOUT, reference=held)
        with pytest.raises(WireError, match="reference of conv3"):
            opened.tensor("conv3")


def test_a_reference_counts_only_where_coordinates_are_kept():
    payload = encode(TENSORS, MASKS, layout=LAYOUT, reference=TENSORS)
    seen = {
        name: np.where(MASKS[name], array, np.float32(0)) if name in MASKS else array
        for name, array in TENSORS.items()
    }
    arrays, _ = decode_dense(payload, layout=LAYOUT, reference=seen)
    assert all(arrays[name].tobytes() == seen[name].tobytes() for name in TENSORS)
