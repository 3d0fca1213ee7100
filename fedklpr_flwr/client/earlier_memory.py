"""What a client takes over from the run that its run continues: mask, history, parts of its own.

The memory lies under the key of the run before. It is copied into the new run's as its round 0, so
that the run before stays as it ended, and the new one goes on without it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from fedklpr_flwr.algorithm.recovery import RecoveryState
from fedklpr_flwr.client.dataset_snapshot import pictures_since
from fedklpr_flwr.client.state_store import ClientMemory, MemoryFolder
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.errors import MemoryStateError
from fedklpr_flwr.model.consensus import is_consensus
from fedklpr_flwr.model.shared_model import full_masks, personal_names
from fedklpr_flwr.model.site import Site
from fedklpr_flwr.protocol.task import Task
from fedklpr_flwr.reid.network import ReidNetwork, float_state


def earlier_folder(roots: Iterable[Path], task: Task, client: str) -> MemoryFolder | None:
    """Find a client's memory of the run before.

    Args:
        roots: folders of this machine's client memories, the likeliest first.
        task: names that run; empty = there is none.
        client: the client's name.
    """
    for root in roots if task.kept_run else ():
        if (root / task.kept_run / client).is_dir():
            return MemoryFolder(root, task.kept_run, client)
    return None


def take_over(
    folder: MemoryFolder,
    earlier: MemoryFolder,
    task: Task,
    site: Site,
    network: ReidNetwork,
    settings: Settings,
) -> ClientMemory | None:
    """Make the memory that a client left the run before with its round 0 of this one, on disk.

    Labels are found anew, since pictures may have come; what is compared picture by picture
    (`crr.test`) is kept where they are the same; what a lossy wire cut off is let go. Only parts
    that stay at home in this run too are taken over: others would leave with the next update.

    Args:
        folder: the client's memory of this run, in which there is no record yet.
        earlier: of the run before.
        task: says which round's record it is.
        site: the client's pictures.
        network: this run's, as it begins at this client.
        settings: the run's settings.

    Returns:
        None where the record is not there, damaged, or of another network.
    """
    try:
        left = earlier.read(task.kept_round)
    except MemoryStateError:
        return None
    whole = full_masks(network, settings)
    if left is None or _shapes(left.masks) != _shapes(whole):
        return None
    state = float_state(network)
    at_home = personal_names(network, settings.method.personal_parts)
    personal = {
        name: tensor
        for name, tensor in left.personal.items()
        if name in at_home and state[name].shape == tensor.shape
    }
    memory = replace(
        left,
        round=0,
        # Of one schedule for all, which begins anew, the masks begin anew too.
        masks=whole if is_consensus(settings) else left.masks,
        recovery=_before_round_one(left.recovery, task.kept_round),
        personal=personal,
        residual={},
        own=left.own if settings.personal.own_share else {},
        labels=None,
    )
    if pictures_since(earlier.folder, site) != (0, 0):
        earlier.without_gone(left, site)
        memory = memory.without_pairs()
    folder.carry_on(earlier, memory)
    return memory


def pictures_said(roots: Iterable[Path], task: Task, site: Site) -> dict[str, int]:
    """Say how many training pictures are new since the run before, and how many are gone.

    Args:
        roots: see `earlier_folder`.
        task: names the run before.
        site: the client's pictures.

    Returns:
        `pictures_new` and `pictures_gone`; nothing where there was none, or its memory is lost.
    """
    earlier = earlier_folder(roots, task, site.name)
    counts = pictures_since(earlier.folder, site) if earlier else None
    return {} if counts is None else {"pictures_new": counts[0], "pictures_gone": counts[1]}


def _before_round_one(recovery: RecoveryState, last: int) -> RecoveryState:
    """The history with its rounds counted back from this run's round 0, which was the last."""
    pruned = recovery.last_prune_round
    return replace(
        recovery,
        history=tuple((number - last, accuracy) for number, accuracy in recovery.history),
        last_prune_round=None if pruned is None else pruned - last,
    )


def _shapes(masks: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(mask.shape) for name, mask in masks.items()}
