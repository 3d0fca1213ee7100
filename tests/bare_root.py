"""What a container builder and runner do, by a Containerfile and a compose.yaml, without either.

A root file system of its own is made of this machine's /usr, which its distribution's packages
wrote, and of this Python at /usr/local, where the base image has it. The Containerfile's steps are
run in it without a network. Those that fetch packages by their hashes are left out: the packages
are those of the environment that the tests run in. Then the parts run as compose.yaml says: its
user, its mounts, nothing else to be written, no capability. Needs root; run as a program inside
`unshare --mount --pid --net --fork`:

    python bare_root.py BASE DEPLOYMENT COMMAND...

starts the office and every site of a deployment's folder, waits until each is healthy, runs the
command in the SuperLink's container, and prints what it saw as JSON.
"""

import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

ALONE = ("unshare", "--mount", "--pid", "--net", "--fork")
_FETCHES = "--require-hashes"
_PACKAGES, _BUILDERS = "/packages", "/builders"
_HEALTHY_SECONDS = 150.0
_UNPRIVILEGED = ("--clear-groups", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all")


def why_not() -> str | None:
    """What keeps this machine from it; None where it can be done."""
    if os.getuid() != 0:
        return "only root makes a root file system with other users' files"
    if importlib.util.find_spec("hatchling") is None:
        return "hatchling is not installed (the extra dev), and a wheel is to be built"
    if sys.base_prefix in ("/usr", "/usr/local"):
        return f"this Python lies in {sys.base_prefix}: the base image's place for its own"
    tried = [
        *ALONE,
        "sh",
        "-c",
        "mount -t tmpfs none /mnt && ip link set lo up && setpriv --version",
    ]
    try:
        done = subprocess.run(tried, capture_output=True, text=True, timeout=60)
    except OSError as error:
        return str(error)
    return None if done.returncode == 0 else done.stderr.strip()


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Each instruction of a Containerfile, its word and the rest, lines put together."""
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    for line in "\n".join(lines).replace("\\\n", "").splitlines():
        word, _, rest = line.partition(" ")
        yield word, rest.strip()


class Root:
    """A root file system that holds a base image, and can be changed by steps."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.place, self.env = (
            folder,
            "/",
            {"PATH": "/usr/local/bin:/usr/bin:/usr/sbin"},
        )
        self.user: str | None = None
        for name in ("usr", "proc", "dev/shm", "tmp", "etc", "root", _PACKAGES[1:], _BUILDERS[1:]):
            (folder / name).mkdir(parents=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            (folder / name).symlink_to(f"usr/{name}")
        (folder / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        (folder / "etc/group").write_text("root:x:0:\n")
        _bind(Path("/usr"), folder / "usr")
        _bind(Path(sys.base_prefix), folder / "usr/local")
        _bind(_site_packages(Path(sys.prefix)), folder / _PACKAGES[1:])
        builder = importlib.util.find_spec("hatchling")
        assert builder is not None
        assert builder.origin is not None
        _bind(Path(builder.origin).parents[1], folder / _BUILDERS[1:])
        for device in ("null", "zero", "random", "urandom"):
            (folder / "dev" / device).touch()
            _bind(Path("/dev") / device, folder / "dev" / device, read_only=False)
        _mount("-t", "tmpfs", "none", folder / "dev/shm")
        _mount("-t", "proc", "proc", folder / "proc")
        (folder / "etc/ld.so.conf").write_text("/usr/local/lib\n")
        subprocess.run(["chroot", folder, "ldconfig"], check=True, env=self.env)

    def path(self, inside: str) -> Path:
        """A path inside as this process sees it."""
        return self.folder / str(Path(self.place) / inside)[1:]

    def run(self, command: str) -> None:
        """Run a command of a RUN instruction."""
        kept = [part for part in command.split("&&") if _FETCHES not in part]
        for part in kept:
            words = ["sh", "-euc", f"cd {self.place} && {part}"]
            done = subprocess.run(
                ["chroot", self.folder, *words], env=self.env, capture_output=True, text=True
            )
            assert done.returncode == 0, f"RUN {part}\n{done.stdout}{done.stderr}"
            if "-m venv" in part:
                self._lend_packages(self.path(part.split()[-1]))

    def _lend_packages(self, environment: Path) -> None:
        """What the steps that fetch would have installed: packages, and Flower's programs."""
        inside = "/" + str(environment.relative_to(self.folder))
        (_site_packages(environment) / "packages.pth").write_text(f"{_PACKAGES}\n{_BUILDERS}\n")
        for program in Path(sys.prefix, "bin").glob("fl*w*r*"):
            rest = program.read_text().split("\n", 1)[1]
            (environment / "bin" / program.name).write_text(f"#!{inside}/bin/python\n{rest}")
            (environment / "bin" / program.name).chmod(0o755)


def build(folder: Path, context: Path) -> Root:
    """Do what a Containerfile says, stage by stage; the last one's root file system."""
    stages: dict[str, Root] = {}
    root: Root | None = None
    for word, rest in instructions((context / "Containerfile").read_text()):
        if word == "ARG":
            continue
        if word == "FROM":
            root = Root(folder / str(len(stages)))
            stages[rest.split(" AS ")[-1] if " AS " in rest else ""] = root
            continue
        assert root is not None
        if word == "RUN":
            root.run(rest)
        elif word == "WORKDIR":
            root.place = rest
            root.path("").mkdir(parents=True, exist_ok=True)
        elif word == "ENV":
            root.env |= {
                key: value.replace("$PATH", root.env["PATH"])
                for key, value in (pair.split("=", 1) for pair in rest.split())
            }
        elif word == "USER":
            root.user = rest
        else:
            _copy(word, rest.split(), root, stages, context)
    assert root is not None
    return root


def _copy(
    word: str, words: Sequence[str], root: Root, stages: Mapping[str, Root], context: Path
) -> None:
    options = [part for part in words if part.startswith("--from=")]
    *sources, target = [part for part in words if not part.startswith("--")]
    assert word in ("COPY", "ADD"), word
    for source in sources:
        if options:
            taken = stages[options[0].removeprefix("--from=")].path(source)
            shutil.copytree(taken, root.path(target), symlinks=True)
        elif word == "ADD":
            with tarfile.open(context / source) as archive:
                archive.extractall(root.path(target), filter="data")
        elif source != "torch.lock":  # fetched with it; there is none without PyTorch's own index
            shutil.copy(context / source, root.path(target))


class Container:
    """One service of a compose file, in a root file system that only its mounts let it change."""

    def __init__(self, root: Root, compose: Path, volumes: Path) -> None:
        (self.said,) = yaml.safe_load(compose.read_text())["services"].values()
        self.root = root
        assert self.said["read_only"] is True
        folder = root.folder
        for mount in self.said["volumes"]:
            source = compose.parent / mount["source"]
            if mount["type"] == "volume":  # as a runner makes it: like the image's own folder
                source = volumes / mount["source"]
                shutil.copytree(root.path(mount["target"]), source)
                own = root.path(mount["target"]).stat()
                os.chown(source, own.st_uid, own.st_gid)
                source.chmod(own.st_mode & 0o777)
            mount["source"] = str(source.resolve())
            root.path(mount["target"]).mkdir(parents=True, exist_ok=True)
        _mount("--rbind", folder, folder)
        _mount("-o", "remount,bind,ro", folder)
        for mount in self.said["volumes"]:
            target = root.path(mount["target"])
            _bind(Path(mount["source"]), target, read_only=mount.get("read_only", False))
        for place, _, options in (part.partition(":") for part in self.said["tmpfs"]):
            _mount("-t", "tmpfs", "-o", options, "none", root.path(place))

    def start(self, command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        """Start a command as compose says."""
        user, group = self.said["user"].split(":")
        env = {**self.root.env, **self.said["environment"]}
        words = ["setpriv", "--reuid", user, "--regid", group, *_UNPRIVILEGED, *command]
        entered = [
            "chroot",
            self.root.folder,
            "sh",
            "-c",
            f"cd {self.said['working_dir']}; exec {shlex.join(words)}",
        ]
        with log.open("wb") as output:
            return subprocess.Popen(entered, env=env, stdout=output, stderr=subprocess.STDOUT)

    def healthy(self, log: Path) -> bool:
        """What the health check says."""
        kind, *command = self.said["healthcheck"]["test"]
        assert kind == "CMD"
        return self.start(command, log).wait(60) == 0


def _mount(*words: str | Path) -> None:
    subprocess.run(["mount", *words], check=True)


def _bind(source: Path, target: Path, *, read_only: bool = True) -> None:
    _mount("--bind", source, target)
    if read_only:
        _mount("-o", "remount,bind,ro", target)


def _site_packages(environment: Path) -> Path:
    (found,) = environment.glob("lib/python3*/site-packages")
    return found


def _of_processes(user: str) -> list[dict[str, str]]:
    """What the kernel says of every process of a user, of what compose takes from it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/status"):
        said = dict(line.split(":\t", 1) for line in path.read_text().splitlines() if ":\t" in line)
        if said["Uid"].split()[0] == user:
            found.append({key: said[key] for key in ("NoNewPrivs", "CapEff", "CapBnd")})
    return found


def run_deployment(base: Path, deployment: Path, command: Sequence[str]) -> dict[str, Any]:
    """Build and start every part, run a command beside the SuperLink, and say what was seen."""
    places = {"office": deployment / "office"}
    places |= {path.name: path for path in sorted((deployment / "sites").iterdir())}
    seen: dict[str, Any] = {"unhealthy_before": {}, "healthy": {}}
    containers, started = {}, []
    for name, place in places.items():
        own = base / name
        own.mkdir()
        root = build(own, place / "containers")
        containers[name] = Container(root, place / "containers/compose.yaml", own / "volumes")
    for name, container in containers.items():
        seen["unhealthy_before"][name] = not container.healthy(base / f"{name}.health")
        started.append(container.start(container.said["command"], base / f"{name}.log"))
        end = time.monotonic() + _HEALTHY_SECONDS
        while not (well := container.healthy(base / f"{name}.health")):
            if time.monotonic() > end or started[-1].poll() is not None:
                break
            time.sleep(3)
        seen["healthy"][name] = well
    office = containers["office"]
    if not all(seen["healthy"].values()):
        return seen
    seen["processes"] = _of_processes(office.said["user"].split(":")[0])
    seen["command"] = office.start(command, base / "command.log").wait()
    refused = office.start(
        ["sh", "-c", "echo x > /x; echo x > ~/../x; : > /tmp/x"], base / "touch.log"
    )
    refused.wait()
    seen["written"] = (base / "touch.log").read_text()
    for process in reversed(started):
        process.terminate()
        process.wait(60)
    seen["unhealthy_after"] = {
        name: not container.healthy(base / f"{name}.health")
        for name, container in containers.items()
    }
    return seen


if __name__ == "__main__":
    _mount("-t", "proc", "proc", "/proc")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    _mount("-t", "tmpfs", "-o", "mode=755", "none", sys.argv[1])
    try:
        print(json.dumps(run_deployment(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])))
    finally:
        logs = [*Path(sys.argv[1]).glob("*.log"), *Path(sys.argv[1]).glob("*.health")]
        for log in sorted(logs):
            print(f"--- {log.name}\n{log.read_text()[-4000:]}", file=sys.stderr)
