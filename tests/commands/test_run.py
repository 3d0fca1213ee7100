"""Claims about `fedklpr run`: the same federation through Flower's own engine, and a true exit."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_federation import sha256_of, tiny_overrides

from fedklpr_flwr.model.mask_file import MaskFile
from fedklpr_flwr.runs.rows import read_rows

pytestmark = pytest.mark.slow


def fedklpr(*words):
    """The command as a user types it, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "fedklpr_flwr.commands", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=900,
        cwd="/",
    )


def processes_of(folder):
    """Processes that were started with the run's own FLWR_HOME."""
    mark = f"FLWR_HOME={folder}/.flower".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append((entry.name, (entry / "cmdline").read_bytes()[:200]))
        except OSError:
            continue
    return found


def test_flower_and_simulate_end_with_the_same_model_to_the_byte(tmp_path):
    flower, simulated = tmp_path / "through flower", tmp_path / "simulated"
    ran = fedklpr("run", "experiment=smoke", f"run.dir={flower}")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "round  2/2" in ran.stdout
    assert processes_of(flower) == [], "the run left processes behind"
    alone = fedklpr("simulate", "experiment=smoke", f"run.dir={simulated}")
    assert alone.returncode == 0, alone.stdout + alone.stderr
    name = "global.safetensors"
    assert sha256_of(flower / name) == sha256_of(simulated / name)
    files = sorted((simulated / "clients").glob("*/mask.safetensors"))
    assert len(files) == 3
    last = [row for row in read_rows(simulated / "run.jsonl") if row.round == 2]
    assert all(row.pruned == pytest.approx(0.25, abs=0.01) for row in last), "the masks are full"
    for file in files:
        one, other = MaskFile(file), MaskFile(flower / file.relative_to(simulated))
        assert all(torch.equal(one[key], other[key]) for key in one), file.parent.name
    ours, theirs = (sorted(p.name for p in f.iterdir()) for f in (flower, simulated))
    assert {"config.yaml", "run.jsonl", "report.md", name, "clients"} <= set(ours) & set(theirs)


def test_a_run_that_the_server_gives_up_fails_with_its_reason(sites, tmp_path):
    words = tiny_overrides(sites, ["ash", "birch"])  # wait_seconds=0: no client can be up by then
    folder = tmp_path / "run"
    ran = fedklpr("run", "experiment=smoke", *words, f"run.dir={folder}")
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "0 of 2 clients came within federation.wait_seconds=0" in ran.stderr
    assert f"fedklpr run resume={folder}" in ran.stderr
    assert processes_of(folder) == []
    assert (folder / "flower.log").exists()


def test_pictures_that_cannot_be_read_stop_a_run_before_it_starts(sites, tmp_path):
    broken = tmp_path / "sites"
    (broken / "birch").mkdir(parents=True)
    (broken / "ash").symlink_to(sites / "ash")
    words = [w for w in tiny_overrides(sites, ["ash", "birch"]) if "data.root" not in w]
    folder = tmp_path / "run"
    ran = fedklpr("run", "experiment=smoke", *words, f"data.root={broken}", f"run.dir={folder}")
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "birch" in ran.stderr
    assert "empty folder" in ran.stderr
    assert not folder.exists()
