"""Claims about containers: the service's commands, shut in, from packages held to their hashes."""

import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
import yaml
from bare_root import ALONE, instructions, why_not
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from typer.testing import CliRunner

from fedklpr_flwr.commands.__main__ import app
from fedklpr_flwr.errors import FedKlprError, SettingsError

TREE = Path(__file__).resolve().parents[2]
LOCKS = TREE / "fedklpr_flwr" / "deploy" / "containers"
TWO = """\
federation: Harbour
server: {hosts: [fl.example.org], memory: 6G}
sites:
  - {name: gate.3, root: "/srv/gate $3", cache: /data/cache}
  - {name: hall, data: "drawn:hall", port: 9095}
"""
ONE_BOX = (
    *("experiment=smoke", "federation.rounds=1", "federation.start_clients=1"),
    *("federation.min_clients=1", "federation.wait_seconds=180", "training.device=cpu"),
)
TORCH_LOCK = "torch==2.14.1+cpu \\\n    --hash=sha256:" + "0" * 64 + "\n"


def deploy(*words):
    done = CliRunner().invoke(app(), ["deploy", *map(str, words)])
    if isinstance(done.exception, FedKlprError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def made(tmp_path):
    (tmp_path / "SITES.yaml").write_text(TWO)
    out = tmp_path / "harbour"
    deploy("init", tmp_path / "SITES.yaml", "--out", out, "--containers")
    return out


def services(folder):
    """Each part's place, its service in compose.yaml, and its systemd service's lines."""
    for place in (folder / "office", *sorted((folder / "sites").iterdir())):
        text = yaml.safe_load((place / "containers/compose.yaml").read_text())
        (service,) = text["services"].values()
        (unit,) = place.glob("*.service")
        yield place, service, unit.read_text().splitlines(), text


def test_without_the_option_nothing_of_containers_is_written(tmp_path):
    (tmp_path / "SITES.yaml").write_text(TWO)
    deploy("init", tmp_path / "SITES.yaml", "--out", tmp_path / "out")
    assert not list((tmp_path / "out").rglob("containers"))


def test_a_container_is_shut_in(made):
    for _, service, _, _ in services(made):
        assert service["user"] == "10001:10001"
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["restart"] == "unless-stopped"
        (temporary,) = service["tmpfs"]
        assert temporary.startswith("/tmp:")
        assert {"nosuid", "nodev", "noexec"} <= {*temporary.split(",")}
        assert not {"privileged", "cap_add", "network_mode", "pid", "devices"} & service.keys()


def test_keys_and_pictures_are_read_and_memory_and_cache_are_written(made):
    found = {}
    for place, service, _, text in services(made):
        mounts = {mount["target"]: mount for mount in service["volumes"]}
        found[place.name] = {to: bool(mount.get("read_only")) for to, mount in mounts.items()}
        own = next(iter(mounts.values()))
        assert (place / "containers" / own["source"]).resolve() == place.resolve()
        named = {m["source"] for m in service["volumes"] if m["type"] == "volume"}
        assert named == text["volumes"].keys()
    work = "/var/lib/fedklpr/Harbour"
    assert found == {
        "office": {"/etc/fedklpr/Harbour/office": True, f"{work}/office": False},
        "gate.3": {
            "/etc/fedklpr/Harbour/gate.3": True,
            "/srv/gate $$3": True,  # compose takes a doubled $ for one
            f"{work}/gate.3": False,
            "/data/cache": False,
        },
        "hall": {"/etc/fedklpr/Harbour/hall": True, f"{work}/hall": False},
    }


def test_a_container_starts_what_the_service_starts(made):
    for _, service, unit, _ in services(made):
        run = {
            key: [line.removeprefix(f"{key}=") for line in unit if line.startswith(f"{key}=")]
            for key in ("ExecStart", "ExecStartPost")
        }
        (start,) = run["ExecStart"]
        if not run["ExecStartPost"]:
            assert service["command"] == [start]
            continue
        (after,) = run["ExecStartPost"]
        assert service["command"] == ["sh", "-c", f"{after} & exec {start}"]


def test_a_health_check_asks_at_the_address_and_port_of_the_start_script(made):
    for place, service, _, _ in services(made):
        kind, python, *asked = service["healthcheck"]["test"]
        script = (place / "start.sh").read_text()
        assert kind == "CMD"
        assert f"export PATH={python.removesuffix('/python')}:" in script
        assert asked[:2] == ["-m", "fedklpr_flwr.deploy.health"]
        if asked[2] == "superlink":
            assert asked[3:] == ["127.0.0.1:8443", "/etc/fedklpr/Harbour/office/ca.crt"]
            assert "--port 8443 " in script
        else:
            assert asked[2] == "supernode"
            assert f"--superlink {asked[3]} " in script
            assert f"--port {asked[4]} " in script


def test_a_bound_of_memory_is_compose_s_where_it_is_a_size(made):
    found = {place.name: service.get("mem_limit") for place, service, _, _ in services(made)}
    assert found == {"office": "6g", "gate.3": None, "hall": None}
    assert "memory=75%" in (made / "sites/hall/containers/compose.yaml").read_text()


def test_projects_have_names_that_compose_takes_and_no_two_alike(tmp_path):
    names = []
    for federation, site in (("a", "b-c"), ("a", "b.c"), ("A", "b-c"), ("a-b", "c")):
        text = TWO.replace("Harbour", federation).replace("gate.3", site)
        (tmp_path / "SITES.yaml").write_text(text)
        out = tmp_path / str(len(names))
        deploy("init", tmp_path / "SITES.yaml", "--out", out, "--containers")
        names += [text["name"] for _, _, _, text in services(out)]
    kept = {name for name in names if re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name)}
    assert len(kept) == 10, names  # the office and hall of federation a come twice
    assert kept == {*names}


