"""Claims about `fedklpr deploy`: what it writes, what it refuses, what it finds wrong."""

import contextlib
import json
import multiprocessing
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.app import Context, RecordDict
from flwr.cli.supernode.register import try_load_public_key
from flwr.common.config import parse_config_args
from typer.testing import CliRunner

from fedklpr_flwr.client.site_policy import SitePolicy
from fedklpr_flwr.client_app import identify
from fedklpr_flwr.commands.__main__ import app
from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.deploy.certificates import make_authority, sign_server
from fedklpr_flwr.deploy.check import Kind, check_folder, check_pictures
from fedklpr_flwr.errors import FedKlprError

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "deployment.md"
TWO = """\
federation: harbour
server: {hosts: [fl.example.org, 192.0.2.7]}
sites:
  - {name: gate-3, root: "/srv/gate 3"}
  - {name: hall, data: "drawn:hall", port: 9095}
"""


def deploy(*words):
    """What a command prints; its error is raised."""
    done = CliRunner().invoke(app(), ["deploy", *map(str, words)])
    if isinstance(done.exception, FedKlprError):
        raise done.exception
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    return done


@pytest.fixture
def made(tmp_path):
    """A deployment of two sites."""
    (tmp_path / "SITES.yaml").write_text(TWO)
    out = tmp_path / "harbour"
    deploy("init", tmp_path / "SITES.yaml", "--out", out)
    return out


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


# ---------------------------------------------------------------------------- what it writes


def test_every_site_and_the_office_get_what_they_need_and_no_more(made):
    own = {"ca.crt", "node.toml", "start.sh", "supernode.key", "supernode.pub"}
    for name in ("gate-3", "hall"):
        there = {path.name for path in (made / "sites" / name).iterdir()}
        assert there == own | {f"fedklpr-harbour.{name}.service"}
    office = {str(path.relative_to(made / "office")) for path in (made / "office").rglob("*.*")}
    assert office == {
        "ca.crt",
        "server.crt",
        "server.key",
        "start.sh",
        "register.sh",
        "fedklpr-harbour-superlink.service",
        "flower/config.toml",
        "flower/credentials.yaml",
        "keys/gate-3.pub",
        "keys/hall.pub",
    }
    assert [path.name for path in (made / "authority").iterdir()] == ["ca.key"]


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_keys_are_their_owners_alone_whatever_the_umask(umask, tmp_path):
    (tmp_path / "SITES.yaml").write_text(TWO)
    before = os.umask(umask)
    try:
        deploy("init", tmp_path / "SITES.yaml", "--out", tmp_path / "out")
    finally:
        os.umask(before)
    modes = {path: path.stat().st_mode & 0o777 for path in (tmp_path / "out").rglob("*")}
    keys = [path for path in modes if path.suffix == ".key"]
    assert len(keys) == 4
    assert {modes[path] for path in keys} == {0o600}
    assert {modes[path] for path in modes if path.suffix == ".sh"} == {0o755}
    assert {modes[path] for path in modes if path.is_dir()} == {0o700}


def test_flower_reads_the_keys_of_a_supernode(made):
    for name in ("gate-3", "hall"):
        site = made / "sites" / name
        private = load_ssh_private_key((site / "supernode.key").read_bytes(), None)
        assert private.curve.name == "secp384r1"
        assert try_load_public_key(site / "supernode.pub") == try_load_public_key(
            made / "office" / "keys" / f"{name}.pub"
        )
    assert len({path.read_bytes() for path in made.rglob("supernode.key")}) == 2


def test_a_node_says_the_client_that_sites_yaml_names(made):
    settings = compose_settings("smoke")
    found = {}
    for name in ("gate-3", "hall"):
        config = parse_config_args([str(made / "sites" / name / "node.toml")])
        client = identify(Context(1, 2, config, RecordDict(), {}), settings)
        found[client.name] = (client.reader, client.folder, config["state-dir"])
    assert found == {
        "gate-3": ("folder", "/srv/gate 3", "/var/lib/fedklpr/harbour/gate-3/memory"),
        "hall": ("drawn:hall", None, "/var/lib/fedklpr/harbour/hall/memory"),
    }


