"""A client without Flower: a payload and a task go in, a payload and scalars come out."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedklpr_flwr.client.final_training import fine_tune
from fedklpr_flwr.client.incoming_model import incoming_model
from fedklpr_flwr.client.local_round import run_local_round
from fedklpr_flwr.client.outgoing_update import outgoing_update
from fedklpr_flwr.client.shared_pruning import shared_in, told_pairs
from fedklpr_flwr.client.state_store import ClientMemory, MemoryFolder, fresh_memory
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.errors import MemoryStateError
from fedklpr_flwr.model.device import bring_to_device
from fedklpr_flwr.model.personal_model import load_personal_model, make_personal
from fedklpr_flwr.model.scoring import evaluate_personal_model
from fedklpr_flwr.model.shared_model import (
    client_network,
    full_masks,
    initial_network,
    shared_layout,
)
from fedklpr_flwr.model.site import Site
from fedklpr_flwr.protocol.local_privacy import is_private, without_withheld
from fedklpr_flwr.protocol.task import NEEDS_SYNC, Task
from fedklpr_flwr.reid.network import ReidNetwork, float_state
from fedklpr_flwr.system.clock import Clock

Scalars = dict[str, Any]


@dataclass(frozen=True)
class _Opened:
    """The network a task starts from, the memory behind it, and the model as received."""

    network: ReidNetwork
    memory: ClientMemory
    folder: MemoryFolder
    received: Mapping[str, np.ndarray]


class SiteClient:
    """One site: its pictures, its memory, and what it does when asked.

    Args:
        site: the site's pictures.
        settings: the run's settings.
        memory_root: the folder of this machine's client memories.
    """

    def __init__(self, site: Site, settings: Settings, memory_root: Path) -> None:
        self._site, self._settings, self._memory_root = site, settings, memory_root

    def train(self, task: Task, payload: bytes | memoryview) -> tuple[bytes, Scalars]:
        """Train one round from the model sent, or held since the last evaluation.

        Returns:
            The update's payload, and the scalars docs/privacy.md lists; an empty payload and the
            status `needs_sync` where the model or the mask is not here.
        """
        clock = Clock()
        with clock.phase("open"):
            opened = self._open(task, payload)
        if opened is None:
            return b"", {"status": NEEDS_SYNC}
        network, memory, folder = opened.network, opened.memory, opened.folder
        initial = None
        if self._settings.pruning.rewind:
            initial = float_state(initial_network(self._settings, pretrained=True))
        shared = shared_in(task, opened.received, self._settings)
        result = run_local_round(
            network,
            self._site,
            memory,
            self._settings,
            task.round,
            initial=initial,
            shared=shared,
        )
        with clock.phase("encode"):
            known = shared.consensus or memory.masks
            update, owed = outgoing_update(
                result.update, known, opened.received, memory, folder, task, self._settings
            )
            folder.write(replace(result.memory, residual=owed), keep=task.base_round)
        changed = folder.pictures_changed(self._site, task.round)
        report = result.update.report
        said: Scalars = {
            "status": "ok",
            **report.to_dict(),
            "seconds": {**report.seconds, **clock.seconds},
            "pictures_changed": changed,
        }
        if result.scores is not None:
            said |= {"rank1_local": result.scores.rank1, "map_local": result.scores.map}
        if is_private(self._settings):
            said["releases"] = folder.count_release(task.base_round)
        return update, without_withheld(said, self._settings)

    def evaluate(self, task: Task, payload: bytes | memoryview) -> Scalars:
        """Keep the merged model, and score it through this client's mask and personal parts."""
        opened = self._open(task, payload)
        if opened is None:
            return {"status": NEEDS_SYNC}
        pairs = told_pairs(opened.network, self._site, opened.memory, self._settings)
        make_personal(opened.network, self._site, self._settings.personal, task.round)
        scores = evaluate_personal_model(opened.network, self._site)
        changed = opened.folder.pictures_changed(self._site, task.round)
        said: Scalars = {"status": "ok", "pictures_changed": changed, **pairs}
        if scores is not None:
            said |= scores.accuracies
        if task.last and self._settings.training.final_epochs:
            said |= self._fine_tune(opened, task)
        return without_withheld(said, self._settings)

    def _fine_tune(self, opened: _Opened, task: Task) -> Scalars:
        """The long training after the last merge; the model stays here, its scores go out."""
        network = opened.network
        scores = fine_tune(network, self._site, opened.memory, self._settings, task.round)
        opened.folder.store_final(float_state(network), task.round)
        return {} if scores is None else {"rank1_final": scores.rank1, "map_final": scores.map}

    def _open(self, task: Task, payload: bytes | memoryview) -> _Opened | None:
        """The model this task starts from, or None where the model or the memory is not here."""
        folder = MemoryFolder(self._memory_root, task.run, self._site.name)
        folder.remove_leftovers()
        # A client that receives every tensor spares itself reading the initial weights.
        keeps_parts = self._settings.method.personal_parts != "none"
        network = client_network(self._settings, self._site, pretrained=keeps_parts)
        memory = self._memory(folder, task, network)
        if memory is None and not task.full:
            return None
        found = incoming_model(folder, task, payload, memory, self._settings)
        if found is None:
            return None
        tensors, masks = found
        received = {name: torch.from_numpy(array) for name, array in tensors.items()}
        if memory is None:
            sent = {name: torch.from_numpy(mask) for name, mask in masks.items()}
            travels = {spec.name for spec in shared_layout(self._settings, task.base_round)}
            # Parts that have become personal since: a client that lost its own starts from these.
            parts = {name: value for name, value in received.items() if name not in travels}
            memory = replace(fresh_memory(sent), round=task.base_round, personal=parts)
            if self._settings.pruning.masks == "consensus" and (
                earlier := self._record(folder, task)
            ):
                # The others pruned on while it was away: all but its mask is still its own.
                memory = replace(earlier, masks=sent)
        if task.full:
            # From now on the mask is known here, so the stored payload must be readable with it.
            folder.write(memory, keep=task.base_round)
        share = self._settings.personal.own_share
        load_personal_model(network, received, memory.masks, memory.personal, memory.own, share)
        bring_to_device(network, self._settings.training)
        return _Opened(network, memory, folder, tensors)

    def _memory(
        self, folder: MemoryFolder, task: Task, network: ReidNetwork
    ) -> ClientMemory | None:
        """This client's memory of the round the server builds on; None where it is lost."""
        memory = self._record(folder, task)
        if memory is None and task.base_round == 0:
            memory = fresh_memory(full_masks(network, self._settings))
        if memory is not None and memory.mask_hash != task.mask_hash:
            return None
        return memory

    def _record(self, folder: MemoryFolder, task: Task) -> ClientMemory | None:
        """The record of the round the server builds on, whatever its mask."""
        try:
            return folder.read(task.base_round)
        except MemoryStateError:
            return None
