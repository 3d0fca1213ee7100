"""The model of a task as a client takes it in: whole, as changes to the one held, or named."""

from collections.abc import Iterator, Sequence
from itertools import accumulate, islice

import numpy as np

from fedklpr_flwr.client.initial_model import initial_model
from fedklpr_flwr.client.state_store import ClientMemory, MemoryFolder
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.errors import WireError
from fedklpr_flwr.model.mask_file import ArrayView
from fedklpr_flwr.model.shared_model import shared_layout
from fedklpr_flwr.protocol.change_reference import tells_changes
from fedklpr_flwr.protocol.task import Task, growing_names, payload_name
from fedklpr_flwr.protocol.update_codec import decode_model, refuse_too_long
from fedklpr_flwr.wire.payload import is_change


def incoming_model(
    folder: MemoryFolder,
    task: Task,
    payload: bytes | memoryview,
    memory: ClientMemory | None,
    settings: Settings,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]] | None:
    """Decode the model that a task brings or names, with its masks, and keep what was brought.

    Args:
        folder: where this client keeps what it received.
        task: what the server asks.
        payload: the model, or a change to the one held; empty where the task only names it.
        memory: what this client holds of the run; None where the payload brings all.
        settings: the run's settings.

    Returns:
        float32 tensors and bool masks, by name; None where the model is not here, or not the one
        that a change builds on: the server must send all of it.

    Raises:
        WireError: a whole model that is damaged, or another network's.
    """
    known = None if memory is None or task.full else ArrayView(memory.masks)
    if not tells_changes(settings):
        content = payload or folder.received(task.model)
        if not content:
            return None
        decoded = decode_model(content, known, settings, task.base_round)
        if payload:
            folder.store_received(payload)
        return decoded
    reference, here = None, 0
    if not payload or is_change(payload):
        # A change that came before, to a server that was stopped since, is not applied twice.
        held = folder.reference(task.model)
        if held is None and task.round <= 1 and not payload:
            held = initial_model(task.model, settings)
            if held is not None:
                folder.store_reference(task.model, held)
        if held is not None or not payload:
            return None if held is None else (held, dict(known or {}))
        reference = folder.reference(task.reference)
        if reference is None:
            reference, here = _begun(folder, payload, task.changes)
        if reference is None and not task.base_round:  # all that changed since the initial model
            reference = initial_model(task.reference, settings)
        if reference is None:
            return None
    try:
        refuse_too_long(payload, shared_layout(settings))
        for part in islice(_parts(payload, task.changes), here, None):
            decoded = decode_model(part, known, settings, task.base_round, reference)
            reference = None if reference is None else decoded[0]
    except WireError:
        if reference is None:
            raise
        return None  # damaged, or told to another model: the whole one will do
    folder.store_reference(payload_name(payload), decoded[0])
    return decoded


def _begun(
    folder: MemoryFolder, payload: bytes | memoryview, sizes: Sequence[int]
) -> tuple[dict[str, np.ndarray] | None, int]:
    """The model that the first of several changes have brought already, and how many those are.

    The server goes on from the model that a client last answered to; what it sent since may have
    come all the same.
    """
    parts = list(_parts(payload, sizes))[:-1]  # what all together brought is task.model
    for count, name in enumerate(growing_names(parts), 1):
        if (held := folder.reference(name)) is not None:
            return held, count
    return None, 0


def _parts(payload: bytes | memoryview, sizes: Sequence[int]) -> Iterator[memoryview]:
    """The changes that a payload is made of, or the one model.

    Raises:
        WireError: it is longer or shorter than the sizes say, or one of them is of nothing.
    """
    sizes = sizes or [len(payload)]
    if sum(sizes) != len(payload) or min(sizes) < 1:
        raise WireError(f"changes of {sum(sizes)} bytes were told, {len(payload)} came")
    for size, end in zip(sizes, accumulate(sizes), strict=True):
        yield memoryview(payload)[end - size : end]
