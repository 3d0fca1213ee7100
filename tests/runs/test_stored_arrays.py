"""Claims about runs.stored_arrays: a file's arrays, read when they are asked for."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from fedklpr_flwr.errors import RunError
from fedklpr_flwr.runs.stored_arrays import StoredArrays

ARRAYS = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "scale": np.float32([7])}


@pytest.fixture
def path(tmp_path):
    save_file(ARRAYS, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_all_arrays_are_there_as_they_were_written(path):
    stored = StoredArrays(path, ARRAYS)
    assert [*stored] == [*ARRAYS]
    assert len(stored) == 2
    for name, array in ARRAYS.items():
        assert np.array_equal(stored[name], array)
        assert stored[name] is not stored[name], "it is held"


def test_a_name_that_is_not_there_is_a_key_error(path):
    with pytest.raises(KeyError, match="bias"):
        StoredArrays(path, ARRAYS)["bias"]


@pytest.mark.parametrize("damage", [lambda p: p.unlink(), lambda p: p.write_bytes(b"no tensors")])
def test_a_file_that_went_is_an_error_of_the_run(path, damage):
    stored = StoredArrays(path, ARRAYS)
    damage(path)
    with pytest.raises(RunError, match=r"model.safetensors cannot be read"):
        stored["weight"]


@pytest.mark.parametrize(
    "other",
    [
        ARRAYS["weight"] + np.float32(1),
        ARRAYS["weight"].astype(np.float64),
        ARRAYS["weight"].reshape(3, 2),
    ],
)
def test_other_numbers_than_were_written_are_an_error_of_the_run(path, other):
    stored = StoredArrays(path, ARRAYS)
    save_file({**ARRAYS, "weight": other}, path)
    with pytest.raises(RunError, match=r"model.safetensors: weight is not what was written"):
        stored["weight"]
