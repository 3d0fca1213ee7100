"""A deployment as `fedklpr deploy init` writes it, on loopback, started by its own scripts.

`experiments.deployment` is the plain one: no TLS, no keys, its processes kept up as systemd would.
"""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

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
        self.port, self.cache = free_port(), cache
        self.processes: list[subprocess.Popen[bytes]] = []
        self.homes: set[Path] = set()
        own = {"venv": str(Path(sys.executable).parent.parent), "work": f"{base}/work/office"}
        server = {"hosts": ["127.0.0.1"], "port": self.port, "listen": "127.0.0.1", **own}
        listed = [self.site(site, keys) for site, keys in sites.items()]
        base.mkdir(parents=True, exist_ok=True)
        written = {"federation": name, "server": server, "sites": listed}
        (base / "SITES.yaml").write_text(yaml.safe_dump(written))
        self.deploy("init", base / "SITES.yaml", "--out", self.folder)

    def site(self, name: str, keys: Mapping[str, str]) -> dict[str, object]:
        """A box's entry in SITES.yaml."""
        venv = str(Path(sys.executable).parent.parent)
        places = {"venv": venv, "work": f"{self.base}/work/{name}", "cache": str(self.cache)}
        return {"name": name, "port": free_port(), **places, **keys}

    def add_site(self, name: str, keys: Mapping[str, str]) -> None:
        """Make a box's folder beside those that are there."""
        source = self.folder / "SITES.yaml"
        listed = yaml.safe_load(source.read_text())
        listed["sites"].append(self.site(name, keys))
        source.write_text(yaml.safe_dump(listed))
        self.deploy("renew", self.folder)

    def deploy(self, *words: str | Path) -> str:
        """What `fedklpr deploy` says of these words."""
        done = subprocess.run([*COMMAND, "deploy", *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def __enter__(self) -> "Deployed":
        return self

    def __exit__(self, *_: object) -> None:
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
