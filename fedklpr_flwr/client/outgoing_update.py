"""What a client sends of its training: its update, or, in a secure sum, what comes before it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from fedklpr_flwr.algorithm.masks import mask_hash
from fedklpr_flwr.client.secure_update import SecureUpdate
from fedklpr_flwr.client.state_store import ClientMemory, MemoryFolder
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.errors import WireError
from fedklpr_flwr.model.mask_file import Masks
from fedklpr_flwr.model.shared_model import shared_layout
from fedklpr_flwr.protocol.secure.blinding import Place
from fedklpr_flwr.protocol.secure.stages import is_secure
from fedklpr_flwr.protocol.task import StageTask, Task
from fedklpr_flwr.protocol.training_report import ClientUpdate
from fedklpr_flwr.protocol.update_codec import Tensors, encode_update
from fedklpr_flwr.protocol.update_front import with_front
from fedklpr_flwr.wire.layout import Layout


def outgoing_update(
    update: ClientUpdate,
    known_masks: Masks,
    received: Mapping[str, np.ndarray],
    memory: ClientMemory,
    folder: MemoryFolder,
    task: Task,
    settings: Settings,
) -> tuple[bytes, dict[str, torch.Tensor]]:
    """Make of a trained model what the client sends.

    Args:
        update: the trained model.
        known_masks: the masks that the server holds.
        received: the model that training began with.
        memory: what the client held before it; its residual is what earlier updates cut off.
        folder: where it is kept; in a secure sum the update stays there for now.
        task: the server's.
        settings: the run's settings.

    Returns:
        The payload, and the residual for next time.
    """
    layout = shared_layout(settings, task.round)
    if is_secure(settings):
        changes = kept_changes(update, received, layout)
        sum_of_round = SecureUpdate(folder.folder, update.client, Place(task.run, task.round))
        return sum_of_round.begin(changes, mask_hash(update.masks)), {}
    before = known_masks, received, memory.residual
    return encode_update(update.tensors, update.masks, *before, layout, settings, task.round)


def owed_share(
    owed: Tensors, update: ClientUpdate, received: Mapping[str, np.ndarray]
) -> float | None:
    """How much an update cut off: its root mean square over that of what was learnt.

    Args:
        owed: the residual for next time, by name; empty = nothing was cut off.
        update: the trained model.
        received: the model that training began with.

    Returns:
        None where nothing was cut off, or nothing learnt.
    """
    cut = learnt = 0.0
    for name, rest in owed.items():
        change = update.tensors[name].numpy() - received[name]
        if name in update.masks:  # what is pruned was not learnt, and is told by the mask
            change = change[update.masks[name].numpy()]
        cut += float(rest.square().sum(dtype=torch.float64))
        learnt += float(np.square(change, dtype=np.float64).sum())
    return (cut / learnt) ** 0.5 if learnt else None


def kept_changes(
    update: ClientUpdate, received: Mapping[str, np.ndarray], layout: Layout
) -> dict[str, np.ndarray]:
    """Take what was learnt, theta_k - R, of each tensor's kept coordinates.

    Args:
        update: the trained model with its masks.
        received: R, float32 by name.
        layout: the tensors that travel, in this order.

    Returns:
        float32 (n,) by name, coordinates in row-major order.
    """
    changes = {}
    for spec in layout:
        change = update.tensors[spec.name].numpy() - received[spec.name]
        mask = update.masks.get(spec.name)
        flat = np.asarray(change, np.float32).reshape(-1)
        changes[spec.name] = flat if mask is None else flat[mask.numpy().reshape(-1)]
    return changes


def answer_stage(
    root: Path, client: str, task: StageTask, content: bytes | memoryview, settings: Settings
) -> bytes:
    """Answer a stage of a secure sum; neither pictures nor model are asked for.

    Args:
        root: the folder of this machine's client memories.
        client: the client's name.
        task: which stage of which sum.
        content: what the server says in it.
        settings: the run's settings.

    Returns:
        The payload with its front.

    Raises:
        WireError: no such sum is open here, or more is asked than it tells.
    """
    if not is_secure(settings):
        raise WireError("a stage of a secure sum came to a client whose run has none")
    folder = MemoryFolder(root, task.run, client).folder
    waiting = SecureUpdate(folder, client, Place(task.run, task.round))
    return with_task_front(waiting.answer(task.stage, content), task)


def with_task_front(payload: bytes, task: Task | StageTask) -> bytes:
    """Put before a payload which task it answers; before none nothing."""
    return payload and with_front(payload, task.run, task.round)
