"""Claims about experiments/benchmarks: each gives exactly the rows that others read, by name."""

import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from experiments.benchmarks.clusters import clusters_rows
from experiments.benchmarks.loading import loading_rows
from experiments.benchmarks.merge import merge_rows
from experiments.benchmarks.ranking import Size, ranking_rows
from experiments.benchmarks.scale import scale_rows
from experiments.benchmarks.search import search_rows
from experiments.benchmarks.startup import TO_FIRST_BATCH, startup_rows
from experiments.benchmarks.suite import BENCHMARKS, IN_ALL
from experiments.benchmarks.train import Load, train_rows
from experiments.benchmarks.wire import wire_rows

SHARES = ("00", "30", "50", "70", "90")
WIRE = {
    *(f"lossless_over_bound_{level}_{share}" for level in ("fast", "tight") for share in SHARES),
    "round_trip_50_float32",
    "round_trip_50_bfloat16",
    "round_trip_70_int8",
    "mask_unchanged_bytes",
    "encode_mb_s",
    "decode_mb_s",
}
KEYS = {"name", "value", "unit", "anchor", "ratio", "must", "ok"}


@pytest.fixture(scope="module")
def model():
    generator = np.random.default_rng(0)
    shapes = {"conv1": (64, 64, 3, 3), "bias": (128,), "conv2": (128, 64, 3, 3)}
    return {
        name: (generator.standard_t(6, shape) * 0.05).astype(np.float32)
        for name, shape in shapes.items()
    }


@pytest.fixture(scope="module")
def wire(model):
    pytest.importorskip("constriction")
    return {row["name"]: row for row in wire_rows(model, ["conv1", "conv2"], repeats=1)}


def judged(rows) -> set[str]:
    """The names of the rows that must keep a bound; the others only tell."""
    assert all(set(row) == KEYS for row in rows)
    return {row["name"] for row in rows if row["must"] is not None}


def test_wire_gives_its_rows(wire):
    assert judged(wire.values()) == WIRE


def test_sizes_hold_on_a_small_model_too(wire):
    assert {name for name in WIRE if not wire[name]["ok"]} <= {"encode_mb_s", "decode_mb_s"}


def test_the_wire_beats_every_other_way(wire):
    others = [row["ratio"] for name, row in wire.items() if name.startswith("other_")]
    assert len(others) == 6
    assert wire["lossless_over_bound_fast_50"]["ratio"] < 0.95 * min(others)


@pytest.mark.slow
def test_merge_gives_its_rows_and_its_results_are_the_formulas(model):
    rows = merge_rows(model, ["conv1", "conv2"], repeats=1, clients=(8, 9))
    assert judged(rows) == {
        "merge_over_flower",
        "decode_merge_over_flower",
        "server_models_8",
        "server_models_9",
        "server_models_9_over_8",
        "server_models_9_defended",
        *(["server_models_8_change"] if find_spec("numba") else []),
    }
    told = [row for row in rows if row["must"] is None]
    assert {row["name"] for row in told} == {
        "merge_survivors_over_flower",
        "inspect_over_flower",
        "decode_merge_plain_over_flower",
        "server_models_8_bfloat16",
        "server_models_8_bfloat16_merge",
        *(["server_models_8_change_merge"] if find_spec("numba") else []),
    }
    assert all(row["ok"] for row in told)  # their `ok` is that of the result alone


@pytest.mark.slow
def test_ranking_gives_its_rows():
    size = Size(queries=30, gallery=200, dimensions=16, persons=10, cameras=3)
    rows = ranking_rows(size, repeats=1)
    assert judged(rows) == {"rank_over_matmul", "rank_speedup_argsort", "rank_peak_mb"}


@pytest.mark.slow
def test_clusters_gives_its_rows():
    rows = clusters_rows(120, 150, dimensions=32, repeats=1)
    assert judged(rows) == {
        "cluster_speedup_120",
        "cluster_seconds_150",
        "cluster_peak_mb_150",
    }


@pytest.mark.slow
def test_train_gives_its_rows():
    load = Load("small", height=64, proxies=2, pictures=2, prototypes=6)
    rows = train_rows(load, repeats=1, table=False)
    assert judged(rows) == {
        "kl_overhead",
        "kl_cached_overhead",
        "channels_last_speedup",
        "auto_precision_speedup",
    }


@pytest.mark.slow
def test_startup_gives_its_row():
    assert judged(startup_rows(repeats=1)) == {"startup_seconds"}


@pytest.mark.slow
def test_loading_gives_its_rows_and_reading_the_cache_is_faster_than_decoding():
    rows = {row["name"]: row for row in loading_rows(pictures=200, large=40, repeats=1)}
    assert judged(rows.values()) == {"loading_speedup", "loading_large_speedup"}
    assert rows["loading_speedup"]["value"] > rows["loading_first_speedup"]["value"]


@pytest.mark.slow
def test_scale_gives_two_rows_a_number_of_clients_and_the_first_is_the_anchor():
    rows = scale_rows((2, 3), ("federation.min_clients=2",))
    names = {f"scale_{what}_{n}" for what in ("client_ms", "peak_mb") for n in (2, 3)}
    assert judged(rows) == names
    assert {row["ratio"] for row in rows if row["name"].endswith("_2")} == {1.0}
    assert {row["anchor"] for row in rows} == {row["value"] for row in rows[:2]}


def test_search_gives_its_row_and_finds_what_sorting_finds():
    (row,) = search_rows(500, 16, repeats=1)
    assert judged([row]) == {"search_ms_500"}
    assert row["ok"]


def test_default_sizes_are_those_of_the_names():
    assert search_rows.__defaults__ == (100_000, 512)
    assert clusters_rows.__defaults__ == (6000, 13000)
    assert merge_rows.__kwdefaults__["clients"] == (8, 64, 256)
    assert (Size().queries, Size().gallery, Size().dimensions) == (3368, 19732, 2048)
    assert {*IN_ALL, "scale"} == set(BENCHMARKS)


@pytest.mark.slow
def test_a_client_comes_to_its_first_batch_without_what_it_does_not_use():
    code = TO_FIRST_BATCH + "print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, ""], capture_output=True, text=True, check=True
    )
    unused = {"wandb", "matplotlib", "sklearn", "torchvision", "ray", "scipy", "torch._dynamo"}
    assert unused & set(done.stdout.split()) == set()
