"""A real deployment on loopback: a SuperLink, SuperNodes and a run, each kept up as systemd would.

Nothing of it outlives the program that made it: every process ends with its parent, and `Unit.kill`
finds the rest by a FLWR_HOME of its own, by process id and never by name.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from fedklpr_flwr.launch.end_processes import end_processes_of, end_with_parent, processes_of
from fedklpr_flwr.launch.environment import OFF
from fedklpr_flwr.launch.own_superlink import free_port

_RESTART_SECONDS = 2.0
_DYING_SECONDS = 5.0


class Unit:
    """One program with all that it starts, restarted when it ends.

    Args:
        name: also the folder of its FLWR_HOME and its log below `folder`.
        folder: where both lie.
        command: what is started.
        again: what is started instead from the second time on, and only after a failure; None = the
            same, also after a good end: a SuperNode ends with status 0 when its SuperLink is new.
    """

    def __init__(
        self, name: str, folder: Path, command: Sequence[str], again: Sequence[str] | None = None
    ) -> None:
        self.name, self.home, self.log = name, folder / name, folder / f"{name}.log"
        self.starts = 0
        self._command, self._again, self._always = command, again or command, again is None
        self._process: subprocess.Popen[bytes] | None = None
        self._due = 0.0

    @property
    def finished(self) -> bool:
        """Whether it ended by itself, without a failure."""
        return self._process is not None and self._process.poll() == 0

    @property
    def pid(self) -> int:
        """The process id of its first process."""
        assert self._process is not None, "start comes first"
        return self._process.pid

    def start(self) -> None:
        """Start it; its log goes on where it was."""
        self.home.mkdir(parents=True, exist_ok=True)
        bin_folder = Path(sys.executable).parent
        path = f"{bin_folder}{os.pathsep}{os.environ.get('PATH', '')}"
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._again if self.starts else self._command,
                env={**os.environ, **OFF, "PATH": path, "FLWR_HOME": str(self.home)},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
        self.starts += 1

    def keep_up(self) -> None:
        """Start it again a little while after it ended; call this often."""
        status = None if self._process is None else self._process.poll()
        if status is None or (status == 0 and not self._always):
            return
        if not self._due:
            self._due = time.monotonic() + _RESTART_SECONDS
        elif time.monotonic() >= self._due:
            self._due = 0.0
            self.start()

    def kill(self) -> int:
        """SIGKILL its first process, then, as systemd does, all that it has started.

        Returns:
            The status it ended with: -9 where the signal was what ended it.
        """
        assert self._process is not None, "start comes first"
        self._process.kill()
        status = self._process.wait()
        end = time.monotonic() + _DYING_SECONDS
        while (left := processes_of(self.home)) and time.monotonic() < end:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        return status

    def text(self, since: int = 0) -> str:
        """What its log says, from a byte on."""
        with self.log.open("rb") as file:
            file.seek(since)
            return file.read().decode(errors="replace")


class Deployment:
    """A SuperLink on a free port of loopback, and whatever units are added to it.

    Args:
        folder: an absolute, empty folder for logs and homes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        link = ["flower-superlink", "--insecure", "--disable-runtime-dependency-installation"]
        link += ["--host", "127.0.0.1", "--port", str(self.port)]
        self.superlink = Unit("superlink", folder, link)
        self.units: dict[str, Unit] = {}
        self._add(self.superlink)
        self.wait(self._is_up, 300, "the SuperLink does not answer")

    def node(self, name: str, reader: str, *, port: int | None = None, root: str = "") -> Unit:
        """Start a SuperNode of the client `name`; its memory lies in folder/memory-NAME.

        Args:
            name: the client's name.
            reader: of its pictures, as in `data.clients`.
            port: where it finds the SuperLink, behind a slow link for one.
            root: of its pictures, where the reader wants one.
        """
        config = f'client="{name}" data="{reader}" state-dir="{self.memory(name)}"'
        config += f' root="{root}"' if root else ""
        command = ["flower-supernode", "--insecure", "--superlink"]
        command += [f"127.0.0.1:{port or self.port}", "--host", "127.0.0.1"]
        command += ["--port", str(free_port()), "--node-config", config]
        return self._add(Unit(name, self.folder, command))

    def memory(self, name: str) -> Path:
        """Where a client keeps its memory."""
        return self.folder / f"memory-{name}"

    def run(self, run_folder: Path, overrides: Sequence[str], name: str = "run") -> Unit:
        """Start `fedklpr run`; it is resumed as often as it fails.

        Args:
            run_folder: new, or of a run that is over and goes on.
            overrides: of the configuration.
            name: its unit's; one that goes on needs another.
        """
        home = self.folder / name
        home.mkdir()
        (home / "config.toml").write_text(
            f'[superlink]\ndefault = "own"\n\n[superlink.own]\naddress = "127.0.0.1:{self.port}"\n'
            "insecure = true\n"
        )
        start = [sys.executable, "-m", "fedklpr_flwr.commands", "run", "--superlink", "own"]
        key = "resume" if run_folder.exists() else "run.dir"
        first = [*start, *overrides, f"{key}={run_folder}"]
        return self._add(Unit(name, self.folder, first, [*start, f"resume={run_folder}"]))

    def wait(self, until: Callable[[], bool], seconds: float, otherwise: str) -> None:
        """Keep every unit up until something is so.

        Raises:
            TimeoutError: it was not in time; says `otherwise`.
        """
        end = time.monotonic() + seconds
        while not until():
            if time.monotonic() > end:
                raise TimeoutError(f"{otherwise} after {seconds:g} s; logs are in {self.folder}")
            for unit in self.units.values():
                unit.keep_up()
            time.sleep(0.02)

    def end(self) -> None:
        """End everything."""
        for unit in reversed(self.units.values()):
            end_processes_of(unit.home)

    def _add(self, unit: Unit) -> Unit:
        self.units[unit.name] = unit
        unit.start()
        return unit

    def _is_up(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@contextlib.contextmanager
def deployed(folder: Path) -> Iterator[Deployment]:
    """A deployment that is ended whatever happens."""
    made = Deployment(folder)
    try:
        yield made
    finally:
        made.end()
