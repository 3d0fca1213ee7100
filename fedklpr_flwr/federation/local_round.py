"""One client's round: label, train, measure, decide, prune; the update goes out, the memory stays home.

    received model x mask -> [before_training] -> epochs x (label -> train -> [after_epoch])
                          -> [after_training] -> measure divergence -> ClientUpdate, ClientMemory

The bracketed moments belong to the pruning rule (algorithm/schedules.py). There is no `if method ==` here:
a method is its named choices.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace

import torch

from fedklpr_flwr.algorithm.divergence import (
    cosine_distance,
    default_temperature,
    knowledge_gain,
)
from fedklpr_flwr.algorithm.pruning import Masks, apply_mask, pruning_ratio
from fedklpr_flwr.algorithm.recovery import RecoveryRule
from fedklpr_flwr.algorithm.pruning_step import (
    PruningMoment,
    PruningSettings,
    PruningState,
    PruningStep,
)
from fedklpr_flwr.algorithm.schedules import RULES, Hook
from fedklpr_flwr.algorithm.update import ClientUpdate, TrainingReport
from fedklpr_flwr.federation.accuracy import hold_out, measure_accuracy
from fedklpr_flwr.federation.client_memory import ClientMemory
from fedklpr_flwr.federation.drift import Received, freeze
from fedklpr_flwr.federation.labelling import label_site, picture_copies
from fedklpr_flwr.federation.local_epoch import EpochStats, train_epoch
from fedklpr_flwr.federation.method import Settings
from fedklpr_flwr.federation.objectives import OBJECTIVES
from fedklpr_flwr.federation.personal_model import (
    evaluate_personal_model,
    features_of,
    float_state,
    personal_names,
    reestimate_on,
)
from fedklpr_flwr.federation.randomness import named_generator
from fedklpr_flwr.federation.site import Pictures, Site
from fedklpr_flwr.reid.network import ReidNetwork
from fedklpr_flwr.reid.pseudo_labels import PseudoLabels
from fedklpr_flwr.reid.ranking import RankingScores


@dataclass(frozen=True)
class LocalResult:
    """What a round leaves: the update to send, the memory to keep, the scores of the trained model."""

    update: ClientUpdate
    memory: ClientMemory
    scores: RankingScores | None


@dataclass
class _Clock:
    """Wall seconds by phase."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


@dataclass
class _Round:
    """The moving parts of one client's round."""

    network: ReidNetwork
    site: Site
    heldout: Pictures | None
    settings: Settings
    round_number: int
    initial: Mapping[str, torch.Tensor] | None
    masks: Masks
    pruning: PruningState
    crr: str = "off"
    labels: PseudoLabels | None = None
    stats: EpochStats | None = None
    clock: _Clock = field(default_factory=_Clock)

    def ask(self, hook: Hook, *, epoch: float, accuracy: float | None) -> None:
        """Let the pruning rule have its moment, and do what it says."""
        with self.clock.phase("prune"):
            state = float_state(self.network)
            moment = PruningMoment(
                tensors=state,
                masks=self.masks,
                state=self.pruning,
                settings=pruning_settings(self.settings),
                round_number=self.round_number,
                epoch=epoch,
                epochs=self.settings.training.epochs,
                accuracy=accuracy,
                accuracy_through=self._accuracy_through,
            )
            self._apply(hook(moment), state)

    def _apply(self, step: PruningStep, state: Mapping[str, torch.Tensor]) -> None:
        if step.rewind and self.initial is not None:
            with torch.no_grad():
                for name, value in self.initial.items():
                    state[name].copy_(value)
        changed = step.masks is not self.masks
        self.masks, self.pruning = step.masks, step.state
        if step.decision is not None and step.decision.action != "off":
            self.crr = step.decision.action
        if changed:
            apply_mask(dict(state), self.masks)
            if self.settings.pruning.batchnorm == "reestimate":
                reestimate_on(self.network, self.site)

    def _accuracy_through(self, masks: Masks) -> float | None:
        """The accuracy of the weights as they are, seen through other masks."""
        if self.settings.crr.accuracy == "training":
            return self.stats.accuracy if self.stats else None
        trial = deepcopy(self.network)
        apply_mask(float_state(trial), masks)
        return self._measure(trial, None)

    def accuracy(self) -> float | None:
        """The newest accuracy of the epoch that has just ended."""
        with self.clock.phase("measure"):
            return self._measure(self.network, self.stats.accuracy if self.stats else None)

    def _measure(self, network: ReidNetwork, counted: float | None) -> float | None:
        if self.labels is None:
            return None
        kind = self.settings.crr.accuracy
        labels = self.labels.labels
        return measure_accuracy(kind, network, self.site, labels, self.heldout, counted)