def test_an_image_is_built_as_the_place_wants_it_and_runs_as_nobody_of_the_machine(made):
    for place, service, unit, _ in services(made):
        steps = list(instructions((place / "containers/Containerfile").read_text()))
        context = {path.name for path in (place / "containers").iterdir()}
        copied = {
            name
            for word, rest in steps
            if word in ("COPY", "ADD") and "--from" not in rest
            for name in rest.split()[:-1]
        }
        assert copied <= context | {"torch.lock"}
        assert steps[-1] == ("USER", service["user"])
        assert steps[0] == ("ARG", "BASE=python:3.11-slim")
        assert [rest for word, rest in steps if word == "FROM"] == ["${BASE} AS build", "${BASE}"]
        for _, rest in steps:
            for command in rest.split("&&") if " install " in rest or " wheel " in rest else ():
                fetches = re.search(r"pip( --python \S+)? (install|wheel) ", command)
                held = "--require-hashes" in command or "--no-index" in command
                assert held or not fetches, command
        (written,) = [line for line in unit if line.startswith("ReadWritePaths=/var/lib/")]
        assert any(word == "RUN" and written.split("=")[1] in rest for word, rest in steps)


def packages(lock):
    """Name and version of each package of a lock, each with a hash."""
    text = re.sub(r"^#.*\n", "", (LOCKS / lock).read_text(), flags=re.MULTILINE)
    found = {}
    for entry in re.split(r"\n(?=\S)", text.strip()):
        requirement = Requirement(entry.split("\\")[0])
        hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})\b", entry)
        assert hashes, f"{requirement} is held to nothing"
        found[canonicalize_name(requirement.name)] = str(requirement.specifier)
    return found


