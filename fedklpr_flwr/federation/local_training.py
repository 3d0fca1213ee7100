"""The local epochs of a round: label, make the objective, train, tell the pruning rule."""

from copy import deepcopy
from dataclasses import dataclass

import torch

from fedklpr_flwr.algorithm.pruning import Masks, apply_mask
from fedklpr_flwr.federation.accuracy import measure_accuracy
from fedklpr_flwr.federation.client_pruning import ClientPruning
from fedklpr_flwr.federation.clock import Clock
from fedklpr_flwr.federation.drift import Received, receive
from fedklpr_flwr.federation.labelling import label_site, picture_copies
from fedklpr_flwr.federation.local_epoch import EpochStats, train_epoch
from fedklpr_flwr.federation.method import Settings
from fedklpr_flwr.federation.objectives import OBJECTIVES
from fedklpr_flwr.federation.personal_model import features_of, float_state
from fedklpr_flwr.federation.randomness import named_generator
from fedklpr_flwr.federation.site import Pictures, Site
from fedklpr_flwr.reid.network import ReidNetwork
from fedklpr_flwr.reid.pseudo_labels import PseudoLabels


@dataclass(frozen=True)
class Trained:
    """What the local epochs leave besides the network.

    Attributes:
        labels: of the last epoch.
        stats: of the last epoch; None where no cluster ever formed and nothing was trained.
        accuracy: what recovery looks at in the next round; None where nothing was trained.
    """

    labels: PseudoLabels
    stats: EpochStats | None
    accuracy: float | None


class LocalTraining:
    """A client's training in one round.

    Args:
        network: trained in place.
        site: the client's pictures to train on.
        heldout: persons set aside for `crr.accuracy=heldout`, or None.
        pruning: the client's mask; it is asked after every epoch.
        settings: the run's settings.
        round_number: this round, 1..R.
        clock: counts the phases.
    """

    def __init__(
        self,
        network: ReidNetwork,
        site: Site,
        heldout: Pictures | None,
        pruning: ClientPruning,
        settings: Settings,
        round_number: int,
        clock: Clock,
    ) -> None:
        self._network, self._site, self._heldout = network, site, heldout
        self._pruning, self._settings = pruning, settings
        self._round, self._clock = round_number, clock
        self._copies = picture_copies(site, settings)
        self._labels = PseudoLabels(torch.full((len(site.train),), -1), 0, len(site.train))
        self._stats: EpochStats | None = None

    def run(self) -> Trained:
        """Train all epochs of the round."""
        settings = self._settings
        weight = drift_weight(settings, self._round)
        with self._clock.phase("measure"):
            plain = self._site.train if weight and settings.kl.reference == "cached" else None
            received = receive(self._network, settings.kl.teacher_batchnorm, plain)
        optimizer = self._optimizer()
        accuracy = None
        for epoch in range(1, settings.training.epochs + 1):
            self._epoch(epoch, received, optimizer, weight)
            accuracy = self._accuracy(epoch)
            with self._clock.phase("prune"):
                if settings.training.epochs == 1:
                    self._pruning.after_epoch(0.5, accuracy, self.accuracy_through)
                elif epoch < settings.training.epochs:
                    self._pruning.after_epoch(epoch, accuracy, self.accuracy_through)
        return Trained(self._labels, self._stats, accuracy)

    def accuracy_through(self, masks: Masks) -> float | None:
        """The accuracy of the weights as they are now, seen through other masks.

        The counted accuracy cannot be had without training, so with `crr.accuracy=training` it is
        that of the epoch that has just ended.
        """
        if self._settings.crr.accuracy == "training":
            return self._stats.accuracy if self._stats else None
        trial = deepcopy(self._network)
        apply_mask(float_state(trial), masks)
        return self._measure(trial)

    def _epoch(
        self, epoch: int, received: Received, optimizer: torch.optim.Optimizer, weight: float
    ) -> None:
        settings, train = self._settings, self._site.train
        with self._clock.phase("label"):
            features = features_of(self._network, train)
            self._labels = label_site(self._site, features, self._copies, settings)
        if not self._labels.clusters:
            return
        with self._clock.phase("train"):
            start = OBJECTIVES[settings.method.local_loss]
            objective = start(features, self._labels.labels, train.cameras, settings)
            generator = named_generator(settings.seed, self._site.name, self._round, epoch)
            stats = train_epoch(
                self._network,
                train,
                objective,
                optimizer,
                received,
                self._pruning.masks,
                settings,
                drift_weight=weight,
                copies=self._copies,
                generator=generator,
            )
            self._stats = stats or self._stats

    def _accuracy(self, epoch: int) -> float | None:
        """This epoch's accuracy where it is looked at: all readings but `training` cost a pass."""
        settings = self._settings
        asked = epoch == settings.training.epochs or settings.pruning.when == "before_last_epoch"
        if not asked or self._stats is None:
            return None
        with self._clock.phase("measure"):
            return self._measure(self._network)

    def _measure(self, network: ReidNetwork) -> float | None:
        counted = self._stats.accuracy if self._stats else None
        kind, labels = self._settings.crr.accuracy, self._labels.labels
        return measure_accuracy(kind, network, self._site, labels, self._heldout, counted)

    def _optimizer(self) -> torch.optim.Optimizer:
        chosen = self._settings.training
        dropped = chosen.lr_drop_round is not None and self._round >= chosen.lr_drop_round
        rate = chosen.learning_rate * (chosen.lr_drop_factor if dropped else 1.0)
        trained = [value for value in self._network.parameters() if value.requires_grad]
        return torch.optim.Adam(trained, lr=rate, weight_decay=chosen.weight_decay)


def drift_weight(settings: Settings, round_number: int) -> float:
    """The drift penalty's factor in a round; 0 before `kl.from_round`."""
    if settings.method.drift_penalty == "none" or round_number < settings.kl.from_round:
        return 0.0
    return settings.kl.weight