def run_local_round(
    network: ReidNetwork,
    site: Site,
    memory: ClientMemory,
    settings: Settings,
    round_number: int,
    *,
    initial: Mapping[str, torch.Tensor] | None = None,
) -> LocalResult:
    """Train one client for one round.

    Args:
        network: the received model seen through the client's mask, with its personal parts; it is trained
            in place.
        site: the client's pictures.
        memory: what the client left its last merged round with.
        settings: the run's settings.
        round_number: this round, 1..R.
        initial: the initial weights, for rules that rewind.

    Returns:
        The update, the memory to keep, and the scores of the trained model on the client's own test set.
    """
    site, heldout = hold_out(site, settings.crr.accuracy, settings.seed)
    state = PruningState(memory.recovery, memory.masks_before_last_prune)
    work = _Round(
        network, site, heldout, settings, round_number, initial, dict(memory.masks), state
    )
    rule = RULES[settings.method.pruning]
    work.ask(rule.before_training, epoch=0, accuracy=None)
    with work.clock.phase("measure"):
        batch = _divergence_batch(site, settings)
        before = features_of(network, batch)
    received = _received_model(work)
    accuracy = _train(work, received, rule.after_epoch)
    work.ask(rule.after_training, epoch=settings.training.epochs, accuracy=accuracy)
    with work.clock.phase("measure"):
        after = features_of(network, batch)
    with work.clock.phase("evaluate"):
        scores = evaluate_personal_model(network, site)
    report = _report(work, before, after, accuracy)
    return LocalResult(_update(work, report), _memory(work), scores)


def pruning_settings(settings: Settings) -> PruningSettings:
    """The pruning rule's own settings from the run's."""
    crr, chosen = settings.crr, settings.pruning
    return PruningSettings(
        rate=chosen.rate,
        target=chosen.target,
        first_round=chosen.first_round,
        when=chosen.when,
        recovery=RecoveryRule(crr.level, crr.drop, crr.reference, crr.rollback),
        guard=chosen.guard,
        rewind=chosen.rewind,
        mask_distance=chosen.mask_distance,
    )


def _train(work: _Round, received: Received, after_epoch: Hook) -> float | None:
    """All local epochs; returns the accuracy after the last one, None where nothing was trained."""
    settings, site = work.settings, work.site
    copies = picture_copies(site, settings)
    optimizer = _optimizer(work)
    accuracy = None
    for epoch in range(1, settings.training.epochs + 1):
        with work.clock.phase("label"):
            features = features_of(work.network, site.train)
            work.labels = label_site(site, features, copies, settings)
        if not work.labels.clusters:
            continue
        with work.clock.phase("train"):
            objective = OBJECTIVES[settings.method.local_loss](
                features, work.labels.labels, site.train.cameras, settings
            )
            generator = named_generator(
                settings.seed, site.name, work.round_number, f"epoch {epoch}"
            )
            work.stats = train_epoch(
                work.network,
                site.train,
                objective,
                optimizer,
                received,
                work.masks,
                settings,
                drift_weight=drift_weight(settings, work.round_number),
                copies=copies,
                generator=generator,
            )
        accuracy = work.accuracy() if _needed(work, epoch) else None
        if settings.training.epochs == 1:
            work.ask(after_epoch, epoch=0.5, accuracy=accuracy)
        elif epoch < settings.training.epochs:
            work.ask(after_epoch, epoch=epoch, accuracy=accuracy)
    return accuracy


