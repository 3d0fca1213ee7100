"""Claims about a federation with a hostile box: the honest ones end as they would without it."""

import os
import socket
import ssl
import subprocess
from pathlib import Path

import pytest
from flwr.app import RecordDict
from flwr.proto.node_pb2 import NodeInfo
from tiny_federation import NAMES, PAIR, Finished, sha256_of, tiny_overrides

from experiments.deployed_folder import COMMAND, Deployed
from fedklpr_flwr import client_app
from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.config.run_config import resolved_text
from fedklpr_flwr.launch.in_process_grid import InProcessGrid
from fedklpr_flwr.protocol.flower_messages import PAYLOAD, REPORT, TASK
from fedklpr_flwr.runs.checkpoint import RunFolder
from fedklpr_flwr.runs.rows import read_rows
from fedklpr_flwr.server_app import run_federation

pytestmark = pytest.mark.slow


class RegisteredGrid(InProcessGrid):
    """Three boxes, each registered under its name; what cedar is asked to evaluate gets lost."""

    def get_nodes(self):
        return [
            NodeInfo(node_id=n, name=name)
            for n, name in zip(self.get_node_ids(), NAMES, strict=True)
        ]

    def push_messages(self, messages):
        for message in messages:
            lost = message.metadata.message_type == "evaluate"
            if lost and message.metadata.dst_node_id == 4 and message.metadata.group_id != "0":
                yield "lost"
            else:
                yield from super().push_messages([message])


class Hostile:
    """Cedar says it is ash, then lies, sends numbers that no training gives, and old updates."""

    def __init__(self):
        self.hellos, self.kept = 0, None

    def __call__(self, message, context):
        reply = client_app.app(message, context)
        if context.node_id != 4:
            return reply
        kind = message.metadata.message_type
        if kind == "query":
            self.hellos += 1
            if self.hellos == 1:
                reply.content[REPORT]["client"] = "ash"
        if kind == "train":
            self.lie(int(message.content[TASK]["round"]), reply.content)
        return reply

    def lie(self, number: int, content: RecordDict):
        self.kept = self.kept or content[PAYLOAD]
        if number == 1:
            content[REPORT]["examples"] = 10**12
        if number == 2:
            content[PAYLOAD] = self.kept
        if number == 3:
            content[REPORT]["seconds.\x1b[2J"] = 1.0


REAL = ("deployment=true", "federation.rounds=4", "federation.evaluate_seconds=1")
WAIT = "federation.wait_seconds=10"


def federation_of(names, app, grid, sites, folder):
    """A run of real boxes in this process: each says who it is and where its pictures lie."""
    words = (*tiny_overrides(sites, names), *REAL, WAIT, "defence.quarantine=3")
    nodes = [
        {"client": name, "root": str(sites / name), "state-dir": str(folder / "memory" / name)}
        for name in names
    ]
    settings = compose_settings("smoke", words)
    run_config = {"experiment": "smoke", "overrides": "", "settings": resolved_text(settings)}
    opened = RunFolder(folder)
    try:
        run_federation(grid(app, run_config, nodes), settings, opened)
    finally:
        opened.close(done=True)
    return Finished(folder)


def test_one_hostile_box_of_three_changes_nothing_for_the_honest_two(sites, tmp_path, flower_log):
    hostile = federation_of(NAMES, Hostile(), RegisteredGrid, sites, tmp_path / "hostile")
    honest = federation_of(PAIR, client_app.app, InProcessGrid, sites, tmp_path / "honest")
    assert hostile.model == honest.model
    assert "registered as 'cedar' and it says it is ash: refused" in flower_log.text
    reasons = [hostile.row(number, "cedar").failed for number in (1, 2, 3, 4)]
    for reason, word in zip(reasons, ("'examples'", "of round 1", "'seconds'"), strict=False):
        assert word in reason
    assert "cedar has failed 3 rounds in a row and is asked no more" in flower_log.text
    assert "quarantine" in reasons[3]
    for number in (1, 2, 3, 4):
        for name in PAIR:
            assert hostile.row(number, name).weight == honest.row(number, name).weight
            assert hostile.row(number, name).map == honest.row(number, name).map


# ------------------------------------------------------------------ real processes, TLS and keys

