"""The local epochs of a round: label, make the objective, train, tell the pruning rule."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Protocol

import torch

from fedklpr_flwr.algorithm.masks import Masks, Tensors, apply_mask
from fedklpr_flwr.client.accuracy import measure_accuracy
from fedklpr_flwr.client.drift_penalty import Received, receive
from fedklpr_flwr.client.epoch import EpochStats, batch_gradients, share_correct, train_epoch
from fedklpr_flwr.client.label_source import (
    Appearance,
    appearance_of,
    keeps_labels,
    label_figures,
    label_site,
    picture_copies,
)
from fedklpr_flwr.client.local_loss import OBJECTIVES, EpochStart, LocalObjective
from fedklpr_flwr.client.optimizer import adam
from fedklpr_flwr.client.round_plan import Plan
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.model.personal_model import reestimate_on
from fedklpr_flwr.model.site import Pictures, Site
from fedklpr_flwr.reid.network import ReidNetwork, float_state
from fedklpr_flwr.reid.pseudo_labels import PseudoLabels
from fedklpr_flwr.system.clock import Clock
from fedklpr_flwr.system.randomness import named_generator

AccuracyThrough = Callable[[Masks], float | None]


class MaskKeeper(Protocol):
    """Who holds the client's mask and may shrink it between epochs."""

    masks: Masks
    marked: Masks

    @property
    def regrows(self) -> bool:
        """Whether it waits for a batch's gradients."""
        ...

    def regrow(self, gradients: Tensors) -> None:
        """Let weights come back by a batch's gradients, pruned ones' included."""
        ...

    def after_epoch(
        self, epoch: float, accuracy: float | None, accuracy_through: AccuracyThrough
    ) -> None:
        """An epoch has ended; epoch 0.5 is the middle of a round's only epoch."""
        ...


@dataclass(frozen=True)
class Trained:
    """What the local epochs leave besides the network.

    Attributes:
        labels: of the last epoch.
        stats: of the last epoch; None where no cluster ever formed and nothing was trained.
        accuracy: what recovery looks at in the next round; None where nothing was trained.
        kept: int64 (N,), labels for the next round; None where they are found anew.
        figures: how those labels stand against the true persons; see label_figures.
        steps: optimiser steps of all epochs.
    """

    labels: PseudoLabels
    stats: EpochStats | None
    accuracy: float | None
    kept: torch.Tensor | None
    figures: dict[str, float | None]
    steps: int


