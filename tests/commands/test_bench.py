"""Claims about `fedklpr bench`: what it runs, and what it says where it cannot."""

import json

import pytest

from fedklpr_flwr.commands.bench import Benchmark, _suite, bench
from fedklpr_flwr.errors import RunError, SettingsError


def test_its_names_are_those_of_the_benchmarks():
    suite = _suite_here()
    assert {name.value for name in Benchmark} == set(suite.BENCHMARKS)


def test_without_a_checkout_it_says_what_is_missing(tmp_path):
    with pytest.raises(RunError, match="needs a checkout"):
        _suite(tmp_path)


def test_only_wire_and_merge_have_something_to_prepare():
    with pytest.raises(SettingsError, match="startup needs no trained model"):
        bench(Benchmark.STARTUP, prepare=True)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        (Benchmark.RANKING, {"pictures": [100]}, "--pictures and --crowded are for clusters"),
        (Benchmark.MERGE, {"crowded": True}, "--pictures and --crowded are for clusters"),
        (Benchmark.CLUSTERS, {"crowded": True}, "--crowded needs --pictures N"),
    ],
)
def test_sizes_by_hand_are_for_clusters_alone(name, options, said):
    with pytest.raises(SettingsError, match=said):
        bench(name, **options)


@pytest.mark.slow
def test_clusters_takes_a_size_by_hand_and_holds_it_to_no_bound(tmp_path):
    file = tmp_path / "rows.json"
    bench(Benchmark.CLUSTERS, json_file=file, pictures=[40], crowded=True)
    rows = json.loads(file.read_text())
    assert [row["name"] for row in rows] == [
        "cluster_seconds_crowded_40",
        "cluster_peak_mb_crowded_40",
    ]
    assert [row["must"] for row in rows] == [None, None]
    assert rows[1]["anchor"] == 40 * 2048 * 4 / 1e6


def _suite_here():
    from fedklpr_flwr.commands.bench import _CHECKOUT

    return _suite(_CHECKOUT)
