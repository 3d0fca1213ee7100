"""Claims about docs/privacy.md: its list is all that leaves a site, byte for byte."""

import os
import re
import shlex
from collections import defaultdict
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from tiny_federation import PRUNES, interfering, tiny_overrides

from fedklpr_flwr import client_app
from fedklpr_flwr.errors import SettingsError, WireError
from fedklpr_flwr.launch.in_process_grid import InProcessGrid
from fedklpr_flwr.model.shared_model import shared_layout
from fedklpr_flwr.protocol.box_state import BoxState
from fedklpr_flwr.protocol.figures import CRR_WORDS, FIGURES, LARGEST, WANTED
from fedklpr_flwr.protocol.flower_messages import message_bytes, payload_record, read_payload
from fedklpr_flwr.protocol.redacted_errors import told_of
from fedklpr_flwr.protocol.update_front import FRONT
from fedklpr_flwr.wire.payload import carries

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "privacy.md").read_text(encoding="utf-8")
WORDS = {"ok", "needs_sync", *CRR_WORDS}
HEADERS = 6000
"""Flower's own bytes of a message: names, types and hashes of its records."""


REPLIES = {"both": "train, evaluate", "last evaluate": "evaluate"}
"""Which reply of docs/privacy.md's table, where it is not the figure's own word."""


def in_words(figure):
    """What a figure may be."""
    if figure.kind == "number":
        low, high = figure.low > -LARGEST, figure.high < LARGEST
        return f"{figure.low} to {figure.high:.3g}" if high else "0 or more" if low else "a number"
    return (
        ", ".join(f"`{word}`" for word in CRR_WORDS)
        if figure.kind == "word"
        else (WANTED[figure.kind])
    )


def table_of_figures():
    """The table that docs/privacy.md has of protocol/figures.py."""
    private = {
        "no": "said",
        "always": "withheld",
        "scores": "withheld, unless `privacy.scores=true`",
    }
    lines = [
        "| reply to | scalar | value | said | with `privacy=local_dp` |",
        "|---|---|---|---|---|",
    ]
    for name, figure in FIGURES.items():
        if figure.reply != "none":
            lines.append(
                f"| {REPLIES.get(figure.reply, figure.reply)} | `{name}` | {in_words(figure)} | "
                f"{figure.only or 'always'} | {private[figure.withheld]} |"
            )
    return "\n".join(lines)


def test_the_page_has_the_table_as_it_is():
    table = table_of_figures()
    assert table in PAGE, f"docs/privacy.md must have this table:\n{table}"


def listed(message):
    """The scalars that the page lists for a message to a site, those of simulations left out."""
    rows = re.findall(r"^\| ([a-z, ]+) \| `(\w+)` \| [^|]* \| ([^|]*) \|", PAGE, re.MULTILINE)
    names = {
        "seconds.*" if name == "seconds" else name
        for replies, name, said in rows
        if message in replies
        and "simulation" not in said
        and "local_dp" not in said
        and "were compared" not in said
        and "continues another" not in said
        and "cuts off" not in said
    }
    return names | ({"client"} if message == "query" else {"status"})


@pytest.fixture(scope="module")
def replies(federate_in, tmp_path_factory):
    """Every whole reply of a real run's clients, by message."""
    found = defaultdict(list)

    def listen(message, context, app):
        reply = app(message, context)
        found[message.metadata.message_type].append(reply)
        return reply

    def everything(message, context):
        kind = message.metadata.message_type
        return interfering(listen, phase=kind)(message, context)

    folder = tmp_path_factory.mktemp("listened") / "run"
    federate_in(folder, *PRUNES, "deployment=true", "training.final_epochs=1", app=everything)
    assert {kind: len(sent) for kind, sent in found.items()} == {
        "query": 3,
        "evaluate": 9,
        "train": 6,
    }
    return found


@pytest.mark.parametrize("message", ["query", "evaluate", "train"])
def test_a_reply_is_the_payload_the_listed_scalars_and_nothing_else(
    message, replies, tiny_settings
):
    told = set()
    for reply in replies[message]:
        assert set(reply.content) == {"payload", "report"}
        assert isinstance(reply.content["payload"], ArrayRecord)
        assert isinstance(reply.content["report"], ConfigRecord)
        payload = read_payload(reply.content)
        assert bool(payload) == (message == "train"), "only an update carries numbers"
        behind = payload[FRONT.size :]
        assert not payload or carries(behind, shared_layout(tiny_settings(*PRUNES)))
        told |= set(reply.content["report"])
        assert len(payload) < message_bytes(reply) < len(payload) + HEADERS
    named = {re.sub(r"^seconds\..*", "seconds.*", key) for key in told}
    assert named <= listed(message)
    assert listed(message) - named <= {"status"}, "the page lists what is never sent"