def test_the_certificate_is_for_every_host_and_for_the_office_itself(made):
    said = subprocess.run(
        ["openssl", "x509", "-in", made / "office/server.crt", "-noout", "-ext", "subjectAltName"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for host in ("DNS:fl.example.org", "192.0.2.7", "DNS:localhost", "127.0.0.1"):
        assert host in said
    verified = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile"]
    subprocess.run([*verified, made / "office/ca.crt", made / "office/server.crt"], check=True)


def test_where_systemd_makes_no_folder_to_work_in_the_service_says_how(tmp_path):
    (tmp_path / "SITES.yaml").write_text(TWO.replace("port: 9095", "work: /data/hall"))
    deploy("init", tmp_path / "SITES.yaml", "--out", tmp_path / "out")
    gate, hall = (
        (tmp_path / f"out/sites/{name}/fedklpr-harbour.{name}.service").read_text()
        for name in ("gate-3", "hall")
    )
    assert "StateDirectory=fedklpr/harbour/gate-3\n" in gate
    assert "install -d" not in gate
    assert "StateDirectory" not in hall
    assert "#   install -d -m 700 -o fedklpr /data/hall\n#   install -o root" in hall


def test_services_of_two_federations_on_one_machine_have_names_of_their_own(tmp_path):
    units = []
    for federation, names in (("a", ("b-c", "superlink")), ("a-b", ("c", "superlink"))):
        text = TWO.replace("harbour", federation)
        for old, new in zip(("gate-3", "hall"), names, strict=True):
            text = text.replace(f"name: {old}", f"name: {new}")
        (tmp_path / "SITES.yaml").write_text(text)
        deploy("init", tmp_path / "SITES.yaml", "--out", tmp_path / federation)
        units += [path.name for path in (tmp_path / federation).rglob("*.service")]
    assert len(units) == len(set(units)) == 6


def test_services_never_give_up_and_retry_within_a_crashed_boxs_minute(made):
    for path in made.rglob("*.service"):
        lines = path.read_text().splitlines()
        assert {"Restart=always", "RestartSec=20", "StartLimitIntervalSec=0"} <= {*lines}
        service = lines.index("[Service]")
        assert lines.index("StartLimitIntervalSec=0") < service < lines.index("RestartSec=20")


def test_whoever_a_service_runs_as_owns_neither_its_unit_nor_its_folder(made):
    for path in made.rglob("*.service"):
        commands = [line for line in path.read_text().splitlines() if line.startswith("#   ")]
        (owner,) = [line for line in commands if "chown" in line]
        assert "chown -R root:fedklpr /etc/fedklpr/harbour/" in owner
        assert "chmod -R u=rwX,g=rX,o=" in owner
        assert any("install -o root -m 644 /etc/fedklpr/harbour/" in line for line in commands)
        (enabled,) = [line for line in commands if "enable" in line]
        assert enabled.endswith(f"enable --now {path.name}"), "a path would only be linked"


HARDENED = {
    *("NoNewPrivileges=yes", "UMask=0077", "ProtectSystem=strict", "ProtectHome=yes"),
    *("PrivateTmp=yes", "PrivateUsers=yes", "CapabilityBoundingSet=", "AmbientCapabilities="),
    *("RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK", "RestrictNamespaces=yes"),
    *("RestrictSUIDSGID=yes", "SystemCallFilter=@system-service", "MemoryMax=75%"),
    "LimitNOFILE=65536",
    *("SystemCallArchitectures=native", "ProtectProc=invisible", "LockPersonality=yes"),
}


def test_a_service_writes_its_own_folder_reads_its_pictures_and_no_more(tmp_path):
    text = TWO.replace("port: 9095", "gpu: true, memory: 6G, cache: /home/anna/cache")
    (tmp_path / "SITES.yaml").write_text(text)
    deploy("init", tmp_path / "SITES.yaml", "--out", tmp_path / "out")
    units = {p.name: set(p.read_text().splitlines()) for p in tmp_path.rglob("*.service")}
    office, gate = (
        units["fedklpr-harbour-superlink.service"],
        units["fedklpr-harbour.gate-3.service"],
    )
    hall = units["fedklpr-harbour.hall.service"]
    assert HARDENED | {"PrivateDevices=yes"} <= office
    assert HARDENED | {"PrivateDevices=yes", 'ReadOnlyPaths="-/srv/gate 3"'} <= gate
    assert "ReadWritePaths=/var/lib/fedklpr/harbour/gate-3" in gate
    assert {"MemoryMax=6G", "ProtectHome=read-only", "ReadWritePaths=/home/anna/cache"} <= hall
    assert "PrivateDevices=yes" not in hall


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_calls_no_service_exposed(made):
    for path in made.rglob("*.service"):
        command = ["systemd-analyze", "security", "--offline=true", "--no-pager", path]
        done = subprocess.run(command, capture_output=True, text=True)
        found = re.search(r"exposure level for .*?: ([0-9.]+)", done.stdout)
        assert found, done.stdout + done.stderr
        assert float(found[1]) <= 3.5


def test_keys_that_are_roots_may_be_read_by_their_own_group_and_nobody_else(made, tmp_path):
    site = made / "sites" / "gate-3"
    if os.getuid() != 0:
        pytest.skip("only root gives a file to a group")
    for path in (site, site / "supernode.key"):
        os.chown(path, 0, 65534)
        path.chmod(0o750 if path.is_dir() else 0o640)
    kinds = [finding.kind for finding in check_folder(site)]
    assert Kind.FAULT not in kinds
    (site / "supernode.key").chmod(0o644)
    assert Kind.FAULT in [finding.kind for finding in check_folder(site)]


def test_what_a_box_holds_back_stands_in_its_node_toml(tmp_path):
    policy = "policy: {scores: false, digits: 3, identities: false}"
    (tmp_path / "SITES.yaml").write_text(TWO.replace("port: 9095", policy))
    deploy("init", tmp_path / "SITES.yaml", "--out", tmp_path / "out")
    config = parse_config_args([str(tmp_path / "out/sites/hall/node.toml")])
    told = SitePolicy(identities=False, scores=False, digits=3)
    assert SitePolicy.of_node(config) == told
    silent = parse_config_args([str(tmp_path / "out/sites/gate-3/node.toml")])
    assert SitePolicy.of_node(silent) == SitePolicy()


def test_renewing_says_until_when_the_key_before_is_believed(made):
    said = deploy("renew", made).output
    assert re.search(
        r"go on believing the key before until \d{4}-\d\d-\d\d: if it was stolen", said
    )


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_finds_no_fault_in_a_service(tmp_path):
    out = tmp_path / "out"
    sites = yaml.safe_load(TWO)
    sites["server"]["place"] = str(out / "office")
    for site in sites["sites"]:
        site["place"] = str(out / "sites" / site["name"])
    (tmp_path / "SITES.yaml").write_text(yaml.safe_dump(sites))
    deploy("init", tmp_path / "SITES.yaml", "--out", out)
    units = [str(path) for path in out.rglob("*.service")]
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("home", "used"), [("/proc/none", "work"), ("", "work"), (".", "home")])
def test_a_user_without_a_home_keeps_what_libraries_load_where_the_service_works(
    home, used, made, tmp_path
):
    """The script's own first lines, up to its check, then what HOME is by then."""
    home = str(tmp_path) if home == "." else home
    for script in (made / "office/start.sh", made / "sites/gate-3/start.sh"):
        begin = script.read_text().split("fedklpr deploy check")[0]
        done = subprocess.run(
            ["sh", "-c", begin + 'echo "$HOME $work"', script],
            env={"HOME": home, "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=True,
        )
        found, work = done.stdout.split()
        assert found == {"work": work, "home": str(tmp_path)}[used]


def test_start_scripts_are_good_shell(made):
    for path in made.rglob("*.sh"):
        subprocess.run(["sh", "-n", path], check=True)


def test_the_documents_example_can_be_deployed(tmp_path):
    example = re.search(r"```yaml\n(.*?)```", DOCUMENT.read_text(), re.S).group(1)
    (tmp_path / "SITES.yaml").write_text(example)
    deploy("init", tmp_path / "SITES.yaml", "--out", tmp_path / "out")
    names = [site["name"] for site in yaml.safe_load(example)["sites"]]
    assert sorted(path.name for path in (tmp_path / "out/sites").iterdir()) == sorted(names)


# ---------------------------------------------------------------------------- what it refuses


@pytest.mark.parametrize(
    ("line", "instead", "told"),
    [
        ("federation: harbour", "federation: a b", "federation='a b'"),
        ("federation: harbour", "federation: ../up", "federation='../up'"),
        ("federation: harbour", "federation: default", "not 'default'"),
        ("federation: harbour", "federation: " + "a" * 41, "at most 40"),
        ("federation: harbour", "", "federation is missing"),
        ("federation: harbour", "federation: harbour\ncolour: red", "colour is not a setting"),
        ("hosts: [fl.example.org", "hosts: [https://fl.example.org", "without https://"),
        ("hosts: [fl.example.org", 'hosts: ["fl.example.org:8443"', "without a port"),
        ("hosts: [fl.example.org", "hosts: [300.1.2.3", "'300.1.2.3'"),
        ("hosts: [fl.example.org", "hosts: [-x.org", "'-x.org'"),
        ("[fl.example.org, 192.0.2.7]", "[]", "server.hosts=[]"),
        ("192.0.2.7]", "192.0.2.7], port: 70000", "server.port=70000: expected a number from 1 to"),
        ("192.0.2.7]", "192.0.2.7], port: x", "server.port='x': expected a whole number"),
        ("192.0.2.7]", "192.0.2.7], listen: here", "server.listen='here'"),
        ("192.0.2.7]", "192.0.2.7], days: 0", "server.days=0"),
        ("192.0.2.7]", "192.0.2.7], user: 'a b'", "user='a b'"),
        ("name: gate-3", "name: a/b", "sites has the name 'a/b'"),
        ("name: gate-3", "name: -a", "not beginning with '-'"),
        ("name: gate-3", "name: HALL", "the name hall twice"),
        ("name: gate-3", "name: Office", "sites has the name Office: that is the server's own"),
        ("name: gate-3", "name: gate-3, name: gate-4", "the key name comes twice"),
        ("name: gate-3", "nam: gate-3", "sites[0].nam is not a setting"),
        ("name: gate-3, ", "", "sites[0].name is missing"),
        ('root: "/srv/gate 3"', "data: nosuch, root: /srv", "data=nosuch does not exist"),
        ('root: "/srv/gate 3"', "root: srv", "root='srv': expected an absolute path"),
        (', root: "/srv/gate 3"', "", "root is missing"),
        ("drawn:hall", "drawn:nowhere", "data=drawn:nowhere does not exist"),
        ("port: 9095", "port: 9095, root: /srv", "leave root out"),
        ("port: 9095", 'place: "/etc/$(id)"', "place='/etc/$(id)'"),
        ("port: 9095", "work: /var/../etc", "work='/var/../etc'"),
        ("port: 9095", "venv: venv", "venv='venv': expected an absolute path"),
    ],
)
def test_what_cannot_be_deployed_is_refused_in_a_sentence(line, instead, told, tmp_path):
    assert line in TWO
    path = tmp_path / "SITES.yaml"
    path.write_text(TWO.replace(line, instead, 1))
    with pytest.raises(FedKlprError) as caught:
        deploy("init", path, "--out", tmp_path / "out")
    assert told in str(caught.value)
    assert "SITES.yaml" in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "SITES.yaml: its content is None: expected a group of keys"),
        ("[1]", "SITES.yaml: its content is ['1']: expected a group of keys"),
        ("a: [", "SITES.yaml cannot be read"),
        ("sites: 3", "SITES.yaml: federation is missing"),
        ("\x00", "SITES.yaml cannot be read"),
    ],
)
def test_what_is_no_list_of_sites_is_refused(text, told, tmp_path):
    (tmp_path / "SITES.yaml").write_text(text)
    with pytest.raises(FedKlprError, match=re.escape(told)):
        deploy("init", tmp_path / "SITES.yaml", "--out", tmp_path / "out")


