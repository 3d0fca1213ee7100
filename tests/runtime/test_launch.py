"""Claims about fedklpr_flwr.runtime.launch: what it starts it ends, and it says how it went."""

import os
import socket
import subprocess
import sys
import time

import pytest

from fedklpr_flwr.runtime.launch import OFF, Ending, app_folder, free_port, stop


def start(code):
    return subprocess.Popen(
        [sys.executable, "-c", code], start_new_session=True, stdout=subprocess.PIPE
    )


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:
        return file.read().split()[2] != "Z"


CHILD = (
    "import subprocess, sys, time, signal;"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
    "print(child.pid, flush=True); time.sleep(60)"
)


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="looks into /proc")
def test_a_process_ends_with_all_it_started():
    process = start(CHILD)
    child = int(process.stdout.readline())
    stop(process)
    assert process.poll() is not None
    for _ in range(50):
        if not is_alive(child):
            break
        time.sleep(0.05)
    assert not is_alive(child)


def test_stopping_what_has_ended_is_no_fault():
    process = start("pass")
    process.wait()
    stop(process)
    assert process.returncode == 0


def test_a_free_port_can_be_bound():
    port = free_port()
    with socket.socket() as server:
        server.bind(("127.0.0.1", port))


@pytest.mark.parametrize(
    ("flower", "server", "good"),
    [
        ("finished:completed", "finished", True),
        ("finished:completed", "failed", False),
        ("finished:completed", "running", False),
        ("finished:failed", "finished", False),
        ("finished:stopped", "running", False),
        ("unknown", "finished", False),
        ("running", "not started", False),
    ],
)
def test_a_run_is_good_only_if_flower_and_the_server_both_say_so(flower, server, good):
    assert Ending(flower, server, "").good is good


def test_the_app_is_built_from_the_checkout():
    assert (app_folder() / "pyproject.toml").is_file()
    assert (app_folder() / "conf" / "config.yaml").is_file()


def test_flower_neither_downloads_nor_reports_nor_looks_for_updates():
    assert OFF["FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION"] == "1"
    assert OFF["FLWR_TELEMETRY_ENABLED"] == "0"
    assert OFF["FLWR_DISABLE_UPDATE_CHECK"] == "1"
    assert OFF["RAY_USAGE_STATS_ENABLED"] == "0"
