"""Claims about the benchmark of changes: its rows, and that a wrong change is not `ok`."""

import numpy as np
import pytest

pytest.importorskip("numba")
from experiments.benchmarks import changes
from experiments.benchmarks.changes import change_rows

GENERATOR = np.random.default_rng(0)
MODEL = {
    "conv": GENERATOR.standard_normal((64, 64, 3, 3), np.float32),
    "bias": GENERATOR.standard_normal(64, np.float32),
}
BYTES = ("change_over_dense_coarse", "change_over_order_0", "change_over_zstd3")


@pytest.fixture(autouse=True)
def small_sample(monkeypatch):
    monkeypatch.setattr(changes, "_SAMPLE", 50_000)


@pytest.mark.slow
def test_the_rows_have_their_names_and_anchors():
    rows = {row["name"]: row for row in change_rows(MODEL, repeats=1)}
    assert rows.keys() == {
        *BYTES,
        "change_over_dense_fine",
        *("change_encode_mb_s", "change_decode_mb_s"),
        *("other_change_uniform", "other_change_stc_1"),
    }
    assert rows["change_over_dense_coarse"]["anchor"] == sum(
        array.nbytes for array in MODEL.values()
    )
    assert all(row["value"] > 0 and row["anchor"] > 0 for row in rows.values())


def test_a_change_that_arrives_as_another_is_not_ok(monkeypatch):
    right = changes.ChangeWriter.add

    def add(self, spec, wanted, reference, share):
        return right(self, spec, wanted, reference, share) + np.float32(1)

    monkeypatch.setattr(changes.ChangeWriter, "add", add)
    wrong = {row["name"] for row in change_rows(MODEL, repeats=1) if not row["ok"]}
    assert {*BYTES} <= wrong