def _needed(work: _Round, epoch: int) -> bool:
    """Whether anybody looks at this epoch's accuracy: readings other than `training` cost a pass."""
    last = epoch == work.settings.training.epochs
    return last or work.settings.pruning.when == "before_last_epoch"


def drift_weight(settings: Settings, round_number: int) -> float:
    """The drift penalty's factor in a round; 0 before `kl.from_round`."""
    if settings.method.drift_penalty == "none" or round_number < settings.kl.from_round:
        return 0.0
    return settings.kl.weight


def _optimizer(work: _Round) -> torch.optim.Optimizer:
    chosen = work.settings.training
    dropped = chosen.lr_drop_round is not None and work.round_number >= chosen.lr_drop_round
    rate = chosen.learning_rate * (chosen.lr_drop_factor if dropped else 1.0)
    trained = [parameter for parameter in work.network.parameters() if parameter.requires_grad]
    return torch.optim.Adam(trained, lr=rate, weight_decay=chosen.weight_decay)


def _received_model(work: _Round) -> Received:
    """A frozen copy of the model as it is before training; left out where no penalty looks at it."""
    settings = work.settings
    parameters = {
        name: value.detach().clone() for name, value in work.network.named_parameters()
    }
    reference = deepcopy(work.network)
    freeze(reference, train_batchnorm=settings.kl.teacher_batchnorm == "train")
    cached = None
    if settings.kl.reference == "cached" and drift_weight(settings, work.round_number):
        with work.clock.phase("measure"):
            cached = features_of(reference, work.site.train)
    return Received(reference, parameters, cached)


def _divergence_batch(site: Site, settings: Settings) -> Pictures:
    """The pictures that KLAW is measured on: 32 of the training pictures, the same in every round."""
    count = len(site.train)
    if settings.klaw.batch == "first32":
        chosen = torch.arange(min(32, count))
    else:
        generator = named_generator(settings.seed, site.name, "klaw batch")
        chosen = torch.randperm(count, generator=generator)[:32].sort().values
    return site.train.subset(chosen)


def _report(
    work: _Round, before: torch.Tensor, after: torch.Tensor, accuracy: float | None
) -> TrainingReport:
    temperature = work.settings.kl.temperature or default_temperature(work.network.feature_dim)
    stats, labels = work.stats, work.labels
    return TrainingReport(
        examples=len(work.site.train),
        divergence=knowledge_gain(after, before, temperature) if len(before) else 0.0,
        cosine_distance=cosine_distance(after, before) if len(before) else 0.0,
        pruned=pruning_ratio(work.masks) if work.masks else 0.0,
        accuracy=accuracy,
        clusters=labels.clusters if labels else 0,
        outliers=labels.outliers if labels else 0,
        idle=stats is None,
        crr=work.crr,
        loss=stats.loss if stats else 0.0,
        kl_loss=stats.drift if stats else 0.0,
        seconds=work.clock.seconds,
    )


def _update(work: _Round, report: TrainingReport) -> ClientUpdate:
    personal = personal_names(work.network, work.settings.method.personal_parts)
    tensors = {
        name: value for name, value in float_state(work.network).items() if name not in personal
    }
    masks = {name: mask for name, mask in work.masks.items() if name in tensors}
    return ClientUpdate(work.site.name, work.round_number, tensors, masks, report)


def _memory(work: _Round) -> ClientMemory:
    personal = personal_names(work.network, work.settings.method.personal_parts)
    return replace(
        ClientMemory(round=work.round_number, masks=work.masks),
        recovery=work.pruning.recovery,
        masks_before_last_prune=work.pruning.masks_before_last_prune,
        personal={name: float_state(work.network)[name] for name in personal},
    )
