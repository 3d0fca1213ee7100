"""A client without Flower: a payload and a task go in, a payload and scalars come out."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from fedklpr_flwr.client.earlier_memory import pictures_said
from fedklpr_flwr.client.final_training import fine_tune
from fedklpr_flwr.client.local_round import run_local_round
from fedklpr_flwr.client.opened_task import Opened, open_task
from fedklpr_flwr.client.outgoing_update import outgoing_update, owed_share
from fedklpr_flwr.client.shared_pruning import shared_in, told_pairs
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.model.personal_model import make_personal
from fedklpr_flwr.model.scoring import evaluate_personal_model
from fedklpr_flwr.model.shared_model import initial_network
from fedklpr_flwr.model.site import Site
from fedklpr_flwr.protocol.local_privacy import is_private, without_withheld
from fedklpr_flwr.protocol.task import NEEDS_SYNC, Task
from fedklpr_flwr.reid.network import float_state
from fedklpr_flwr.system.clock import Clock

Scalars = dict[str, Any]


class SiteClient:
    """One site: its pictures, its memory, and what it does when asked.

    Args:
        site: the site's pictures.
        settings: the run's settings.
        memory_root: the folder of this machine's client memories.
        earlier: further folders, where memories of the runs before may lie.
    """

    def __init__(
        self, site: Site, settings: Settings, memory_root: Path, earlier: Iterable[Path] = ()
    ) -> None:
        self._site, self._settings = site, settings
        self._roots = memory_root, *earlier

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
            cut = owed_share(owed, result.update, opened.received)
            folder.write(replace(result.memory, residual=owed), keep=task.base_round)
        changed = folder.pictures_changed(self._site, task.round)
        report = replace(result.update.report, owed=cut)
        said: Scalars = {
            "status": "ok",
            **report.to_dict(),
            "seconds": {**report.seconds, **clock.seconds},
            "pictures_changed": changed,
            **pictures_said(self._roots, task, self._site),
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
        merged_in = task.round or task.kept_round  # a run that continues begins with a merge
        make_personal(opened.network, self._site, self._settings.personal, merged_in)
        scores = evaluate_personal_model(opened.network, self._site)
        changed = opened.folder.pictures_changed(self._site, task.round)
        said: Scalars = {"status": "ok", "pictures_changed": changed, **pairs}
        said |= pictures_said(self._roots, task, self._site)
        if scores is not None:
            said |= scores.accuracies
        if task.last and self._settings.training.final_epochs:
            said |= self._fine_tune(opened, task)
        return without_withheld(said, self._settings)

    def _fine_tune(self, opened: Opened, task: Task) -> Scalars:
        """The long training after the last merge; the model stays here, its scores go out."""
        network = opened.network
        scores = fine_tune(network, self._site, opened.memory, self._settings, task.round)
        opened.folder.store_final(float_state(network), task.round)
        return {} if scores is None else {"rank1_final": scores.rank1, "map_final": scores.map}

    def _open(self, task: Task, payload: bytes | memoryview) -> Opened | None:
        """The model this task starts from, or None where the model or the memory is not here."""
        return open_task(self._site, self._settings, self._roots, task, payload)
