"""Claims about real boxes with TLS and keys, from what `fedklpr deploy init` wrote to the model."""

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from tiny_federation import ALONE, ONE_ROUND, run_tiny_federation, sha256_of, tiny_overrides

from experiments.deployed_folder import COMMAND, Deployed, env_of, wait_for
from fedklpr_flwr.deploy.certificates import make_node_key, sign_server
from fedklpr_flwr.deploy.folder import read_secrets
from fedklpr_flwr.launch.end_processes import processes_of, stop
from fedklpr_flwr.launch.own_superlink import free_port
from fedklpr_flwr.runs.rows import read_rows
from fedklpr_flwr.version import VERSION

pytestmark = pytest.mark.slow

DRAWN = ("airport", "street", "yard")
WAIT = "federation.wait_seconds=120"
GUARDED = (sys.executable, "-m", "fedklpr_flwr.deploy.guarded_superlink")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def street(tmp_path_factory, cache):
    """Three drawn sites: their SuperLink is up, their keys registered, their boxes started."""
    base = tmp_path_factory.mktemp("street")
    sites = {name: {"data": f"drawn:{name}"} for name in DRAWN}
    with Deployed(base, "street", sites, cache) as deployed:
        deployed.start("office")
        assert {line.split(":")[0] for line in deployed.register().splitlines()} == {*DRAWN}
        for name in DRAWN:
            deployed.start(f"sites/{name}")
        yield deployed


def deploy_and_simulate(street, words, folder, simulated, cache):
    """Run on the boxes, then in one process: both must end with the same model, to the bit."""
    running = street.launch(*words, WAIT, f"run.dir={folder}")
    said, _ = running.communicate(timeout=500)
    assert running.returncode == 0, said + street.said()
    simulate = [*COMMAND, "simulate", *words, "deployment=true", f"run.dir={simulated}"]
    env = {**os.environ, "FEDKLPR_CACHE": str(cache)}
    subprocess.run(simulate, env=env, check=True, capture_output=True)
    model = "global.safetensors"
    assert sha256_of(folder / model) == sha256_of(simulated / model)


def test_three_boxes_with_tls_and_keys_end_with_the_simulations_model(street, cache, tmp_path):
    folder = street.base / "run"
    words = ("experiment=smoke", "training.device=cpu")
    deploy_and_simulate(street, words, folder, tmp_path, cache)
    rows = [row for row in read_rows(folder / "run.jsonl") if row.client is None]
    assert [row.status for row in rows] == ["3 merged"] * 3
    trained = [row for row in read_rows(folder / "run.jsonl") if row.client and row.round]
    assert min(row.seconds["send"] for row in trained) > 1  # each starts a process on its box
    assert rows[-1].pruned > 0
    status = [sys.executable, "-m", "fedklpr_flwr.commands", "deploy", "status", "--json"]
    office = [str(street.folder / "office"), "--run", str(folder)]
    told = json.loads(subprocess.run([*status, *office], capture_output=True, check=True).stdout)
    for box in told["boxes"]:
        assert (box["state"], box["merged"], box["failed"]) == ("online", 2, 0)
        assert box["box"]["box_version"] == VERSION
        assert abs(box["box"]["clock_ahead"]) < 60


def test_three_boxes_that_tell_changes_end_with_the_simulations_model(street, cache, tmp_path):
    folder = street.base / "changes"
    words = ("experiment=smoke", "training.device=cpu", "wire.values=change")
    deploy_and_simulate(street, words, folder, tmp_path, cache)
    rows = [row for row in read_rows(folder / "run.jsonl") if row.client is None]
    assert [row.status for row in rows] == ["3 merged"] * 3
    assert rows[0].bytes_down == 0  # all make the initial model themselves
    assert all(row.bytes_up + row.bytes_down < 0.12 * row.bytes_dense for row in rows[1:])


def test_three_boxes_sum_in_secret_and_end_with_the_simulations_model(street, cache, tmp_path):
    folder = street.base / "secret"
    words = ("experiment=smoke", "training.device=cpu", "method=fedavg", ONE_ROUND)
    words = (*words, "privacy=secure_aggregation")
    deploy_and_simulate(street, words, folder, tmp_path, cache)
    rows = [row for row in read_rows(folder / "run.jsonl") if row.round == 1]
    assert [row.status for row in rows] == ["merged"] * 3 + ["3 merged"]
    assert all(row.bytes_bound < row.bytes_up for row in rows if row.client)
    left = [*(street.base / "work").rglob("secure.json"), *tmp_path.rglob("secure.json")]
    assert not left


def test_a_box_whose_key_is_not_registered_is_refused_and_told_what_to_do(street):
    stranger = street.folder / "sites" / "stranger"
    shutil.copytree(street.folder / "sites" / "yard", stranger)
    (stranger / "supernode.key").write_bytes(make_node_key("stranger").private)
    script = (stranger / "start.sh").read_text()
    (stranger / "start.sh").write_text(script.replace("work/yard", "work/stranger"))
    try:
        log = street.start("sites/stranger")
        status = street.processes[-1].wait(120)
        said = log.read_text()
        assert "Failed to activate SuperNode" in said
        assert "does not know this box's key: run register.sh" in said
        assert status == 1
        assert len(known_nodes(street)) == 3
    finally:
        shutil.rmtree(stranger)


