"""Claims about `fedklpr compare`: what is printed, written and refused."""

import json
import shutil
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from fedklpr_flwr.commands.__main__ import app
from fedklpr_flwr.errors import RunError


@pytest.fixture(scope="module")
def runs(federate_in, tmp_path_factory):
    """Two methods really run, one of them with two seeds, and one that ran a round of two."""
    folder = tmp_path_factory.mktemp("runs")
    two = {"names": ("ash", "birch")}
    federate_in(folder / "k0", "federation.rounds=1", **two)
    federate_in(folder / "k1", "federation.rounds=1", "seed=1", **two)
    federate_in(folder / "alone", "federation.rounds=1", "method=local_only", **two)
    shutil.copytree(folder / "k0", folder / "half")
    config = folder / "half" / "config.yaml"
    config.write_text(config.read_text().replace("  rounds: 1\n", "  rounds: 2\n"))
    return folder


def typed(*words):
    return CliRunner().invoke(app(), ["compare", *map(str, words)])


@pytest.mark.slow
def test_real_runs_are_compared_in_the_terminal_and_as_files(runs, tmp_path):
    out = tmp_path / "out"
    ran = typed(runs, "--out", out)
    assert ran.exit_code == 0, ran.output
    for part in ("fedklpr", "local_only", "0 1", "ash", "birch", "1 of 2 rounds"):
        assert part in ran.stdout
    assert "…" not in ran.stdout, "a cell is cut"
    assert {file.name for file in out.iterdir()} == {
        "comparison.md",
        "comparison.csv",
        "per_client.csv",
        "accuracy_over_bytes.png",
        "gain_over_local_only.png",
    }


def test_json_alone_is_on_stdout(runs, tmp_path):
    ran = typed(runs, "--json", "--out", tmp_path / "out", "--reference", "local_only")
    found = json.loads(ran.stdout)
    assert found["reference"] == "local_only"
    assert found["paired"]["fedklpr"]["rank1"]["seeds"] == 1
    assert {tuple(one["seeds"]) for one in found["methods"]} == {(0, 1), (0,)}


def test_a_folder_that_holds_no_run_is_one_sentence(tmp_path):
    ran = typed(tmp_path)
    assert isinstance(ran.exception, RunError)
    assert "has no run in it" in str(ran.exception)


def test_without_matplotlib_the_tables_are_written_and_the_missing_extra_named(runs, tmp_path):
    code = (
        "import sys; sys.modules['matplotlib'] = None; sys.modules['matplotlib.figure'] = None\n"
        "from pathlib import Path\n"
        "from fedklpr_flwr.commands.compare import compare\n"
        f"compare([Path({str(runs)!r})], out=Path({str(tmp_path)!r}))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert "fedklpr-flwr[report]" in ran.stdout
    assert (tmp_path / "comparison.csv").exists()
    assert not list(tmp_path.glob("*.png"))
