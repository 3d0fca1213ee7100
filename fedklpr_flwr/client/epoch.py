"""One local epoch: batches, loss plus drift penalty, a step that leaves pruned weights at zero."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass

import torch

from fedklpr_flwr.algorithm.divergence import default_temperature
from fedklpr_flwr.algorithm.extrusion import Extrusion
from fedklpr_flwr.algorithm.masked_step import MaskedSteps
from fedklpr_flwr.algorithm.masks import Masks
from fedklpr_flwr.client.drift_penalty import DRIFT_PENALTIES, Received, Step
from fedklpr_flwr.client.local_loss import Batch, LocalObjective
from fedklpr_flwr.config.settings import Settings, Training
from fedklpr_flwr.data.loaders import image_loader, labelled_loader, sample_batches
from fedklpr_flwr.model.device import device_of, training_forward
from fedklpr_flwr.model.site import Pictures
from fedklpr_flwr.reid.network import ReidNetwork
from fedklpr_flwr.reid.stripes import features_and_map

_PLAIN_BATCH = 128


@dataclass(frozen=True)
class EpochStats:
    """What an epoch tells.

    Attributes:
        loss: mean total loss.
        drift: mean drift penalty before its factor.
        accuracy: share of samples whose nearest proxy was their own, counted while training.
        last_accuracy: the same of the last batch alone.
        steps: batches trained on.
    """

    loss: float
    drift: float
    accuracy: float
    last_accuracy: float
    steps: int


def train_epoch(
    network: ReidNetwork,
    train: Pictures,
    objective: LocalObjective,
    optimizer: torch.optim.Optimizer,
    received: Received,
    masks: Masks,
    settings: Settings,
    *,
    drift_weight: float,
    marked: Masks,
    extrusion: float,
    copies: int,
    generator: torch.Generator,
    halfway: Callable[[], None],
) -> EpochStats | None:
    """Train one epoch in place.

    Args:
        network: the model in training.
        train: the client's training pictures.
        objective: the epoch's loss and memory.
        optimizer: over the network's parameters.
        received: the frozen reference for the drift penalty.
        masks: name -> bool; pruned weights stay zero.
        settings: the run's settings.
        drift_weight: the penalty's factor; 0 leaves the reference alone, at no cost.
        marked: name -> bool, the weights pruned next; none where nothing is extruded.
        extrusion: the factor of the penalty on them.
        copies: how often each picture counts (IDE).
        generator: of batches and augmentation.
        halfway: called once, when half of the batches have been trained on.

    Returns:
        The epoch's figures, or None where there was no batch of two pictures or more.
    """
    chosen = settings.training
    steps = TrainingSteps(network, objective, optimizer, received, masks, settings, drift_weight)
    steps.extrude(marked, extrusion)
    network.train()
    cameras = train.cameras if settings.cluster_memory.across_cameras else None
    drawn = _batches(train, objective, chosen, copies, generator, halfway, cameras)
    for images, indices in drawn:
        if len(indices) >= 2:
            steps.take(images, indices)
    return steps.stats()


class TrainingSteps:
    """The steps of one epoch, and what they add up to.

    Nothing in a step waits for the device: counts stay there until `stats` reads them, and what
    the host decides by, it decides by its own copies. So the host prepares the next batch while
    the device is busy with this one.

    Args:
        network: the model in training.
        objective: the epoch's loss and memory.
        optimizer: over the network's parameters.
        received: the frozen reference for the drift penalty.
        masks: name -> bool, on any device; pruned weights stay zero.
        settings: the run's settings.
        drift_weight: the penalty's factor; 0 leaves the reference alone.
    """

    def __init__(
        self,
        network: ReidNetwork,
        objective: LocalObjective,
        optimizer: torch.optim.Optimizer,
        received: Received,
        masks: Masks,
        settings: Settings,
        drift_weight: float,
    ) -> None:
        self._network, self._objective, self._optimizer = network, objective, optimizer
        self._received, self._drift_weight = received, drift_weight
        self._forward = training_forward(network, settings.training)
        self._parameters = dict(network.named_parameters())
        self._masked = MaskedSteps(self._parameters, masks)
        self.extrude({}, 0.0)
        self._penalty = DRIFT_PENALTIES[settings.method.drift_penalty if drift_weight else "none"]
        self._temperature = settings.kl.temperature or default_temperature(network.feature_dim)
        device = device_of(network)
        self._totals = torch.zeros(2, dtype=torch.float64, device=device)
        self._correct = torch.zeros((), dtype=torch.int64, device=device)
        self._last = self._correct
        self._steps = self._seen = self._last_size = 0

    def extrude(self, marked: Masks, weight: float) -> None:
        """Draw the marked weights towards zero in every step from now on."""
        self._extrusion, self._extrusion_weight = Extrusion(self._parameters, marked), weight

    def take(self, images: torch.Tensor, indices: torch.Tensor) -> None:
        """Train on one batch.

        Args:
            images: (B,3,H,W) float32, on the host, B >= 2.
            indices: (B,) int64, on the host, which training pictures they show.
        """
        images = self._network.taken(images)  # once for both networks
        batch = Batch(indices, *self._features_and_map(images))
        step = Step(
            images, indices, batch.features, self._parameters, self._received, self._temperature
        )
        drift = self._penalty(step)
        loss = self._objective.loss(batch) + self._drift_weight * drift
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self._extrusion.add_gradients(self._extrusion_weight)
        self._masked.mask_gradients()
        right = self._objective.correct(batch)  # before memory and weights move away from it
        self._objective.update(batch)
        self._optimizer.step()
        self._masked.mask_weights()
        self._totals += torch.stack([loss.detach(), drift.detach()]).double()
        self._correct = self._correct + right
        self._last, self._last_size = right, len(indices)
        self._seen, self._steps = self._seen + len(indices), self._steps + 1

    def stats(self) -> EpochStats | None:
        """The epoch's figures so far; None where no step was taken. Waits for the device."""
        if not self._steps:
            return None
        loss, drift = (self._totals / self._steps).tolist()
        share, last = int(self._correct) / self._seen, int(self._last) / self._last_size
        return EpochStats(loss, drift, share, last, self._steps)

    def _features_and_map(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        if self._objective.needs_map:
            return features_and_map(self._network, images)
        return self._forward(images), None


def batch_gradients(
    network: ReidNetwork,
    train: Pictures,
    objective: LocalObjective,
    chosen: Training,
    *,
    copies: int,
    generator: torch.Generator,
) -> dict[str, torch.Tensor]:
    """The loss's gradients on one batch, pruned weights' included, which no step is taken by.

    Args:
        network: the model, which this leaves as it is.
        train: the client's training pictures.
        objective: an epoch's loss and memory; it learns nothing from this.
        chosen: batches and augmentation.
        copies: how often each picture counts (IDE).
        generator: of the batch and its augmentation.
    """
    trial = deepcopy(network).train()
    images, indices = next(
        _batches(train, objective, chosen, copies, generator, lambda: None, None)
    )
    images = trial.taken(images)
    if objective.needs_map:
        features, last_map = features_and_map(trial, images)
        batch = Batch(indices, features, last_map)
    else:
        batch = Batch(indices, trial(images))
    torch.autograd.backward(objective.loss(batch))
    return {n: p.grad for n, p in trial.named_parameters() if p.grad is not None}


@torch.no_grad()
def share_correct(network: ReidNetwork, train: Pictures, objective: LocalObjective) -> float:
    """The share of labelled pictures whose plain view is nearest to its own in the memory.

    Args:
        network: the model; left in evaluation mode.
        train: the client's training pictures, at least one of them labelled.
        objective: an epoch's labels and memory; it learns nothing from this.
    """
    network.eval()
    labelled = (objective.sampling_labels >= 0).nonzero().ravel()
    start, correct = 0, torch.zeros((), dtype=torch.int64, device=device_of(network))
    for images in image_loader(train.pixels[labelled], _PLAIN_BATCH):
        indices = labelled[start : start + len(images)]
        correct += objective.correct(Batch(indices, *features_and_map(network, images)))
        start += len(images)
    return int(correct) / len(labelled)


def _batches(
    train: Pictures,
    objective: LocalObjective,
    chosen: Training,
    copies: int,
    generator: torch.Generator,
    halfway: Callable[[], None],
    cameras: torch.Tensor | None,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    labels, persons, pictures = objective.sampling_labels, chosen.persons, chosen.pictures
    used = int((labels >= 0).sum()) * copies
    count = max(1, used // (persons * pictures))
    if chosen.max_batches is not None:
        count = min(count, chosen.max_batches)
    if objective.shuffled:
        # Every picture a label of its own: batches of the same size, each picture as often.
        labels = torch.where(labels >= 0, torch.arange(len(labels)), -1)
        persons, pictures = persons * pictures, 1
    indices = sample_batches(
        labels,
        labels_per_batch=persons,
        images_per_label=pictures,
        batches=count,
        generator=generator,
        copies=copies,
        cameras=cameras,
    )
    batches = labelled_loader(
        train.pixels,
        indices,
        generator,
        flip=chosen.flip,
        padding=chosen.padding,
        erasing=chosen.erasing,
        erased=chosen.erased,
        jitter=chosen.jitter,
    )
    for number, batch in enumerate(batches):
        if number == count // 2:
            halfway()
        yield batch
