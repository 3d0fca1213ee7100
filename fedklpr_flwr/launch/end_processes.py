"""The processes that a run starts: they end with it, and what a killed one left is found again.

Flower starts processes of its own (executors, the server app, simulation workers). All of them
carry the run's own FLWR_HOME in their environment, by which they are known; none is ever looked
for by its name.
"""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Container, Iterable, Iterator
from pathlib import Path

from fedklpr_flwr.system import run_files
from fedklpr_flwr.system.plain_text import parse_json, read_text

FLOWER_HOME = ".flower"
"""A run's own FLWR_HOME, in its run folder."""

_STOP_SECONDS = 20.0
_LOOK_SECONDS = 0.5
_PR_SET_PDEATHSIG = 1
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)


def end_with_parent() -> None:
    """Ask Linux to end this process when its parent dies; run in a child before its program."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def end_with_launcher(process: subprocess.Popen[str]) -> None:
    """Let a child end when the process that has this one as a worker is gone.

    A worker of Hydra's joblib launcher is busy with its job, and would not notice. Nothing happens
    where this process is no worker.

    Args:
        process: the child.
    """
    launcher = multiprocessing.parent_process()
    if launcher is None:
        return

    def watch() -> None:
        while process.poll() is None:
            if os.getppid() != launcher.pid:
                process.terminate()
                return
            time.sleep(_LOOK_SECONDS)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Let nobody interrupt what is done in it: a second Ctrl-C would leave processes behind."""
    earlier = {sign: signal.signal(sign, signal.SIG_IGN) for sign in _INTERRUPTS}
    try:
        yield
    finally:
        for sign, handler in earlier.items():
            signal.signal(sign, handler)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started in a session of its own, with its group."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
            process.wait(_STOP_SECONDS)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def processes_of(home: Path) -> list[int]:
    """This user's processes whose environment names a FLWR_HOME; none where there is no /proc."""
    mark = f"FLWR_HOME={home}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            carries = mark in (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # another user's, or gone by now
        if carries and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return found


def end_processes_of(home: Path) -> int:
    """End every process that carries a run's own FLWR_HOME.

    Args:
        home: the absolute FLWR_HOME.

    Returns:
        How many there were.
    """
    found = processes_of(home)
    _send(found, signal.SIGTERM)
    _send(_left(home), signal.SIGKILL)
    return len(found)


def end_server(folder: Path) -> None:
    """Kill a run's server app, if it still runs, and wait until it is gone.

    It goes before its clients: a server that sees them die would take that for their failure, and
    merge the round without them. Its run folder is whole at any moment.

    Args:
        folder: the run folder.
    """
    try:
        status = parse_json(read_text(folder / run_files.STATUS))
        running = status["pid"] if status["status"] == "running" else None
    except (OSError, ValueError, KeyError, TypeError):
        return  # it never began, or what it said cannot be read
    home = folder / FLOWER_HOME
    if running in processes_of(home):
        _send([running], signal.SIGKILL)
        _left(home, {running})


def _left(home: Path, among: Container[int] | None = None) -> list[int]:
    """The processes of a run that do not end in time; `among` these, or all."""
    end = time.monotonic() + _STOP_SECONDS
    while True:
        left = [pid for pid in processes_of(home) if among is None or pid in among]
        if not left or time.monotonic() > end:
            return left
        time.sleep(0.05)


def _send(processes: Iterable[int], sign: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, sign)
