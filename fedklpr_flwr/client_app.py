"""Flower's first door: the ClientApp of one site.

    query     hello: which client speaks here
    evaluate  receive the merged model, keep it, score it on the site's own pictures
    train     unpack -> federation.local_round -> pack

Flower's simulation calls this in an actor, a SuperNode in a new process for every message, and
`fedklpr simulate` in the process itself; all three do the same arithmetic.
"""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from flwr.app import Context, Message, RecordDict
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp

from fedklpr_flwr.algorithm.pruning import mask_hash
from fedklpr_flwr.data.benchmarks import read_dataset
from fedklpr_flwr.errors import MemoryStateError, SettingsError
from fedklpr_flwr.federation.client_memory import ClientMemory, MemoryFolder, fresh_memory
from fedklpr_flwr.federation.local_round import LocalResult, run_local_round
from fedklpr_flwr.federation.merge_round import ArrayView
from fedklpr_flwr.federation.method import Client, Settings
from fedklpr_flwr.federation.personal_model import (
    evaluate_personal_model,
    float_state,
    full_masks,
    initial_network,
    load_personal_model,
    shared_layout,
)
from fedklpr_flwr.federation.site import Site, load_site
from fedklpr_flwr.reid.network import ReidNetwork
from fedklpr_flwr.runtime.places import user_cache
from fedklpr_flwr.runtime.records import (
    NEEDS_SYNC,
    PAYLOAD,
    REPORT,
    TASK,
    Task,
    payload_record,
    read_payload,
    report_record,
)
from fedklpr_flwr.settings import load_settings
from fedklpr_flwr.wire.codec import decode_dense, encode

app = ClientApp()

Scalars = dict[str, Any]
Arrays = list[np.ndarray]


class ReidClient(NumPyClient):
    """One site: its pictures, its memory, and what it does when asked.

    A parameter list is one uint8 array, the payload of docs/wire-format.md, or an empty one.
    """

    def __init__(self, identity: Client, settings: Settings, memory_root: Path) -> None:
        self._identity, self._settings, self._memory_root = identity, settings, memory_root

    def fit(self, parameters: Arrays, config: Scalars) -> tuple[Arrays, int, Scalars]:
        """Train one round from the model held or sent; returns the update's payload and scalars."""
        task = Task(**config)
        opened = self._open_model(task, parameters[0])
        if opened is None:
            return [_EMPTY], 0, self._scalars({"status": NEEDS_SYNC})
        network, memory, folder = opened
        site = site_of(self._identity, self._settings)
        initial = None
        if self._settings.pruning.rewind:
            initial = float_state(initial_network(self._settings, pretrained=True))
        result = run_local_round(
            network, site, memory, self._settings, task.round, initial=initial
        )
        payload = self._encode(result, memory)
        folder.write(result.memory, keep=task.base_round)
        return [np.frombuffer(payload, np.uint8)], len(site.train), self._scalars(_said(result))

    def evaluate(self, parameters: Arrays, config: Scalars) -> tuple[float, int, Scalars]:
        """Keep the merged model and score it, seen through this client's mask and personal parts."""
        task = Task(**config)
        opened = self._open_model(task, parameters[0])
        if opened is None:
            return 0.0, 0, self._scalars({"status": NEEDS_SYNC})
        network, _, _ = opened
        site = site_of(self._identity, self._settings)
        scores = evaluate_personal_model(
            network, site, reestimate=self._settings.personal.batchnorm == "reestimate"
        )
        said: Scalars = {"status": "ok", "examples": len(site.train)}
        if scores is not None:
            said |= {
                "rank1": scores.rank1,
                "rank5": scores.rank5,
                "rank10": scores.rank10,
                "map": scores.map,
                "minp": scores.minp,
            }
        return (1.0 - scores.map if scores else 0.0), len(site.query), self._scalars(said)

    def _open_model(
        self, task: Task, payload: np.ndarray
    ) -> tuple[ReidNetwork, ClientMemory, MemoryFolder] | None:
        """The model this task starts from, or None where the model or the memory is not here."""
        folder = MemoryFolder(self._memory_root, task.run, self._identity.name)
        keeps_parts = self._settings.method.personal_parts != "none"
        network = initial_network(self._settings, pretrained=keeps_parts)
        layout = shared_layout(self._settings)
        memory = self._memory(folder, task, network)
        if payload.size:
            content: bytes | None = payload.tobytes()
            folder.store_received(payload.tobytes())
        else:
            content = folder.received(task.model)
        if content is None or (memory is None and not task.full):
            return None
        known = None if memory is None or task.full else ArrayView(memory.masks)
        tensors, masks = decode_dense(content, layout=layout, known_masks=known)
        if memory is None:
            memory = replace(
                fresh_memory({name: torch.from_numpy(mask) for name, mask in masks.items()}),
                round=task.base_round,
            )
            folder.write(memory, keep=task.base_round)
        received = {name: torch.from_numpy(array) for name, array in tensors.items()}
        load_personal_model(network, received, memory.masks, memory.personal)
        return network, memory, folder

    def _memory(
        self, folder: MemoryFolder, task: Task, network: ReidNetwork
    ) -> ClientMemory | None:
        """This client's memory of the round the server builds on; None where it is lost or another."""
        if task.base_round == 0:
            memory: ClientMemory | None = fresh_memory(full_masks(network, self._settings))
        else:
            try:
                memory = folder.read(task.base_round)
            except MemoryStateError:
                memory = None
        if memory is not None and mask_hash(dict(memory.masks)) != task.mask_hash:
            return None
        return memory

    def _encode(self, result: LocalResult, memory: ClientMemory) -> bytes:
        """The update as bytes; a mask the server already holds is not sent again."""
        update = result.update
        return encode(
            {name: tensor.numpy() for name, tensor in update.tensors.items()},
            {name: mask.numpy() for name, mask in update.masks.items()},
            layout=shared_layout(self._settings),
            known_masks=ArrayView(memory.masks),
            values=self._settings.wire.values,
            level=self._settings.wire.level,
        )

    def _scalars(self, values: Scalars) -> Scalars:
        return {"client": self._identity.name, **values}