def test_the_lock_has_the_versions_that_were_tried_and_all_but_torch():
    lines = (TREE / "constraints.txt").read_text().splitlines()
    tried = {
        canonicalize_name(r.name): str(r.specifier)
        for r in (Requirement(line) for line in lines if not line.startswith("#"))
    }
    torch = {name: tried.pop(name) for name in ("torch", "torchvision")}
    found = packages("requirements.lock")
    assert found.pop("colorama")  # for Windows alone; the lock is for every platform
    assert found == tried
    given = [Requirement(line) for line in (LOCKS / "torch.in").read_text().splitlines()]
    assert {r.name: str(r.specifier) for r in given} == torch
    assert {"hatchling", "setuptools"} <= packages("build.lock").keys()


def test_no_file_for_a_builder_names_an_index(made):
    for path in [*LOCKS.iterdir(), *(made / "office/containers").iterdir()]:
        if path.is_file() and path.suffix != ".tar":
            assert not re.search(r"://(?!\.\.\.)", path.read_text()), path
            assert not re.search(r"--(extra-)?index-url|--find-links", path.read_text()), path


def test_the_image_has_the_app_that_a_checkout_would_send(made):
    with tarfile.open(fileobj=io.BytesIO((made / "office/containers/app.tar").read_bytes())) as app:
        packed = {entry.name: app.extractfile(entry).read() for entry in app.getmembers()}
    names = [*TREE.glob("fedklpr_flwr/**/*.py"), *TREE.glob("conf/**/*.yaml")]
    names += [TREE / name for name in ("pyproject.toml", "README.md", "LICENSE")]
    assert packed == {path.relative_to(TREE).as_posix(): path.read_bytes() for path in names}


def test_a_lock_of_torch_comes_into_every_container_and_stays_when_renewed(tmp_path):
    (tmp_path / "SITES.yaml").write_text(TWO)
    (tmp_path / "torch.lock").write_text(TORCH_LOCK)
    out = tmp_path / "out"
    words = ("init", tmp_path / "SITES.yaml", "--out", out, "--containers")
    assert "first torch.lock, once" in deploy(*words)
    assert not list(out.rglob("torch.lock"))
    said = deploy(*words, "--force", "--torch-lock", tmp_path / "torch.lock")
    assert "first torch.lock" not in said
    (out / "SITES.yaml").write_text(TWO.replace("hall, data", "yard, data"))
    said = deploy("renew", out)
    assert "new: yard" in said
    assert "changed" not in said
    for place in ("office", "sites/gate.3", "sites/yard"):
        assert (out / place / "containers/torch.lock").read_text() == TORCH_LOCK
    assert not (out / "sites/hall").exists()


def test_a_deployment_that_lives_gets_containers_and_keeps_its_keys(tmp_path):
    (tmp_path / "SITES.yaml").write_text(TWO)
    (tmp_path / "torch.lock").write_text(TORCH_LOCK)
    out = tmp_path / "out"
    deploy("init", tmp_path / "SITES.yaml", "--out", out)
    keys = {path: path.read_bytes() for path in out.rglob("supernode.key")}
    said = deploy("renew", out, "--containers", "--torch-lock", tmp_path / "torch.lock")
    assert keys == {path: path.read_bytes() for path in out.rglob("supernode.key")} != {}
    assert "changed: gate.3, hall: carry their folders" in said
    assert "containers: docker compose" in said
    for place in ("office", "sites/gate.3", "sites/hall"):
        assert (out / place / "containers/torch.lock").read_text() == TORCH_LOCK
    said = deploy("renew", out, "--containers")
    assert "changed" not in said, "the lock of torch is gone"


def test_a_site_with_a_gpu_has_no_container_and_is_named(tmp_path):
    (tmp_path / "SITES.yaml").write_text(TWO.replace("port: 9095", "gpu: true"))
    words = ("init", tmp_path / "SITES.yaml", "--out", tmp_path / "out", "--containers")
    assert "none for hall: gpu is set" in deploy(*words)
    assert not (tmp_path / "out/sites/hall/containers").exists()
    assert (tmp_path / "out/sites/gate.3/containers").exists()


