"""What a client starts a task from: its network, its memory, and the model as received."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from fedklpr_flwr.client.earlier_memory import earlier_folder, take_over
from fedklpr_flwr.client.incoming_model import incoming_model
from fedklpr_flwr.client.state_store import ClientMemory, MemoryFolder, fresh_memory
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.errors import MemoryStateError
from fedklpr_flwr.model.device import bring_to_device
from fedklpr_flwr.model.personal_model import load_personal_model
from fedklpr_flwr.model.shared_model import client_network, full_masks, shared_layout
from fedklpr_flwr.model.site import Site
from fedklpr_flwr.protocol.task import Task
from fedklpr_flwr.reid.network import ReidNetwork


@dataclass(frozen=True)
class Opened:
    """The network a task starts from, the memory behind it, and the model as received."""

    network: ReidNetwork
    memory: ClientMemory
    folder: MemoryFolder
    received: Mapping[str, np.ndarray]


def open_task(
    site: Site,
    settings: Settings,
    roots: Sequence[Path],
    task: Task,
    payload: bytes | memoryview,
) -> Opened | None:
    """Take in the model that a task brings or names, seen through the client's memory.

    Args:
        site: the client's pictures.
        settings: the run's settings.
        roots: folders of this machine's client memories: this run's first, then those in which
            memories of the runs before may lie.
        task: what the server asks.
        payload: the model; empty where the task only names it.

    Returns:
        None where the model or the memory is not here: the server must send both.
    """
    folder = MemoryFolder(roots[0], task.run, site.name)
    folder.remove_leftovers()
    # A client that receives every tensor spares itself reading the initial weights.
    keeps_parts = settings.method.personal_parts != "none"
    network = client_network(settings, site, pretrained=keeps_parts)
    memory = _memory(folder, roots, task, site, network, settings)
    if memory is None and not task.full:
        return None
    if memory is not None:
        memory = folder.without_gone(memory, site)
    found = incoming_model(folder, task, payload, memory, settings)
    if found is None:
        return None
    tensors, masks = found
    received = {name: torch.from_numpy(array) for name, array in tensors.items()}
    if memory is None:
        sent = {name: torch.from_numpy(mask) for name, mask in masks.items()}
        memory = _begun_anew(folder, task, received, sent, settings)
    if task.full:
        # From now on the mask is known here, so the stored payload must be readable with it.
        folder.write(memory, keep=task.base_round)
    share = settings.personal.own_share
    load_personal_model(network, received, memory.masks, memory.personal, memory.own, share)
    bring_to_device(network, settings.training)
    return Opened(network, memory, folder, tensors)


def _begun_anew(
    folder: MemoryFolder,
    task: Task,
    received: Mapping[str, torch.Tensor],
    sent: Mapping[str, torch.Tensor],
    settings: Settings,
) -> ClientMemory:
    """The memory of a client that lost its own and was sent model and mask."""
    travels = {spec.name for spec in shared_layout(settings, task.base_round)}
    # Parts that have become personal since: a client that lost its own starts from these.
    parts = {name: value for name, value in received.items() if name not in travels}
    memory = replace(fresh_memory(sent), round=task.base_round, personal=parts)
    if settings.pruning.masks == "consensus" and (earlier := _record(folder, task)):
        # The others pruned on while it was away: all but its mask is still its own.
        memory = replace(earlier, masks=sent)
    return memory


def _memory(
    folder: MemoryFolder,
    roots: Sequence[Path],
    task: Task,
    site: Site,
    network: ReidNetwork,
    settings: Settings,
) -> ClientMemory | None:
    """The client's memory of the round the server builds on; None where it is lost."""
    memory = _record(folder, task)
    if memory is None and (earlier := earlier_folder(roots, task, site.name)):
        memory = take_over(folder, earlier, task, site, network, settings)
    if memory is None and task.base_round == 0:
        memory = fresh_memory(full_masks(network, settings))
    if memory is not None and memory.mask_hash != task.mask_hash:
        return None
    return memory


def _record(folder: MemoryFolder, task: Task) -> ClientMemory | None:
    """The record of the round the server builds on, whatever its mask; a damaged one is lost."""
    try:
        return folder.read(task.base_round)
    except MemoryStateError as error:
        warnings.warn(f"{error}, or let it: model and mask come from the server", stacklevel=2)
        return None