_EMPTY = np.zeros(0, np.uint8)


def _said(result: LocalResult) -> Scalars:
    """The scalars of a trained round; docs/privacy.md lists them."""
    said: Scalars = {"status": "ok", **result.update.report.to_dict()}
    if result.scores is not None:
        said |= {"rank1_local": result.scores.rank1, "map_local": result.scores.map}
    return said


@lru_cache(maxsize=64)
def site_of(identity: Client, settings: Settings) -> Site:
    """A client's pictures; opened once a process."""
    data, model = settings.data, settings.model
    drawn = identity.reader.startswith("drawn:")
    root = Path(data.root) if data.root else user_cache() / "drawn"
    dataset = read_dataset(
        identity.reader,
        root / identity.folder if identity.folder else root,
        seed=0 if drawn else settings.seed,
    )
    return load_site(
        identity.name,
        dataset,
        height=model.height,
        width=model.width,
        cache=Path(data.cache) if data.cache else user_cache() / "pictures",
        skip_unreadable=data.skip_unreadable,
    )


def identify(context: Context, settings: Settings) -> Client | None:
    """Which client a node speaks for.

    A deployed SuperNode says so itself: --node-config 'client="gate-3" data="folder" root="/srv/gate-3"'.
    A simulated one has a partition number: its place in data.clients. None: no client is left for it.
    """
    node = context.node_config
    if "client" in node:
        return Client(
            name=str(node["client"]),
            reader=str(node.get("data", "folder")),
            folder=str(node["root"]) if "root" in node else None,
        )
    if "partition-id" not in node:
        raise SettingsError(
            "this node says neither who it is nor its partition: start the SuperNode with "
            "--node-config 'client=\"NAME\" data=\"folder\" root=\"/folder\"'"
        )
    number = int(node["partition-id"])
    return settings.data.clients[number] if number < len(settings.data.clients) else None


def client_of(context: Context) -> ReidClient | None:
    """The client a node speaks for, ready to work."""
    settings = load_settings(context.run_config)
    torch.set_num_threads(settings.training.threads)
    identity = identify(context, settings)
    if identity is None:
        return None
    if "state-dir" in context.node_config:
        memory = Path(str(context.node_config["state-dir"]))
    elif settings.run.memory or settings.run.dir:
        memory = Path(settings.run.memory or f"{settings.run.dir}/memory")
    else:
        memory = user_cache() / "memory"
    return ReidClient(identity, settings, memory)


@app.query()
def query(message: Message, context: Context) -> Message:
    """Say which client speaks here; an empty name where there is none."""
    identity = identify(context, load_settings(context.run_config))
    name = identity.name if identity else ""
    return _reply(message, _EMPTY, {"client": name})


@app.train()
def train(message: Message, context: Context) -> Message:
    """One round of local training."""
    client = _client_or_fault(context)
    arrays, _, scalars = client.fit([_payload_of(message)], _task_of(message))
    return _reply(message, arrays[0], scalars)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Receive and score the merged model."""
    client = _client_or_fault(context)
    _, _, scalars = client.evaluate([_payload_of(message)], _task_of(message))
    return _reply(message, _EMPTY, scalars)


def _client_or_fault(context: Context) -> ReidClient:
    client = client_of(context)
    if client is None:
        raise SettingsError("a task came to a node that speaks for no client")
    return client


def _payload_of(message: Message) -> np.ndarray:
    return np.frombuffer(read_payload(message.content), np.uint8)


def _task_of(message: Message) -> Scalars:
    return dict(message.content[TASK].items())


def _reply(message: Message, payload: np.ndarray, scalars: Scalars) -> Message:
    content = RecordDict(
        {PAYLOAD: payload_record(payload.tobytes()), REPORT: report_record(scalars)}
    )
    return Message(content, reply_to=message)
