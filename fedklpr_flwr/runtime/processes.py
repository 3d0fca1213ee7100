"""The processes that a run starts: they end with it, and what a killed one left is found again.

Flower starts processes of its own (executors, the server app, simulation workers). All of them
carry the run's own FLWR_HOME in their environment, by which they are known; none is ever looked
for by its name.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

_STOP_SECONDS = 20.0
_PR_SET_PDEATHSIG = 1
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)


def end_with_parent() -> None:
    """Ask Linux to end this process when its parent dies; run in a child before its program."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


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
    end = time.monotonic() + _STOP_SECONDS
    while (left := processes_of(home)) and time.monotonic() < end:
        time.sleep(0.1)
    _send(left, signal.SIGKILL)
    return len(found)


def _send(processes: Iterable[int], sign: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, sign)
