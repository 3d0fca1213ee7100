"""A real deployment on the loopback interface: a SuperLink, SuperNodes, and `fedklpr run` on them.

Run as a program it prints what crossed the interface as JSON; `alone` puts it into a network
namespace of its own, where nothing else is counted:

    python office.py FOLDER OVERRIDE... -- NAME=ROOT...
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from flwr.cli.build import build_fab_from_files

from fedklpr_flwr.launch.end_processes import end_processes_of, end_with_parent
from fedklpr_flwr.launch.environment import OFF
from fedklpr_flwr.launch.own_superlink import free_port

ALONE = ("unshare", "--user", "--map-root-user", "--net")
_UP_SECONDS = 90.0

TREE = Path(__file__).resolve().parent.parent
NOT_OURS = {".git", ".venv", "runs", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"}


def alone(folder: Path, overrides: Sequence[str], sites: Mapping[str, Path]) -> dict[str, int]:
    """Run the deployment in a network namespace of its own; what it said of itself."""
    words = [str(folder), *overrides, "--", *(f"{name}={root}" for name, root in sites.items())]
    done = subprocess.run(
        [*ALONE, sys.executable, __file__, *words], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def can_be_alone() -> bool:
    """Whether this machine lets a user make a network namespace."""
    try:
        return (
            subprocess.run([*ALONE, "ip", "link", "set", "lo", "up"], check=False).returncode == 0
        )
    except OSError:
        return False


def deploy(folder: Path, overrides: Sequence[str], sites: Mapping[str, Path]) -> dict[str, int]:
    """A whole run on a SuperLink and a SuperNode a site; the bytes that loopback counted."""
    home = folder / "flower"
    env = {**os.environ, **OFF, "FLWR_HOME": str(home)}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    home.mkdir(parents=True)
    port = free_port()
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "office"\n\n[superlink.office]\naddress = "127.0.0.1:{port}"\n'
        "insecure = true\n"
    )
    with _processes(home, env, port, sites):
        before = loopback_bytes()
        command = [sys.executable, "-m", "fedklpr_flwr.commands", "run", *overrides]
        command += [f"run.dir={folder / 'run'}", "--superlink", "office"]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=500)
        counted = loopback_bytes() - before
    logs = "\n".join(path.read_text()[-3000:] for path in home.glob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    return {"loopback": counted}


@contextlib.contextmanager
def _processes(
    home: Path, env: dict[str, str], port: int, sites: Mapping[str, Path]
) -> Iterator[None]:
    link = ["flower-superlink", "--insecure", "--disable-runtime-dependency-installation"]
    try:
        _start("superlink", [*link, "--host", "127.0.0.1", "--port", str(port)], home, env)
        _wait_for(port)
        for name, root in sites.items():
            config = f'client="{name}" data="folder" root="{root}" state-dir="{home / name}"'
            node = ["flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{port}"]
            own = ["--host", "127.0.0.1", "--port", str(free_port()), "--node-config", config]
            _start(name, [*node, *own], home, env)
        yield
    finally:
        end_processes_of(home)


def _start(name: str, command: Sequence[str], home: Path, env: dict[str, str]) -> None:
    with (home / f"{name}.log").open("wb") as output:
        subprocess.Popen(
            command,
            env=env,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=end_with_parent,
        )


def _wait_for(port: int) -> None:
    end = time.monotonic() + _UP_SECONDS
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise TimeoutError(f"no SuperLink on port {port} after {_UP_SECONDS} s")


def loopback_bytes() -> int:
    """What the loopback interface has received so far, by its own counter."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, figures = line.strip().partition(":")
        if name == "lo":
            return int(figures.split()[0])
    raise OSError("/proc/net/dev has no interface lo")


def bundle_of_the_tree() -> bytes:
    """The app as `flwr run` builds it from this checkout and ships it."""
    # Every file by its path; Flower itself applies .gitignore to them.
    tops = [path for path in TREE.iterdir() if path.name not in NOT_OURS]
    files = [path for top in tops for path in (top.rglob("*") if top.is_dir() else [top])]
    found = {path.relative_to(TREE).as_posix(): path for path in files if path.is_file()}
    return build_fab_from_files(found)[0]


if __name__ == "__main__":
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    separator = sys.argv.index("--")
    named = dict(word.split("=", 1) for word in sys.argv[separator + 1 :])
    found = deploy(
        Path(sys.argv[1]), sys.argv[2:separator], {name: Path(root) for name, root in named.items()}
    )
    print(json.dumps(found))
