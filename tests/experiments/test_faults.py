"""Claims about experiments/faults.py: what it says is true, and a bad run is not believed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_federation import NAMES, PRUNES

from experiments.deployment import Unit
from experiments.faults import unproven
from fedklpr_flwr.model.mask_file import MaskFile, masks_to_bytes

SCRIPT = Path(__file__).resolve().parents[2] / "experiments" / "faults.py"


@pytest.fixture(scope="module")
def finished(federate_in, tmp_path_factory):
    return federate_in(tmp_path_factory.mktemp("finished") / "run", *PRUNES, names=NAMES).folder


@pytest.fixture
def copied(finished, tmp_path):
    copy = tmp_path / "run"
    subprocess.run(["cp", "-r", finished, copy], check=True)
    return copy


def edit_rows(out, edit):
    path = out / "run.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in edit(rows)))


@pytest.mark.slow
def test_an_undamaged_run_is_proven(copied):
    assert unproven(copied, [], NAMES) == []


def test_a_client_without_a_line_or_with_two_is_found(copied):
    def drop_and_double(rows):
        gone = [row for row in rows if (row["round"], row["client"]) != (1, "birch")]
        return [*gone, next(row for row in rows if (row["round"], row["client"]) == (2, "ash"))]

    edit_rows(copied, drop_and_double)
    assert unproven(copied, [], NAMES) == [
        "round 1, birch: 0 lines, expected one",
        "round 2, ash: 2 lines, expected one",
    ]


def test_a_status_of_no_meaning_is_found(copied):
    edit_rows(copied, lambda rows: [{**row, "status": row["status"] and "fine"} for row in rows])
    assert len(unproven(copied, [], NAMES)) == 9


def test_a_checkpoint_that_does_not_load_or_is_older_than_its_rows_is_found(copied):
    mask = copied / "clients" / "cedar" / "mask.safetensors"
    mask.write_bytes(masks_to_bytes({name: ~kept for name, kept in MaskFile(mask).items()}))
    edit_rows(
        copied, lambda rows: rows + [{**row, "round": 3} for row in rows if row["round"] == 2]
    )
    assert unproven(copied, [], NAMES) == [
        "the last checkpoint is of round 2, rows end at 3",
        "cedar's mask is not the one that the checkpoint names",
    ]
    (copied / "global.safetensors").write_bytes(b"torn")
    (found,) = unproven(copied, [], NAMES)[-1:]
    assert "does not load" in found


def test_a_unit_dies_with_all_that_it_started_and_comes_back(tmp_path):
    child = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    unit = Unit("parent", tmp_path, [sys.executable, "-c", code])
    unit.start()
    while not unit.text().endswith("\n"):
        pass
    first, started = unit.pid, int(unit.text())
    assert unit.kill() == -9
    assert not _alive(started)
    while unit.starts == 1:
        unit.keep_up()
    assert unit.pid != first
    unit.kill()


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_deployment_survives_three_faults(tmp_path):
    """Seed 15 draws moments that come soon; a machine under load gets longer deadlines."""
    out = tmp_path / "faults.json"
    words = ["--faults", "3", "--seed", "15", "--json", str(out)]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *words, "--folder", str(tmp_path / "office")],
        capture_output=True,
        text=True,
        timeout=3600,
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(out.read_text())
    assert [fault["kind"] for fault in told["faults"]] == ["training", "upload", "superlink"]
    assert all(fault["seconds"] > 0 for fault in told["faults"])
