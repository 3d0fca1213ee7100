"""Flower's first door: the ClientApp of one site.

    query     hello: which client speaks here; query.secure: one stage of a secure sum
    evaluate  receive the merged model, keep it, score it on the site's own pictures
    train     unpack -> client.client -> pack

Flower's simulation calls this in an actor, a SuperNode in a new process for every message, and
`fedklpr simulate` in the process itself; all three do the same arithmetic.
"""

import shlex
from collections.abc import Callable
from functools import lru_cache, wraps
from logging import ERROR, INFO, WARNING
from pathlib import Path
from traceback import format_exception
from typing import Any

import numpy as np
import torch
from flwr.app import Context, Error, Message, RecordDict
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp
from flwr.common.logger import log

from fedklpr_flwr.client.client import SiteClient
from fedklpr_flwr.client.outgoing_update import answer_stage, with_task_front
from fedklpr_flwr.client.site_policy import SitePolicy, site_settings
from fedklpr_flwr.config.client_name import CLIENT_NAME_RULE, is_client_name
from fedklpr_flwr.config.compose import load_settings
from fedklpr_flwr.config.run_config import refuse_lookups
from fedklpr_flwr.config.settings import Client, Settings
from fedklpr_flwr.errors import SettingsError, WireError
from fedklpr_flwr.flower_internals import ErrorCode
from fedklpr_flwr.model.site import Site, open_site
from fedklpr_flwr.protocol.box_state import BoxState
from fedklpr_flwr.protocol.flower_messages import (
    PAYLOAD,
    REPORT,
    TASK,
    payload_record,
    read_payload,
    report_record,
)
from fedklpr_flwr.protocol.redacted_errors import told_of
from fedklpr_flwr.protocol.task import NEEDS_SYNC, StageTask, Task
from fedklpr_flwr.runs.run_chain import memories_before
from fedklpr_flwr.system.paths import memory_below, user_cache
from fedklpr_flwr.system.plain_text import printable, printable_lines

app = ClientApp()

Arrays = list[np.ndarray]
Scalars = dict[str, Any]
Handler = Callable[[Message, Context], Message]


class ReidClient(NumPyClient):
    """Flower's client of one site; a parameter list is one uint8 array, the payload or empty."""

    def __init__(self, site: SiteClient) -> None:
        self._site = site

    def fit(self, parameters: Arrays, config: Scalars) -> tuple[Arrays, int, Scalars]:
        """Train one round; returns the update's payload, the number of pictures, and scalars."""
        task = Task(**config)
        payload, said = self._site.train(task, parameters[0].data)
        payload = with_task_front(payload, task)
        return [np.frombuffer(payload, np.uint8)], int(said.get("examples", 0)), said

    def evaluate(self, parameters: Arrays, config: Scalars) -> tuple[float, int, Scalars]:
        """Keep and score the merged model; the loss is 1 - mAP, 0 without a test set."""
        said = self._site.evaluate(Task(**config), parameters[0].data)
        return 1.0 - float(said.get("map", 1.0)), 1, said


def identify(context: Context, settings: Settings) -> Client | None:
    """Which client a node speaks for.

    A deployed SuperNode says so itself: --node-config 'client="gate-3" data="folder"
    root="/srv/gate-3"'. A simulated one has a partition number: its place in data.clients. None: no
    client is left for it.

    Raises:
        SettingsError: the node says neither, or a name that no client may have.
    """
    node = context.node_config
    if "client" in node:
        name = str(node["client"])
        if not is_client_name(name):
            raise SettingsError(
                f"--node-config has client={name!r:.100}: a client's name has {CLIENT_NAME_RULE}"
            )
        return Client(
            name=name,
            reader=str(node.get("data", "folder")),
            folder=str(node["root"]) if "root" in node else None,
        )
    if "partition-id" not in node:
        raise SettingsError(
            "this node says neither who it is nor its partition: start the SuperNode with "
            '--node-config \'client="NAME" data="folder" root="/folder"\''
        )
    number = int(node["partition-id"])
    return settings.data.clients[number] if number < len(settings.data.clients) else None


def client_of(context: Context) -> ReidClient:
    """The client a node speaks for, ready to work.

    Raises:
        SettingsError: it speaks for none.
        DataError: its pictures cannot be read.
    """
    settings = settings_of(context)
    torch.set_num_threads(settings.training.threads)
    identity = identify(context, settings)
    if identity is None:
        raise SettingsError("a task came to a node that speaks for no client")
    root = _memory_root(context, settings)
    earlier = memories_before(settings.run.continues)
    return ReidClient(SiteClient(_site(identity, settings), settings, root, earlier))


def settings_of(context: Context) -> Settings:
    """The settings as this node obeys them: a real site's owner has the last word.

    Raises:
        SettingsError: they cannot be read, or ask what this site does not do.
    """
    run_config, node = context.run_config, context.node_config
    if "client" not in node:
        return load_settings(run_config)
    if not run_config.get("settings"):
        refuse_lookups(shlex.split(str(run_config.get("overrides") or "")))
    return site_settings(load_settings(run_config), SitePolicy.of_node(node))


