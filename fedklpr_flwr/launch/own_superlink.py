"""The launcher: one federation on Flower's own engine, from a command line to a truthful exit.

It starts a SuperLink of its own on a free port with a FLWR_HOME of its own, lets `flwr run` build
and submit the app, follows the run folder, asks Flower how the run ended, and stops what it
started, by process id.
"""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fedklpr_flwr.errors import RunError
from fedklpr_flwr.launch.end_processes import (
    FLOWER_HOME,
    end_processes_of,
    end_server,
    end_with_parent,
    stop,
    undisturbed,
)
from fedklpr_flwr.launch.environment import last_error, last_words, run_environment
from fedklpr_flwr.launch.prepare import Prepared
from fedklpr_flwr.launch.simulated_clients import federation_words
from fedklpr_flwr.runs.record_reader import read_status
from fedklpr_flwr.runs.rows import Row, read_rows
from fedklpr_flwr.system import run_files
from fedklpr_flwr.system.atomic_file import open_unlinked, write_atomically
from fedklpr_flwr.system.paths import app_folder
from fedklpr_flwr.system.plain_text import parse_json, read_text, toml_text

_START_SECONDS = 60.0


@dataclass(frozen=True)
class Ending:
    """How a run ended: what Flower says, and what the server app wrote itself."""

    flower: str
    server: str
    message: str

    @property
    def good(self) -> bool:
        """Whether both agree that all rounds are done."""
        return self.server == "finished" and self.flower == "finished:completed"


def launch(
    prepared: Prepared,
    *,
    nodes: int | None,
    superlink: str | None,
    on_row: Callable[[Row], None],
    on_stop: Callable[[], None] = lambda: None,
    on_wait: Callable[[str], None] = lambda said: None,
) -> Ending:
    """Run a prepared federation on Flower to its end.

    Args:
        prepared: the checked run.
        nodes: simulated SuperNodes; None = as many as the experiment has clients.
        superlink: a connection of the user's own Flower configuration to run on instead of a
            simulation.
        on_row: called with each finished round's own row.
        on_wait: called with what the run waits for, whenever it says so.
        on_stop: called when a simulation is interrupted, before its processes are ended, which
            takes some seconds.

    Raises:
        RunError: Flower could not be started, or did not take the app.
    """
    home = prepared.folder / FLOWER_HOME
    env = run_environment(os.environ, home if superlink is None else None)
    if superlink is not None:
        return _follow(prepared, superlink, [], env, on_row, on_wait)
    port = free_port()
    home.mkdir(parents=True, exist_ok=True)
    text = f'[superlink]\ndefault = "own"\n\n[superlink.own]\naddress = "127.0.0.1:{port}"\n'
    write_atomically(home / "config.toml", f"{text}insecure = true\n".encode())
    count = nodes or len(prepared.settings.data.clients)
    federation = ["--federation-config", federation_words(prepared.settings, count)]
    server = _start_superlink(port, home, env)
    try:
        _wait_until_up(server, port, home)
        return _follow(prepared, "own", federation, env, on_row, on_wait)
    except KeyboardInterrupt:
        on_stop()
        raise
    finally:
        with undisturbed():
            end_server(prepared.folder)
            stop(server)
            end_processes_of(home)
            _correct_status(prepared.folder)
            shutil.rmtree(home / "apps", ignore_errors=True)


def free_port() -> int:
    """A port of the loopback interface that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start_superlink(port: int, home: Path, env: dict[str, str]) -> subprocess.Popen[bytes]:
    command = ["flower-superlink", "--insecure", "--simulation", "--isolation", "subprocess"]
    command += [
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--log-file",
        str(home / "superlink.log"),
    ]
    with open_unlinked(home / "superlink.out", append=False) as output:
        return subprocess.Popen(
            command,
            env=env,
            cwd=app_folder(),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=end_with_parent,
        )


def _wait_until_up(server: subprocess.Popen[bytes], port: int, home: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        if server.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise RunError(f"Flower's SuperLink did not start; its log is {home / 'superlink.out'}")


def _follow(
    prepared: Prepared,
    superlink: str,
    federation: list[str],
    env: dict[str, str],
    on_row: Callable[[Row], None],
    on_wait: Callable[[str], None],
) -> Ending:
    """Submit the app, report rounds as they end, and ask how it went."""
    config = prepared.folder / ".run-config.toml"
    lines = (f"{key} = {toml_text(value)}\n" for key, value in prepared.run_config.items())
    write_atomically(config, "".join(lines).encode())
    log_file = prepared.folder / run_files.FLOWER_LOG
    command = [
        "flwr",
        "run",
        str(app_folder()),
        superlink,
        "--stream",
        "-c",
        str(config),
        *federation,
    ]
    with open_unlinked(log_file, append=False) as output:
        process = subprocess.Popen(
            command,
            env=env,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
    try:
        seen, waits = 0, ""
        while process.poll() is None:
            waits = _report_waiting(prepared.folder, waits, on_wait)
            seen = _report_new(prepared.folder, seen, on_row)
            time.sleep(0.3)
        _report_new(prepared.folder, seen, on_row)
    finally:
        if process.poll() is None:
            stop(process)
    return _ending(prepared.folder, superlink, env, log_file)


def _report_waiting(folder: Path, before: str, on_wait: Callable[[str], None]) -> str:
    """What the run waits for; it is reported where that is something else than before."""
    status, message, _ = read_status(folder)
    if status == "running" and message and message != before:
        on_wait(message)
    return message


def _report_new(folder: Path, seen: int, on_row: Callable[[Row], None]) -> int:
    path = folder / run_files.ROWS
    rounds = [row for row in read_rows(path) if row.client is None] if path.exists() else []
    for row in rounds[seen:]:
        on_row(row)
    return len(rounds)


def _correct_status(folder: Path) -> None:
    """Once all its processes are gone, no run goes on saying that it runs."""
    if read_status(folder)[0] == "running":
        path = folder / run_files.STATUS
        status = parse_json(read_text(path))
        status |= {"status": "failed", "message": "stopped before it ended"}
        write_atomically(path, json.dumps(status).encode())


def what_the_server_says(folder: Path, log_file: Path) -> dict[str, str]:
    """The server app's own word, once nobody follows it any more: its status and a message."""
    if not (folder / run_files.STATUS).exists():
        said = last_words(log_file)
        why = f": {said}" if said else ""
        message = f"the server app never ran{why}; see {log_file}"
        return {"status": "not started", "message": message}
    status, message, damaged = read_status(folder)
    if status == "running":
        message = "the server app, its SuperLink or the line to it ended without a word"
        said = last_error(log_file)
        message += f"; the last error in {log_file}: {said}" if said else f"; see {log_file}"
    return {"status": status, "message": damaged or message}


def _ending(folder: Path, superlink: str, env: dict[str, str], log_file: Path) -> Ending:
    status = what_the_server_says(folder, log_file)
    listed = subprocess.run(
        ["flwr", "list", superlink, "--format", "json"], env=env, capture_output=True, text=True
    )
    try:
        runs = json.loads(listed.stdout)["runs"]
        flower = str(runs[0]["status"])
    except (ValueError, KeyError, IndexError):
        flower = "unknown"
    return Ending(flower, status["status"], status["message"])
