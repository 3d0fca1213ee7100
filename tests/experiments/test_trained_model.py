"""Claims about the model behind wire and merge: trained once, and known by its hash."""

import numpy as np
import pytest

from experiments.benchmarks.rows import make_row
from experiments.benchmarks.trained_model import Recipe, prepared_model

TINY = Recipe(backbone="small", site="airport", height=32, steps=2)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


def test_it_is_trained_once_and_read_back_the_same(cache, capfd):
    first = prepared_model(TINY, cache=cache)
    assert "training" in capfd.readouterr().err
    again = prepared_model(TINY, cache=cache)
    assert capfd.readouterr().err == ""
    assert list(again.tensors) == list(first.tensors)
    assert all(np.array_equal(first.tensors[name], again.tensors[name]) for name in first.tensors)
    assert (again.prunable, again.sha256) == (first.prunable, first.sha256)
    assert set(first.prunable) <= set(first.tensors)


def test_training_moves_it(cache):
    longer = Recipe(**{**TINY.__dict__, "steps": 3})
    assert prepared_model(longer, cache=cache).sha256 != prepared_model(TINY, cache=cache).sha256


def test_a_damaged_file_is_trained_anew(cache):
    whole = prepared_model(TINY, cache=cache)
    file = cache / f"{TINY.name}.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert prepared_model(TINY, cache=cache).sha256 == whole.sha256


def test_rows_say_which_weights_they_were_measured_on(cache):
    model = prepared_model(TINY, cache=cache)
    (row,) = model.marked([make_row("a", 1, "s", 2)])
    assert (row["seed"], row["sha256"], row["name"]) == (0, model.sha256, "a")