def test_a_scalar_is_a_number_or_a_word_that_names_nobody(replies):
    for reply in (*replies["train"], *replies["evaluate"]):
        for key, value in reply.content["report"].items():
            assert isinstance(value, bool | int | float | np.floating) or value in WORDS, key


def train_at(site, **node):
    """What a real site answers to a task that it cannot do."""
    chosen = " ".join(shlex.quote(item) for item in tiny_overrides(site.parent))
    node = {"client": "gate", "root": str(site), **node}
    context = Context(1, 2, node, RecordDict(), {"experiment": "smoke", "overrides": chosen})
    InProcessGrid(client_app.app, {}, [])
    task = {"run": "r", "round": 1, "base_round": 0, "mask_hash": "", "model": "", "full": False}
    content = RecordDict({"task": ConfigRecord(task), "payload": payload_record(b"")})
    return client_app.app(Message(content, 2, "train"), context)


def test_of_an_error_only_its_kind_leaves_a_real_site_and_its_log_has_the_rest(
    tmp_path, flower_log
):
    site = tmp_path / "Anna Berg"
    (site / "train" / "p1").mkdir(parents=True)
    picture = site / "train" / "p1" / "c1_anna.png"
    picture.write_bytes(b"no picture")
    os.utime(picture, (1e9, 1e9))  # a young one would be waited for
    reply = train_at(site)
    assert reply.error.reason == (
        "UnreadablePicture: its pictures cannot be used; its own log says more"
    )
    assert str(picture) in flower_log.text


def test_a_site_that_cannot_write_says_why_and_not_where(tmp_path, sites):
    (tmp_path / "file").write_bytes(b"")
    reply = train_at(sites / "ash", **{"state-dir": str(tmp_path / "file")})
    assert reply.error.reason == (
        "NotADirectoryError: a file or the network cannot be used (Not a directory); its own log "
        "says more"
    )


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (WireError("a payload is 3 bytes short"), "WireError: a payload is 3 bytes short"),
        (
            SettingsError("wire.level=hunter2: expected one of fast, tight"),
            "SettingsError: the settings do not fit this site (wire.level)",
        ),
        (
            SettingsError("{'password': 'hunter2'}: expected a whole number"),
            "SettingsError: the settings do not fit this site",
        ),
        (RuntimeError("/srv/anna/p1.png"), "RuntimeError: its task failed"),
    ],
)
def test_what_is_about_the_servers_own_words_is_told_where_it_names_no_path(error, told):
    assert told_of(error) == f"{told}; its own log says more"


def test_a_real_site_says_nothing_about_true_persons(replies):
    said = {key for reply in replies["train"] for key in reply.content["report"]}
    assert said & {"cluster_precision", "cluster_recall", "camera_split"} == set()


def hello_at(overrides, **node):
    """A real site's answer to a server that sends overrides."""
    context = Context(
        1,
        2,
        {"client": "gate", "data": "drawn:street", **node},
        RecordDict(),
        {"experiment": "smoke", "overrides": shlex.quote(overrides)},
    )
    InProcessGrid(client_app.app, {}, [])
    return client_app.app(Message(RecordDict(), 2, "query"), context)


@pytest.mark.parametrize(
    "override",
    [
        "wire.level=${oc.env:FEDKLPR_SECRET,fast}",
        "+model@seed={folder}",
        "model={folder}/secret",
        "hydra.searchpath=[file://{folder}]",
    ],
)
def test_a_server_reads_neither_a_sites_environment_nor_its_files(override, tmp_path, monkeypatch):
    monkeypatch.setenv("FEDKLPR_SECRET", "hunter2")
    (tmp_path / "secret.yaml").write_text("password: hunter2")
    reply = hello_at(override.replace("{folder}", str(tmp_path)))
    assert reply.error.reason.startswith("SettingsError: the settings do not fit this site")
    assert "hunter2" not in reply.error.reason


def test_a_site_says_its_policy_at_hello_and_keeps_to_it():
    node = {"policy-scores": False, "policy-digits": 3}
    said = dict(hello_at("seed=1", **node).content["report"])
    box = {name: said.pop(name) for name in list(said) if name.startswith("box_")}
    assert said == {"client": "gate", "policy": "no scores, figures of 3 digits"}
    assert set(box) == {field.name for field in fields(BoxState)}
    for name in box:
        assert f"`{name}`" in PAGE, f"what a box tells of itself is on the page: {name}"
    refused = hello_at("labels.source=identities", **{"policy-identities": False})
    assert "(labels.source)" in refused.error.reason
    assert "`policy`" in PAGE
