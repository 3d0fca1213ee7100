"""Claims about a run that is stopped: nothing runs on, and resumed it ends as if never stopped."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_federation import sha256_of

from fedklpr_flwr.launch.end_processes import FLOWER_HOME, processes_of
from fedklpr_flwr.runs.rows import read_rows

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks into /proc"),
]

SITES = ", ".join(f"{{name: {n}, reader: 'drawn:{n}', folder: null}}" for n in ("street", "yard"))
RUN = (
    "experiment=smoke",
    f"data.clients=[{SITES}]",
    "federation.rounds=2",  # it is stopped after the first; in the second all prune
    "training.max_batches=1",
    "report.wandb=off",
)
SECONDS = ("seconds", "server_peak_mb", "bytes_message_up", "bytes_message_down")


def start(*words):
    return subprocess.Popen(
        [sys.executable, "-m", "fedklpr_flwr.commands", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd="/",
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def finish(*words):
    process = start(*words)
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said


def wait_for(process, text):
    for line in process.stdout:
        if line.startswith(text):
            return
    pytest.fail(f"it ended before {text!r}")


def outcome(folder):
    """Model and masks by hash, and the rows, apart from what the clock and the transport say."""
    rows = [
        {key: value for key, value in vars(row).items() if key not in SECONDS}
        for row in read_rows(folder / "run.jsonl")
    ]
    files = [folder / "global.safetensors", *sorted(folder.glob("clients/*/mask.safetensors"))]
    return [sha256_of(file) for file in files], rows


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("never-stopped") / "run"
    finish("simulate", *RUN, f"run.dir={folder}")
    return outcome(folder)


# SIGTERM is taken as SIGINT is, which the simulated ones below show for less.
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
def test_a_launched_run_leaves_no_process_and_can_go_on(sign, tmp_path, never_stopped):
    folder = tmp_path / "run"
    process = start("run", *RUN, f"run.dir={folder}")
    wait_for(process, "round  1/2")
    process.send_signal(sign)
    said, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    if sign != signal.SIGKILL:  # who is killed says nothing, and its processes end a little later
        assert f"fedklpr run resume={folder}" in said
        assert processes_of(folder / FLOWER_HOME) == []
        assert '"failed"' in (folder / "status.json").read_text()
    finish("run" if sign == signal.SIGKILL else "simulate", f"resume={folder}")
    assert processes_of(folder / FLOWER_HOME) == []
    assert outcome(folder) == never_stopped


@pytest.mark.parametrize(
    ("sign", "delay"),
    [(signal.SIGKILL, 0.0), (signal.SIGKILL, 0.7), (signal.SIGINT, 0.2), (signal.SIGTERM, 0.4)],
)
def test_a_simulated_run_can_go_on_from_any_moment(sign, delay, tmp_path, never_stopped):
    folder = tmp_path / "run"
    process = start("simulate", *RUN, f"run.dir={folder}")
    wait_for(process, "round  1/2")
    time.sleep(delay)
    process.send_signal(sign)
    said, _ = process.communicate(timeout=120)
    if process.returncode == 0:
        pytest.skip("it ended before the signal came")
    if sign != signal.SIGKILL:
        assert f"resume={folder}" in said
    finish("simulate", f"resume={folder}")
    assert outcome(folder) == never_stopped


def test_a_finished_run_can_be_given_more_rounds(tmp_path, never_stopped):
    folder = tmp_path / "run"
    finish("simulate", *RUN, "federation.rounds=1", f"run.dir={folder}")
    finish("simulate", f"resume={folder}", "federation.rounds=2")
    assert outcome(folder) == never_stopped