class LocalTraining:
    """A client's training in one round.

    Args:
        network: trained in place, on the device it is on.
        site: the client's pictures to train on.
        heldout: persons set aside for `crr.accuracy=heldout`, or None.
        pruning: the client's mask; it is asked after every epoch.
        plan: the epochs to come, with the settings that hold in them.
        clock: counts the phases.
        kept: labels kept from the round before, or None.
    """

    def __init__(
        self,
        network: ReidNetwork,
        site: Site,
        heldout: Pictures | None,
        pruning: MaskKeeper,
        plan: Plan,
        clock: Clock,
        kept: torch.Tensor | None = None,
    ) -> None:
        self._network, self._site, self._heldout = network, site, heldout
        self._pruning, self._plan, self._settings = pruning, plan, plan.settings
        self._clock, self._kept = clock, kept
        self._copies = picture_copies(site, plan.settings)
        self._labels = PseudoLabels(torch.full((len(site.train),), -1), 0, len(site.train))
        self._objective: LocalObjective | None = None
        self._stats: EpochStats | None = None
        self._steps = 0

    def run(self) -> Trained:
        """Train all epochs of the plan, or until its precision is reached."""
        settings, plan = self._settings, self._plan
        weight = drift_weight(settings, plan.round_number)
        with self._clock.phase("label"):
            seen = appearance_of(self._network, self._site, settings)
        with self._clock.phase("measure"):
            received = receive(
                self._network,
                settings.kl.teacher_batchnorm,
                seen.features if weight and settings.kl.reference == "cached" else None,
                settings.method.drift_penalty if weight else "none",
            )
        optimizer = adam(self._network, settings.training, plan.rate(1))
        accuracy = None
        for epoch in range(1, plan.epochs + 1):
            for group in optimizer.param_groups:
                group["lr"] = plan.rate(epoch)
            if epoch > 1:
                with self._clock.phase("label"):
                    seen = appearance_of(self._network, self._site, settings)
            self._epoch(epoch, seen, received, optimizer, weight)
            last = self._is_last(epoch)
            accuracy = self._accuracy(last)
            with self._clock.phase("prune"):
                if not last:
                    self._pruning.after_epoch(epoch, accuracy, self.accuracy_through)
            if last:
                break
        found = self._labels
        figures = label_figures(found.labels, self._site, settings)
        kept = self._next_labels()
        return Trained(found, self._stats, accuracy, kept, figures, self._steps)

    def accuracy_through(self, masks: Masks) -> float | None:
        """The accuracy of the weights as they are now, seen through other masks.

        With `crr.accuracy=training` it is counted on the plain view of the pictures trained on,
        against the last epoch's memory.
        """
        if self._objective is None:
            return None
        trial = deepcopy(self._network)
        apply_mask(float_state(trial), masks)
        if self._settings.pruning.batchnorm == "reestimate":
            reestimate_on(trial, self._site)
        if self._settings.crr.accuracy == "training":
            return share_correct(trial, self._site.train, self._objective)
        return self._measure(trial)

    def _epoch(
        self,
        epoch: int,
        seen: Appearance,
        received: Received,
        optimizer: torch.optim.Optimizer,
        weight: float,
    ) -> None:
        settings, train, plan = self._settings, self._site.train, self._plan
        names = (settings.seed, self._site.name, plan.stream, epoch)
        with self._clock.phase("label"):
            self._labels = self._label(seen, plan.round_number)
        if not self._labels.clusters:
            return
        with self._clock.phase("train"):
            start = EpochStart(
                self._network,
                train,
                seen.features,
                self._labels.labels,
                settings,
                named_generator(*names, "loss"),
                self._objective,
                seen.compared,
            )
            self._objective = OBJECTIVES[settings.method.local_loss](start)
            if self._pruning.regrows:
                self._pruning.regrow(
                    batch_gradients(
                        self._network,
                        train,
                        self._objective,
                        settings.training,
                        copies=self._copies,
                        generator=named_generator(*names, "regrow"),
                    )
                )
            stats = train_epoch(
                self._network,
                train,
                self._objective,
                optimizer,
                received,
                self._pruning.masks,
                settings,
                drift_weight=weight,
                marked=self._pruning.marked,
                extrusion=self._extrusion(epoch),
                copies=self._copies,
                generator=named_generator(*names),
                halfway=self._halfway,
            )
            self._stats = stats or self._stats
            self._steps += stats.steps if stats else 0

    def _extrusion(self, epoch: int) -> float:
        """The penalty on marked weights: it grows by epoch, and is whole in the last one before."""
        chosen, epochs = self._settings.pruning, self._plan.epochs
        before = epochs - 1 if chosen.when == "before_last_epoch" else epochs
        return chosen.extrude * epoch / max(before, 1)

    def _halfway(self) -> None:
        """A rule that compares two moments of training finds the first in a round's only epoch."""
        if self._plan.epochs == 1:
            self._pruning.after_epoch(0.5, None, self.accuracy_through)

    def _label(self, seen: Appearance, round_number: int) -> PseudoLabels:
        found = label_site(
            self._site,
            seen.compared,
            self._copies,
            self._settings,
            round_number=round_number,
            kept=self._kept,
        )
        if keeps_labels(self._settings):
            self._kept = found.labels
        return found

    def _next_labels(self) -> torch.Tensor | None:
        """The next round's labels by the model as it is now, where labels live on."""
        if not keeps_labels(self._settings) or not len(self._site.train):
            return None
        with self._clock.phase("label"):
            seen = appearance_of(self._network, self._site, self._settings)
            return self._label(seen, self._plan.round_number + 1).labels

    def _is_last(self, epoch: int) -> bool:
        if self._stats is None:
            return epoch >= self._plan.epochs
        return self._plan.ends_after(epoch, self._stats.accuracy, self._stats.last_accuracy)

    def _accuracy(self, last: bool) -> float | None:
        """This epoch's accuracy where it is looked at: all readings but `training` cost a pass."""
        asked = last or self._settings.pruning.when == "before_last_epoch"
        if not asked or self._stats is None:
            return None
        with self._clock.phase("measure"):
            return self._measure(self._network)

    def _measure(self, network: ReidNetwork) -> float | None:
        counted = self._stats.accuracy if self._stats else None
        kind, labels = self._settings.crr.accuracy, self._labels.labels
        return measure_accuracy(kind, network, self._site, labels, self._heldout, counted)


def drift_weight(settings: Settings, round_number: int) -> float:
    """The drift penalty's factor in a round; 0 before `kl.from_round`."""
    if settings.method.drift_penalty == "none" or round_number < settings.kl.from_round:
        return 0.0
    return settings.kl.weight