def test_a_folder_is_replaced_by_force_alone_and_only_a_deployments(made, tmp_path):
    before = contents(made)
    with pytest.raises(FedKlprError, match=r"holds a deployment: --force makes all its keys"):
        deploy("init", tmp_path / "SITES.yaml", "--out", made)
    assert contents(made) == before
    said = deploy("init", tmp_path / "SITES.yaml", "--out", made, "--force").stdout
    assert "keys of gate-3, hall, are void" in said
    assert contents(made).keys() == before.keys()
    for name, content in contents(made).items():
        assert (content == before[name]) == (not name.endswith((".key", ".pub", ".crt"))), name
    (tmp_path / "own").mkdir()
    (tmp_path / "own/file").write_text("mine")
    with pytest.raises(FedKlprError, match="no folder of fedklpr deploy init"):
        deploy("init", tmp_path / "SITES.yaml", "--out", tmp_path / "own", "--force")
    assert (tmp_path / "own/file").read_text() == "mine"


def test_a_full_disk_leaves_the_earlier_deployment_whole(made, tmp_path):
    before = contents(made)
    command = [sys.executable, "-m", "fedklpr_flwr.commands", "deploy", "init"]
    done = subprocess.run(
        [*command, tmp_path / "SITES.yaml", "--out", made, "--force"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "cannot be written: File too large" in done.stderr
    assert contents(made) == before
    assert {path.name for path in tmp_path.iterdir()} == {"SITES.yaml", "harbour"}


# ---------------------------------------------------------------------------- renewing


def test_renewing_keeps_the_authority_and_the_keys_and_adds_who_is_new(made):
    (made / "office/flower/nodes.json").write_text('{"gate-3": "7"}')  # as register.sh left it
    before = contents(made)
    more = TWO.replace("192.0.2.7", "192.0.2.8") + "  - {name: yard, root: /srv/yard}\n"
    (made / "SITES.yaml").write_text(more.replace("{name: hall", "{name: lawn"))
    said = deploy("renew", made).stdout
    after = contents(made)
    assert "new: lawn, yard" in said
    assert "gone: hall" in said
    same = {name for name in before if after.get(name) == before[name]}
    assert {"office/ca.crt", "authority/ca.key", "office/keys/gate-3.pub"} <= same
    assert "office/flower/nodes.json" in same
    assert {f"sites/gate-3/{path.name}" for path in (made / "sites/gate-3").iterdir()} <= same
    assert after["office/server.crt"] != before["office/server.crt"]
    assert not any("hall" in name for name in after)
    assert "office/keys/yard.pub" in after
    assert all(finding.kind is Kind.GOOD for finding in check_folder(made))


@pytest.mark.parametrize(
    ("line", "instead", "changed"),
    [
        ("192.0.2.7]", "192.0.2.7, 192.0.2.9]", None),
        ("[fl.example.org", "[new.example.org, fl.example.org", "gate-3, hall"),
        ("192.0.2.7]", "192.0.2.7], port: 9443", "gate-3, hall"),
        ("port: 9095", "port: 9096", "hall"),
    ],
)
def test_renewing_tells_whose_folder_must_be_carried_again(line, instead, changed, made):
    (made / "SITES.yaml").write_text(TWO.replace(line, instead))
    said = deploy("renew", made).stdout
    assert (f"changed: {changed}: carry" in said) == (changed is not None)
    assert ("changed" in said) == (changed is not None)


def test_what_somebody_else_put_there_is_never_lost(made, tmp_path):
    run = made / "runs" / "first" / "run.jsonl"
    run.parent.mkdir(parents=True)
    run.write_text("a run")
    (made / ".note").write_text("mine")
    deploy("renew", made)
    deploy("init", tmp_path / "SITES.yaml", "--out", made, "--force")
    assert (run.read_text(), (made / ".note").read_text()) == ("a run", "mine")
    own = made / "sites" / "hall" / "memory" / "mask"
    own.parent.mkdir()
    own.write_text("a mask")
    before = contents(made)
    for words in (("renew", made), ("init", tmp_path / "SITES.yaml", "--out", made, "--force")):
        with pytest.raises(FedKlprError, match="hall/memory/mask is not of fedklpr deploy and"):
            deploy(*words)
    assert contents(made) == before
    assert {path.name for path in tmp_path.iterdir()} == {"SITES.yaml", "harbour"}


def test_renewing_without_the_authority_says_what_is_missing(made):
    (made / "authority/ca.key").unlink()
    with pytest.raises(FedKlprError, match=r"authority/ca.key cannot be read: .* needs the whole"):
        deploy("renew", made)


# ---------------------------------------------------------------------------- checking


def faults(folder, now=None):
    return [found.text for found in check_folder(folder, now) if found.kind is Kind.FAULT]


def test_a_fresh_deployment_has_no_fault(made):
    done = deploy("check", made)
    assert done.exit_code == 0
    assert "office/server.crt holds for 179 days" in done.stdout
    for folder in ("office", "sites/gate-3", "sites/hall"):
        assert deploy("check", made / folder).exit_code == 0


@pytest.mark.parametrize(
    ("days", "kind", "told"),
    [
        (-2, Kind.FAULT, "set its clock"),
        (149, Kind.GOOD, "holds for 30 days"),
        (151, Kind.SOON, "expires in 28 days"),
        (181, Kind.FAULT, "expired on"),
    ],
)
def test_a_certificate_is_judged_by_its_days(days, kind, told, made):
    now = datetime.now(UTC) + timedelta(days=days)
    server = [found for found in check_folder(made, now) if "office/server.crt" in found.text]
    assert [found.kind for found in server] == [kind]
    assert told in server[0].text


def test_an_expired_certificate_stops_the_check_and_says_what_to_do(made):
    authority = make_authority("old")
    long_ago = datetime.now(UTC) - timedelta(days=20)
    old = sign_server(authority, "old", ["127.0.0.1"], 10, begin=long_ago)
    for name, content in {"ca.crt": authority.certificate, "server.crt": old.certificate}.items():
        (made / "office" / name).write_bytes(content)
    (made / "office/server.key").write_bytes(old.key)
    done = deploy("check", made / "office")
    assert done.exit_code == 1
    assert re.search("fault: server.crt expired on .*: renew it .*deploy renew", done.stdout)


def test_a_key_that_others_can_read_is_a_fault(made):
    (made / "sites/hall/supernode.key").chmod(0o640)
    (made / "sites/gate-3").chmod(0o755)
    told = " ".join(faults(made))
    assert "hall/supernode.key can be opened by others (mode 0640): chmod 600" in told
    assert "gate-3 can be opened by others (mode 0755): chmod 700" in told
    assert len(faults(made)) == 2
    assert deploy("check", made / "sites/hall").exit_code == 1


def test_files_of_two_deployments_in_one_folder_are_a_fault(made, tmp_path):
    other = tmp_path / "other"
    deploy("init", tmp_path / "SITES.yaml", "--out", other)
    shutil.copy(other / "office/server.crt", made / "office/server.crt")
    told = " ".join(faults(made / "office"))
    assert "server.crt is not signed by the ca.crt beside it" in told
    assert "server.crt is not of the server.key beside it" in told


def test_a_box_without_its_pictures_is_told_so(made):
    done = deploy("check", made / "sites/gate-3", "--server", "127.0.0.1:1")
    assert done.exit_code == 1
    assert "root=/srv/gate 3 is no folder on this machine" in done.stdout
    assert "nobody answers at 127.0.0.1:1" in done.stdout
    alone = deploy("check", made / "sites/hall", "--server", "127.0.0.1:1")
    assert alone.exit_code == 0, "a SuperLink that is away is no fault of the box"


def as_another_user(call, closed):
    """What a call gives to a user who may not read a folder; root may read everything."""
    closed.chmod(0)
    if os.geteuid():
        return call()
    with multiprocessing.get_context("fork").Pool(1, os.setuid, (65534,)) as pool:
        return pool.apply(call)


def test_a_box_whose_user_may_not_read_the_pictures_is_told_so(made):
    with tempfile.TemporaryDirectory() as name:
        site, pictures = Path(name), Path(name) / "pictures"
        site.chmod(0o755)
        pictures.mkdir()
        (site / "node.toml").write_text(f'client = "gate"\ndata = "folder"\nroot = "{pictures}"\n')
        (told,) = as_another_user(partial(check_pictures, site), pictures)
        assert told.kind is Kind.FAULT
        assert re.search(f"root={pictures} cannot be read by the user .*: let it", told.text)
        pictures.chmod(0o755)
        assert check_pictures(site) == []


def test_a_list_of_pictures_is_a_file(tmp_path):
    (tmp_path / "list.csv").write_text("")
    for reader, count in (("csv", 0), ("folder", 1)):
        (tmp_path / "node.toml").write_text(f'data = "{reader}"\nroot = "{tmp_path}/list.csv"\n')
        assert len(check_pictures(tmp_path)) == count


def test_a_folder_of_another_user_is_said_to_be_his(made):
    with pytest.raises(FedKlprError, match="s to read: ask as its owner"):
        as_another_user(partial(check_folder, made.parent), made.parent)


def test_a_folder_without_certificates_is_refused(tmp_path):
    with pytest.raises(FedKlprError, match="no certificate: expected a folder that"):
        deploy("check", tmp_path)


# ---------------------------------------------------------------------------- on one machine


def test_local_is_three_drawn_sites_with_places_and_ports_of_their_own(tmp_path):
    said = deploy("init", "--local", "--out", tmp_path / "try").output
    sites = yaml.safe_load((tmp_path / "try" / "SITES.yaml").read_text())
    assert [site["data"] for site in sites["sites"]] == [
        *("drawn:street", "drawn:yard", "drawn:airport")
    ]
    ports = [sites["server"]["port"], *(site["port"] for site in sites["sites"])]
    assert len({*ports}) == 4
    assert sites["server"]["listen"] == "127.0.0.1"
    for part in (sites["server"], *sites["sites"]):
        assert Path(part["place"], "start.sh").is_file(), "it lies where its service looks for it"
        assert Path(part["work"]).is_relative_to(tmp_path / "try" / "work")
        assert part["venv"] == sys.prefix
    assert not [one for one in check_folder(tmp_path / "try") if one.kind is Kind.FAULT]
    for words in ("office/register.sh", "fedklpr run --superlink local", "kill $(cat"):
        assert words in said


def test_a_port_that_is_taken_is_not_given_to_a_local_site(tmp_path):
    taken = []
    for port in (8443, 9094):
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # somebody else has it: as good
            one.bind(("127.0.0.1", port))
            one.listen()
        taken.append(one)
    deploy("init", "--local", "--out", tmp_path / "try")
    text = (tmp_path / "try" / "SITES.yaml").read_text()
    assert "port: 8443\n" not in text
    assert "port: 9094 " not in text
    for one in taken:
        one.close()


def test_local_needs_no_sites_file_and_takes_none(tmp_path):
    (tmp_path / "SITES.yaml").write_text(TWO)
    for words in ((), (tmp_path / "SITES.yaml", "--local")):
        with pytest.raises(FedKlprError, match="or --local without one"):
            deploy("init", *words)


def test_where_the_superlink_is_down_the_status_tells_the_rest_and_ends_with_1(made):
    told = CliRunner().invoke(app(), ["deploy", "status", str(made / "office"), "--json"])
    assert told.exit_code == 1
    assert "is it up?" in str(told.exception)
    said = json.loads(told.stdout)
    assert {box["state"] for box in said["boxes"]} == {"not known"}
    assert "is it up?" in said["superlink"]
    assert 0 < min(said["certificate_days"].values()) < 400


def test_a_run_folder_that_is_not_there_has_no_status(made, tmp_path):
    asked = ["deploy", "status", str(made / "office"), "--run", str(tmp_path / "nowhere")]
    told = CliRunner().invoke(app(), asked)
    assert (told.exit_code, told.stdout) == (1, "")
    assert "there is no such folder" in str(told.exception)
