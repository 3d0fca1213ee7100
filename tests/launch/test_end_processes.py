"""Claims about fedklpr_flwr.launch.end_processes: what a run started ends with it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedklpr_flwr.launch.end_processes import (
    FLOWER_HOME,
    end_processes_of,
    end_server,
    processes_of,
    stop,
)
from fedklpr_flwr.system import run_files

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks into /proc")

WAIT = "import time; time.sleep(60)"


def start(code, **more):
    return subprocess.Popen(
        [sys.executable, "-c", code], start_new_session=True, stdout=subprocess.PIPE, **more
    )


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def dies(pid, seconds=10.0):
    end = time.monotonic() + seconds
    while is_alive(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not is_alive(pid)


CHILD = (
    "import subprocess, sys;"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
    "print(child.pid, flush=True); child.wait()"
)


def test_a_process_ends_with_its_group():
    process = start(CHILD)
    child = int(process.stdout.readline())
    stop(process)
    assert process.poll() is not None
    assert dies(child)


def test_stopping_what_has_ended_is_no_fault():
    process = start("pass")
    process.wait()
    stop(process)
    assert process.returncode == 0


def test_processes_are_known_by_their_flwr_home_and_nothing_else(tmp_path):
    home, other = tmp_path / "one", tmp_path / "one more"
    awake = "print(1, flush=True);" + WAIT  # once it runs, Linux tells its environment
    mine = start(awake, env={**os.environ, "FLWR_HOME": str(home)})
    theirs = start(awake, env={**os.environ, "FLWR_HOME": str(other)})
    try:
        mine.stdout.readline(), theirs.stdout.readline()
        assert processes_of(home) == [mine.pid]
        assert end_processes_of(home) == 1
        mine.wait(5)
        assert theirs.poll() is None
        assert processes_of(home) == []
    finally:
        stop(mine)
        stop(theirs)


def test_a_process_that_will_not_hear_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("fedklpr_flwr.launch.end_processes._STOP_SECONDS", 0.3)
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True);"
    process = start(deaf + WAIT, env={**os.environ, "FLWR_HOME": str(tmp_path)})
    process.stdout.readline()
    end_processes_of(tmp_path)
    assert process.wait(5) == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="a promise of Linux")
def test_a_child_ends_when_its_parent_is_killed():
    code = (
        "import subprocess, sys;"
        "from fedklpr_flwr.launch.end_processes import end_with_parent;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'],"
        " start_new_session=True, preexec_fn=end_with_parent);"
        "print(child.pid, flush=True); child.wait()"
    )
    parent = start(code)
    child = int(parent.stdout.readline())
    assert is_alive(child)
    parent.kill()
    parent.wait()
    assert dies(child)


def test_a_second_signal_does_not_interrupt_the_ending():
    code = (
        "import signal, time\n"
        "for sign in (signal.SIGINT, signal.SIGTERM):\n"  # a parent may have ignored the first
        "    signal.signal(sign, signal.default_int_handler)\n"
        "from fedklpr_flwr.launch.end_processes import undisturbed\n"
        "try:\n"
        "    print('up', flush=True); time.sleep(60)\n"
        "finally:\n"
        "    with undisturbed():\n"
        "        print('ending', flush=True); time.sleep(1); print('ended', flush=True)\n"
    )
    process = start(code)
    assert process.stdout.readline() == b"up\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == b"ending\n"
    for sign in (signal.SIGINT, signal.SIGTERM):
        process.send_signal(sign)
    assert process.stdout.readline() == b"ended\n"
    process.wait(5)


def test_a_runs_server_ends_before_its_clients_do(tmp_path):
    """Else it would take their end for a failure, and merge the round without them."""
    home = tmp_path / FLOWER_HOME
    server, client = (start(WAIT, env={**os.environ, "FLWR_HOME": str(home)}) for _ in range(2))
    other = start(WAIT)
    try:
        say(tmp_path, "finished", server.pid)
        end_server(tmp_path)
        say(tmp_path, "running", other.pid)
        end_server(tmp_path)
        assert (server.poll(), other.poll()) == (None, None), "ended, or another's process"
        say(tmp_path, "running", server.pid)
        end_server(tmp_path)
        assert server.wait(5) == -signal.SIGKILL
        assert client.poll() is None
    finally:
        for process in (server, client, other):
            stop(process)


@pytest.mark.parametrize("status", ["", "[]", '{"status": "running"}'])
def test_a_run_whose_status_cannot_be_read_has_no_server_to_end(status, tmp_path):
    (tmp_path / run_files.STATUS).write_text(status)
    end_server(tmp_path)


def say(folder, status, pid):
    (folder / run_files.STATUS).write_text(
        json.dumps({"status": status, "message": "", "pid": pid})
    )