def test_what_cannot_be_a_container_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "SITES.yaml").write_text(TWO.replace("memory: 6G", "listen: 192.0.2.7"))
    words = ("init", tmp_path / "SITES.yaml", "--out", tmp_path / "out")
    with pytest.raises(SettingsError, match=r"server\.listen=192\.0\.2\.7: .* leave it out"):
        deploy(*words, "--containers")
    with pytest.raises(SettingsError, match="containers need SITES"):
        deploy("init", "--local", "--containers", "--out", tmp_path / "out")
    with pytest.raises(SettingsError, match="--torch-lock is for --containers"):
        deploy(*words, "--torch-lock", tmp_path / "SITES.yaml")
    (tmp_path / "SITES.yaml").write_text(TWO)
    with pytest.raises(SettingsError, match="has no torch with hashes: uv pip compile"):
        deploy(*words, "--containers", "--torch-lock", tmp_path / "SITES.yaml")
    assert not (tmp_path / "out").exists()


@pytest.mark.root
def test_images_are_built_and_a_federation_runs_in_read_only_roots_as_nobody(tmp_path):
    """The Containerfiles' steps and the compose files' words, without a builder or a network."""
    if (why := why_not()) is not None:
        pytest.skip(f"no root file system of its own: {why}")
    (tmp_path / "SITES.yaml").write_text(
        "federation: harbour\nserver: {hosts: [127.0.0.1]}\nsites:\n"
        "  - {name: yard, data: 'drawn:yard', port: 9102, cache: /var/cache/fedklpr}\n"
    )
    out = tmp_path / "harbour"
    deploy("init", tmp_path / "SITES.yaml", "--out", out, "--containers")
    head = (out / "office/containers/compose.yaml").read_text().split("name:")[0]
    (own,) = [line for line in head.splitlines() if "chown" in line]  # as compose.yaml says
    for place in (out / "office", *(out / "sites").iterdir()):
        command = own[1:].replace("/etc/fedklpr/harbour/office", shlex.quote(str(place)))
        subprocess.run(["sh", "-c", command], check=True)
    command = ["fedklpr", "run", "--superlink", "harbour", *ONE_BOX]
    (tmp_path / "base").mkdir()
    program = Path(__file__).resolve().parents[1] / "bare_root.py"
    done = subprocess.run(
        [*ALONE, sys.executable, program, tmp_path / "base", out, *command],
        capture_output=True,
        text=True,
        timeout=590,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-6000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    parts = {"office", "yard"}
    assert seen["unhealthy_before"] == dict.fromkeys(parts, True)
    assert seen["healthy"] == dict.fromkeys(parts, True), done.stderr[-6000:]
    assert seen["unhealthy_after"] == dict.fromkeys(parts, True)
    assert seen["command"] == 0, done.stderr[-6000:]
    assert "merged" in done.stderr
    assert len(seen["processes"]) >= 3
    nothing = "0000000000000000"
    for process in seen["processes"]:
        assert process == {"NoNewPrivs": "1", "CapEff": nothing, "CapBnd": nothing}
    assert seen["written"].count("Read-only file system") == 2


@pytest.mark.skipif(shutil.which("docker") is None, reason="docker is not here")
def test_docker_finds_no_fault_in_a_compose_file(made):
    asked = ["docker", "compose", "version"]
    if subprocess.run(asked, capture_output=True).returncode != 0:
        pytest.skip("docker compose is not here")
    for place, _, _, _ in services(made):
        command = [
            "docker",
            "compose",
            "-f",
            place / "containers/compose.yaml",
            "config",
            "--quiet",
        ]
        subprocess.run(command, check=True)


def test_the_extra_of_developers_has_what_builds_the_wheel():
    project = tomllib.loads((TREE / "pyproject.toml").read_text())
    (builder,) = project["build-system"]["requires"]
    assert builder in project["project"]["optional-dependencies"]["dev"]
