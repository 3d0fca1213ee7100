"""Claims about experiments/benchmarks/wire.py: the rows that others read are there and hold."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("constriction")

FILE = Path(__file__).parents[2] / "experiments" / "benchmarks" / "wire.py"
PROMISED = {
    *(f"lossless_over_bound_{level}_{share}" for level in ("fast", "tight") for share in
      ("00", "30", "50", "70", "90")),
    "round_trip_50_float32", "round_trip_50_bfloat16", "round_trip_70_int8",
    "mask_unchanged_bytes", "encode_mb_s", "decode_mb_s",
}  # fmt: skip


@pytest.fixture(scope="module")
def rows():
    spec = importlib.util.spec_from_file_location("wire_benchmark", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    generator = np.random.default_rng(0)
    shapes = {"conv1": (64, 64, 3, 3), "conv2": (128, 64, 3, 3), "bias": (128,)}
    tensors = {
        name: (generator.standard_t(6, shape) * 0.05).astype(np.float32)
        for name, shape in shapes.items()
    }
    found = module.wire_rows(tensors, ["conv1", "conv2"], repeats=1)
    return {row["name"]: row for row in found}


def test_every_promised_row_is_there(rows):
    assert set(rows) >= PROMISED
    assert all(
        set(row) == {"name", "value", "unit", "anchor", "ratio", "must", "ok"}
        for row in rows.values()
    )


def test_sizes_hold_on_a_small_model_too(rows):
    assert {name for name in PROMISED if not rows[name]["ok"]} <= {"encode_mb_s", "decode_mb_s"}


def test_the_wire_beats_every_other_way(rows):
    others = [row["ratio"] for name, row in rows.items() if name.startswith("other_")]
    assert len(others) == 6
    assert rows["lossless_over_bound_fast_50"]["ratio"] < 0.95 * min(others)