@lru_cache(maxsize=64)
def _site(identity: Client, settings: Settings) -> Site:
    """A client's pictures; opened once a process."""
    site = open_site(identity, settings, user_cache())
    for part in site.parts or (site,):
        for note in part.source.left_out_notes if part.source else ():
            _warn_once(f"{part.name}: {note}")
    return site


@lru_cache(maxsize=1024)
def _warn_once(sentence: str) -> None:
    """Log a warning, the first time it is given."""
    log(WARNING, "%s", printable(sentence))


def _memory_root(context: Context, settings: Settings) -> Path:
    if "state-dir" in context.node_config:
        return Path(str(context.node_config["state-dir"]))
    if settings.run.memory:  # never at a real site, see site_settings
        return Path(settings.run.memory)
    if folder := settings.resume or settings.run.dir:
        return memory_below(Path(folder))
    return memory_below(user_cache())


def _discreet(handler: Handler) -> Handler:
    """A handler whose errors stay at a real site: the server is told their kind alone."""

    @wraps(handler)
    def answer(message: Message, context: Context) -> Message:
        try:
            return handler(message, context)
        except Exception as error:
            if not _is_real_site(context):
                raise
            told = told_of(error)
            whole = printable_lines("".join(format_exception(error)))
            log(ERROR, "the server is told no more than: %s\n%s", told, whole)
            code = ErrorCode.CLIENT_APP_RAISED_EXCEPTION
            return Message(Error(code=code, reason=told), reply_to=message)

    return answer


def _is_real_site(context: Context) -> bool:
    """Whether server and site are two machines, as far as the site can know."""
    return "client" in context.node_config or load_settings(context.run_config).deployment


@app.query()
@_discreet
def query(message: Message, context: Context) -> Message:
    """Say which client speaks here, empty where none does; a real box says how it is, too."""
    settings = settings_of(context)
    identity = identify(context, settings)
    said: dict[str, Any] = {"client": identity.name if identity else ""}
    if "client" in context.node_config:
        said |= BoxState.here(_memory_root(context, settings)).to_dict()
    if policy := SitePolicy.of_node(context.node_config).words():
        said["policy"] = policy
    return _reply(message, [], said)


@app.train()
@_discreet
def train(message: Message, context: Context) -> Message:
    """One round of local training."""
    task, client = _task(message), client_of(context)
    _tell(context, "round %d: training begins", task["round"])
    arrays, _, said = client.fit(_parameters(message), task)
    if said["status"] == NEEDS_SYNC:
        _tell(context, "round %d: model or mask is not here, asking for both", task["round"])
    else:
        told = "round %d: training is over, %d bytes to send"
        _tell(context, told, task["round"], arrays[0].size)
    return _reply(message, arrays, SitePolicy.of_node(context.node_config).limited(said))


@app.query("secure")
@_discreet
def secure(message: Message, context: Context) -> Message:
    """One stage of a secure sum, after the training."""
    settings, task = settings_of(context), StageTask(**_task(message))
    if (identity := identify(context, settings)) is None:
        raise SettingsError("a task came to a node that speaks for no client")
    root = _memory_root(context, settings)
    answer = answer_stage(root, identity.name, task, read_payload(message.content), settings)
    _tell(context, "round %d: %s of the secure sum", task.round, task.stage)
    return _reply(message, [np.frombuffer(answer, np.uint8)], {"status": "ok"})


@app.evaluate()
@_discreet
def evaluate(message: Message, context: Context) -> Message:
    """Receive and score the merged model."""
    _, _, said = client_of(context).evaluate(_parameters(message), _task(message))
    return _reply(message, [], SitePolicy.of_node(context.node_config).limited(said))


def _tell(context: Context, sentence: str, *values: object) -> None:
    """Log what goes on, at a real site; in a simulation the server's log says enough."""
    if _is_real_site(context):
        log(INFO, sentence, *values)


def _parameters(message: Message) -> Arrays:
    return [np.frombuffer(read_payload(message.content), np.uint8)]


def _task(message: Message) -> Scalars:
    task = dict(message.content[TASK].items())
    kept = [task["kept_run"]] if "kept_run" in task else []
    for run in (task.get("run"), *kept):  # this client's memories lie in folders of them
        if not is_client_name(run):
            raise WireError(
                f"the server's task names the run {run!r:.100}: expected {CLIENT_NAME_RULE}"
            )
    return task


def _reply(message: Message, arrays: Arrays, said: Scalars) -> Message:
    payload = arrays[0].data if arrays else b""
    content = RecordDict({PAYLOAD: payload_record(payload), REPORT: report_record(said)})
    return Message(content, reply_to=message)
