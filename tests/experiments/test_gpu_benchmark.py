"""Claims about experiments/benchmarks/gpu.py: it runs anywhere, in its time, and says all."""

import json

import pytest
import torch

from experiments.benchmarks.gpu import items, measure
from experiments.benchmarks.gpu_bench import QUICK, Bench, copy_rate


@pytest.fixture
def bench():
    return Bench(QUICK, torch.device("cpu"))


@pytest.mark.slow
def test_every_row_is_measured_on_a_cpu_too(bench, tmp_path):
    out = tmp_path / "made" / "gpu.json"
    measure(bench, seconds=100, out=out)
    told = json.loads(out.read_text())
    assert told["failed"] == {}
    assert told["skipped"] == []
    assert told["device"] == "cpu"
    names = [row["name"] for row in told["rows"]]
    assert {name.split("_")[0] for name in names} == {
        "tflops",
        "copy",
        "step",
        "loop",
        "kl",
        "round",
    }
    assert all(row["value"] > 0 for row in told["rows"] if not row["name"].startswith("kl_"))


def test_rows_without_time_are_named(bench):
    measure(bench, seconds=-1, out=None)
    assert bench.skipped == [name for name, _ in items(bench)]


def test_a_row_that_fails_says_why_and_stops_no_other(bench, monkeypatch):
    broken = [("broken", lambda: 1 / 0), ("copy", lambda: copy_rate(bench))]
    monkeypatch.setattr("experiments.benchmarks.gpu.items", lambda _: broken)
    measure(bench, seconds=100, out=None)
    assert "ZeroDivisionError" in bench.failed["broken"]
    assert [row["name"] for row in bench.rows] == ["copy_on_device"]