def test_a_plain_text_client_is_refused_and_told_what_to_do(street):
    plain = street.folder / "office" / "flower" / "config.toml"
    before = plain.read_text()
    added = f'\n[superlink.plain]\naddress = "127.0.0.1:{street.port}"\ninsecure = true\n'
    plain.write_text(before + added)
    try:
        running = street.launch("experiment=smoke", connection="plain")
        said, _ = running.communicate(timeout=60)
        assert running.returncode == 1
        assert "speaks TLS and this connection has insecure=true" in said
        node = ["flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{street.port}"]
        log = street.start("sites/plain", [*node, "--port", str(free_port())])
        said = wait_for(log, "Connection attempt failed")
        assert "SuperNode ID" not in said
        assert len(known_nodes(street)) == 3
    finally:
        plain.write_text(before)


def test_another_machine_is_answered_on_the_boxes_interface_alone(street):
    """This machine by its other address: neither loopback nor where the SuperLink listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no address but loopback's")
        other = probe.getsockname()[0]
    context = ssl.create_default_context(cafile=str(street.folder / "sites/yard/ca.crt"))
    answers = {}
    for address in ("127.0.0.1", other):
        way = httpx.HTTPTransport(verify=context, local_address=address)
        with httpx.Client(transport=way, base_url=f"https://127.0.0.1:{street.port}") as client:
            for path in ("control/list-nodes", "runtime/acquire-task", "fleet/pull-messages"):
                answers[address, path] = client.post(f"/v1/{path}").status_code
    refused = {key for key, status in answers.items() if status == 403}
    assert refused == {(other, "control/list-nodes"), (other, "runtime/acquire-task")}


def known_nodes(deployed: Deployed) -> list[str]:
    env = env_of(deployed.folder / "office" / "flower")
    command = ["flwr", "supernode", "list", deployed.name, "--format", "json"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return [node["node-id"] for node in json.loads(done.stdout)["nodes"]]


def test_an_expired_certificate_stops_the_superlink_and_the_boxes_with_what_to_do(tmp_path, cache):
    with Deployed(tmp_path, "old", {"yard": {"data": "drawn:yard"}}, cache) as deployed:
        office = deployed.folder / "office"
        long_ago = datetime.now(UTC) - timedelta(days=20)
        authority = read_secrets(deployed.folder).authority
        signed = sign_server(authority, "old", ["127.0.0.1"], 10, begin=long_ago)
        (office / "server.crt").write_bytes(signed.certificate)
        (office / "server.key").write_bytes(signed.key)
        log = deployed.start("office")
        assert deployed.processes[-1].wait(120) == 1
        assert "fault: server.crt expired on" in log.read_text()
        assert "fedklpr deploy renew" in log.read_text()
        by_hand = [*GUARDED, "--host", "127.0.0.1", "--port", str(deployed.port)]
        for option, name in (("cert", "server.crt"), ("key", "server.key"), ("ca-cert", "ca.crt")):
            by_hand += [f"--ssl-{option}file", str(office / name)]
        wait_for(deployed.start("office", by_hand), "Uvicorn running")
        log = deployed.start("sites/yard")
        assert deployed.processes[-1].wait(120) == 1
        assert "fault: the certificate of the SuperLink" in log.read_text()
        assert "has expired: where the deployment was made, fedklpr deploy renew" in log.read_text()


def test_two_federations_on_one_machine_do_not_disturb_each_other(sites, tmp_path, cache):
    """One site's name in both, and two seeds: each ends with its own simulation's model."""
    keys = {"ash": {"root": str(sites / "ash")}}
    chosen = {name: (ONE_ROUND, ALONE, f"seed={n}") for n, name in enumerate(("one", "two"))}
    with (
        Deployed(tmp_path / "a", "one", keys, cache) as one,
        Deployed(tmp_path / "b", "two", keys, cache) as two,
    ):
        for deployed in (one, two):
            deployed.start("office")
            deployed.register()
            deployed.start("sites/ash")
        running = [
            deployed.launch(
                "experiment=smoke",
                *tiny_overrides(sites, ["ash"]),
                *chosen[deployed.name],
                WAIT,
                f"run.dir={deployed.base / 'run'}",
            )
            for deployed in (one, two)
        ]
        said = [process.communicate(timeout=500)[0] for process in running]
        logs = one.said() + two.said()
        assert [process.returncode for process in running] == [0, 0], "\n".join(said) + logs
        models = {}
        for deployed in (one, two):
            words = (*chosen[deployed.name], "deployment=true")
            alone = run_tiny_federation(sites, deployed.base / "alone", *words, names=["ash"])
            models[deployed.name] = sha256_of(deployed.base / "run" / "global.safetensors")
            assert models[deployed.name] == alone.model
        assert models["one"] != models["two"]


def test_a_superlink_started_anew_lets_its_boxes_in_again(tmp_path, cache):
    """It forgets them when it ends, and they end with a word; their next start finds them known."""
    with Deployed(tmp_path, "again", {"yard": {"data": "drawn:yard"}}, cache) as deployed:
        deployed.start("office")
        deployed.register()
        log = deployed.start("sites/yard")
        wait_for(log, "SuperNode ID")
        link, box = deployed.processes
        stop(link)
        deployed.start("office")
        deployed.register()
        assert box.wait(90) == 1
        assert "the SuperLink was started anew and knows nobody: register.sh" in log.read_text()
        wait_for(deployed.start("sites/yard"), "SuperNode ID")
        again = deployed.processes[-1]
        again.terminate()  # as systemd does, to the script alone
        assert again.wait(120) == 0
        end = time.monotonic() + 30
        while left := processes_of(tmp_path / "work" / "yard" / "flower"):
            assert time.monotonic() < end, f"the script left {left} behind"
            time.sleep(0.2)