HONEST, LIAR = ("airport", "street"), "yard"
DEADLINE = 150.0

TAKEN_OVER = f"""\
import sys

if any("clientapp" in word for word in sys.orig_argv):
    import os
    import pickle
    import time
    from pathlib import Path

    from flwr.clientapp import ClientApp

    honest, memory = ClientApp.__call__, Path(os.environ["HOSTILE_MEMORY"])

    def lie(app, message, context):
        kind = message.metadata.message_type
        reply = honest(app, message, context)
        if reply.has_error():
            return reply
        if kind == "query" and not (memory / "hello").exists():
            (memory / "hello").touch()
            reply.content["report"]["client"] = "airport"
        if kind == "evaluate" and message.content["task"]["round"] == 1:
            time.sleep({DEADLINE + 15})
        if kind == "train" and message.content["task"]["round"] == 1:
            (memory / "update").write_bytes(pickle.dumps(reply.content["payload"]))
            reply.content["report"]["examples"] = 10**12
        if kind == "train" and message.content["task"]["round"] == 2:
            reply.content["payload"] = pickle.loads((memory / "update").read_bytes())
        return reply

    ClientApp.__call__ = lie
"""


def status_of_unsigned(port: int, authority: Path, length: int) -> bytes:
    """What a stranger without a key is answered who announces a body of this length."""
    context = ssl.create_default_context(cafile=str(authority))
    with (
        socket.create_connection(("127.0.0.1", port), 30) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as sock,
    ):
        head = "POST /v1/fleet/push-object HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n"
        sock.sendall(head.format(length).encode() + b"x" * 1000)
        return sock.recv(12)[-3:]


@pytest.mark.timeout(1500)
def test_a_hostile_box_of_a_real_deployment_changes_nothing_for_the_honest_two(tmp_path):
    cache, memory = tmp_path / "cache", tmp_path / "hostile"
    memory.mkdir()
    (memory / "sitecustomize.py").write_text(TAKEN_OVER)
    sites = {name: {"data": f"drawn:{name}"} for name in (*HONEST, LIAR)}
    words = ("experiment=smoke", "training.device=cpu", "defence.quarantine=2")
    deadline = f"federation.evaluate_seconds={DEADLINE}"
    folder = tmp_path / "run"
    with Deployed(tmp_path / "harbour", "harbour", sites, cache) as deployed:
        deployed.start("office")
        deployed.register()
        for name in HONEST:
            deployed.start(f"sites/{name}")
        path = os.pathsep.join(filter(None, (str(memory), os.environ.get("PYTHONPATH"))))
        script = str(deployed.folder / "sites" / LIAR / "start.sh")
        own = [f"PYTHONPATH={path}", f"HOSTILE_MEMORY={memory}"]
        deployed.start(f"sites/{LIAR}", ["env", *own, script])
        wait = "federation.wait_seconds=300"
        running = deployed.launch(*words, wait, deadline, f"run.dir={folder}")
        authority = deployed.folder / "office" / "ca.crt"
        answered = status_of_unsigned(deployed.port, authority, 300_000_000)
        said, _ = running.communicate(timeout=1300)
        assert running.returncode == 0, said + deployed.said()
        log = said + (folder / "flower.log").read_text() + deployed.said()
    assert answered == b"413"
    assert f"registered as '{LIAR}' and it says it is airport: refused" in log
    rows = {(row.round, row.client): row for row in read_rows(folder / "run.jsonl")}
    assert "'examples'" in str(rows[1, LIAR].failed)
    assert f"no answer within {DEADLINE:g} s" in str(rows[1, LIAR].failed)
    assert "the update is of round 1, this is round 2" in str(rows[2, LIAR].failed)
    clients = ",".join(f"{{name: {n}, reader: 'drawn:{n}', folder: null}}" for n in HONEST)
    alone = [*words, f"data.clients=[{clients}]", "deployment=true", f"run.dir={tmp_path / 'two'}"]
    env = {**os.environ, "FEDKLPR_CACHE": str(cache)}
    done = subprocess.run([*COMMAND, "simulate", *alone], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    model = "global.safetensors"
    assert sha256_of(folder / model) == sha256_of(tmp_path / "two" / model)
