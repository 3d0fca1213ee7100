"""An update on its way in: on disk, checked whole, its mask and its direction beside it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fedklpr_flwr.algorithm.masks import mask_hash
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.errors import WireError
from fedklpr_flwr.model.consensus import is_consensus
from fedklpr_flwr.model.mask_file import Masks, masks_to_bytes
from fedklpr_flwr.protocol.update_codec import Arrays, refuse_too_long
from fedklpr_flwr.protocol.update_front import without_front
from fedklpr_flwr.runs.checkpoint import RunFolder
from fedklpr_flwr.server.robust.update_sketch import Change
from fedklpr_flwr.server.update_checks import Inspection, inspect_update
from fedklpr_flwr.system.atomic_file import write_atomically
from fedklpr_flwr.wire.layout import Layout


@dataclass(frozen=True)
class StoredUpdate:
    """An update that waits for the merge.

    Attributes:
        payload: the file it lies in.
        found: what it holds.
        change: its direction, on disk; None where nobody asks for it.
    """

    payload: Path
    found: Inspection
    change: Change | None


Spool = Callable[..., StoredUpdate]
"""`store_update`, or what takes its place."""


def store_update(
    content: memoryview,
    folder: RunFolder,
    round_number: int,
    client: str,
    *,
    layout: Layout,
    known_masks: Masks,
    run: str,
    sent: Arrays,
    settings: Settings,
) -> StoredUpdate:
    """Keep an update, and check all of it, before it may be merged.

    Args:
        content: the payload as it came, behind its front.
        folder: the run's.
        round_number: the open round.
        client: who sent it.
        layout: the tensors that travel.
        known_masks: the masks it builds on.
        run: the run's key.
        sent: the model that went down before it.
        settings: the run's settings.

    Raises:
        WireError: it is of another run or round, or may not be merged, see `inspect_update`.
        RunError: the server's disk is full.
    """
    payload = without_front(content, run, round_number)
    refuse_too_long(payload, layout)
    path = folder.payload_file(round_number, client)
    write_atomically(path, payload)
    found = inspect_update(path, layout, known_masks, sent, settings)
    if is_consensus(settings) and found.mask_hash != mask_hash(known_masks):
        raise WireError(
            "its mask is not the one of all clients (pruning.masks=consensus): it trained from "
            "another model than went down, or runs another version"
        )
    write_atomically(folder.next_mask_file(client), masks_to_bytes(found.masks))
    change = found.change and found.change.spool(path.with_suffix(".change"))
    return StoredUpdate(path, found, change)
