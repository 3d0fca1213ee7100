"""A deployment as `fedklpr deploy init` writes it, on loopback, started by its own scripts."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import yaml

from fedklpr_flwr.launch.end_processes import end_processes_of, end_with_parent, stop
from fedklpr_flwr.launch.own_superlink import free_port

COMMAND = (sys.executable, "-m", "fedklpr_flwr.commands")
_SECONDS = 120.0


def env_of(home: Path) -> dict[str, str]:
    """What a process of a deployment sees: its FLWR_HOME, and this environment's programs first."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, "PATH": programs, "FLWR_HOME": str(home)}


class Deployed:
    """A federation of real processes; what it started ends with the `with` block.

    Args:
        base: an empty folder for everything.
        name: the federation's.
        sites: the keys of each site in SITES.yaml, by its name.
        cache: where decoded pictures and drawings are kept.
    """

    def __init__(
        self, base: Path, name: str, sites: Mapping[str, Mapping[str, str]], cache: Path
    ) -> None:
        self.name, self.base, self.folder = name, base, base / name
        self.port = free_port()
        own = {"venv": str(Path(sys.executable).parent.parent)}
        listed = [
            {"name": site, "port": free_port(), "work": f"{base}/work/{site}", "cache": str(cache)}
            | own
            | dict(keys)
            for site, keys in sites.items()
        ]
        server = {"hosts": ["127.0.0.1"], "port": self.port, "listen": "127.0.0.1", **own}
        server["work"] = f"{base}/work/office"
        written = {"federation": name, "server": server, "sites": listed}
        base.mkdir(parents=True, exist_ok=True)
        (base / "SITES.yaml").write_text(yaml.safe_dump(written))
        command = [*COMMAND, "deploy", "init", base / "SITES.yaml", "--out", self.folder]
        subprocess.run(command, check=True, capture_output=True)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.homes: set[Path] = set()

    def __enter__(self) -> "Deployed":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self.processes:
            stop(process)
        for home in self.homes:
            end_processes_of(home)

    def start(self, part: str, command: Sequence[str | Path] = ()) -> Path:
        """Run a part's start script, or a command in its place; the file of what it says."""
        log = self.base / f"{part.replace('/', '-')}-{len(self.processes)}.log"
        home = self.base / "work" / Path(part).name / "flower"
        self.homes.add(home)
        with log.open("wb") as output:
            process = subprocess.Popen(
                command or [self.folder / part / "start.sh"],
                env=env_of(home),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
        self.processes.append(process)
        return log

    def register(self) -> str:
        """What the registering script says."""
        script = self.folder / "office" / "register.sh"
        done = subprocess.run([script], capture_output=True, text=True, timeout=_SECONDS)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def launch(self, *overrides: str, connection: str | None = None) -> subprocess.Popen[str]:
        """`fedklpr run --superlink`, beside the SuperLink."""
        return subprocess.Popen(
            [*COMMAND, "run", *overrides, "--superlink", connection or self.name],
            env=env_of(self.folder / "office" / "flower"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=end_with_parent,
        )

    def said(self) -> str:
        """The last lines of every process."""
        logs = sorted(self.base.glob("*.log"))
        return "\n".join(f"--- {path.name}\n{path.read_text()[-3000:]}" for path in logs)


def wait_for(log: Path, words: str, seconds: float = _SECONDS) -> str:
    """What a process has said by the time it says these words."""
    end = time.monotonic() + seconds
    while words not in (said := log.read_text()):
        assert time.monotonic() < end, f"{words!r} is not in {log} after {seconds} s:\n{said}"
        time.sleep(0.2)
    return said
