"""One local epoch: batches, loss plus drift penalty, a step that leaves pruned weights at zero."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from fedklpr_flwr.algorithm.divergence import default_temperature
from fedklpr_flwr.algorithm.pruning import Masks, apply_mask, mask_gradients
from fedklpr_flwr.data.loaders import image_loader, labelled_loader, sample_batches
from fedklpr_flwr.federation.drift import DRIFT_PENALTIES, Received, Step
from fedklpr_flwr.federation.method import Settings, Training
from fedklpr_flwr.federation.objectives import Batch, LocalObjective
from fedklpr_flwr.federation.site import Pictures
from fedklpr_flwr.reid.network import ReidNetwork
from fedklpr_flwr.reid.patches import features_and_map

_PLAIN_BATCH = 128


@dataclass(frozen=True)
class EpochStats:
    """What an epoch tells.

    Attributes:
        loss: mean total loss.
        drift: mean drift penalty before its factor.
        accuracy: share of samples whose nearest proxy was their own, counted while training.
        last_accuracy: the same of the last batch alone.
    """

    loss: float
    drift: float
    accuracy: float
    last_accuracy: float


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
        copies: how often each picture counts (IDE).
        generator: of batches and augmentation.
        halfway: called once, when half of the batches have been trained on.

    Returns:
        The epoch's figures, or None where there was no batch of two pictures or more.
    """
    chosen = settings.training
    parameters = dict(network.named_parameters())
    penalty = DRIFT_PENALTIES[settings.method.drift_penalty if drift_weight else "none"]
    temperature = settings.kl.temperature or default_temperature(network.feature_dim)
    totals, seen, correct, steps, last = torch.zeros(2, dtype=torch.float64), 0, 0, 0, 0.0
    network.train()
    for images, indices in _batches(train, objective, chosen, copies, generator, halfway):
        if len(indices) < 2:
            continue
        batch = Batch(indices, *features_and_map(network, images))
        step = Step(images, indices, batch.features, parameters, received, temperature)
        drift = penalty(step)
        loss = objective.loss(batch) + drift_weight * drift
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        mask_gradients(parameters, masks)
        right = objective.correct(batch)  # before memory and weights move away from it
        objective.update(batch)
        optimizer.step()
        apply_mask(parameters, masks)
        totals += torch.stack([loss.detach(), drift.detach()]).double()
        seen, steps, correct = seen + len(indices), steps + 1, correct + right
        last = right / len(indices)
    if not steps:
        return None
    loss_mean, drift_mean = (totals / steps).tolist()
    return EpochStats(loss_mean, drift_mean, correct / seen, last)


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
    start = correct = 0
    for images in image_loader(train.pixels[labelled], _PLAIN_BATCH):
        indices = labelled[start : start + len(images)]
        correct += objective.correct(Batch(indices, *features_and_map(network, images)))
        start += len(images)
    return correct / len(labelled)


def _batches(
    train: Pictures,
    objective: LocalObjective,
    chosen: Training,
    copies: int,
    generator: torch.Generator,
    halfway: Callable[[], None],
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
    )
    batches = labelled_loader(
        train.pixels,
        indices,
        generator,
        flip=chosen.flip,
        padding=chosen.padding,
        erasing=chosen.erasing,
        jitter=chosen.jitter,
    )
    for number, batch in enumerate(batches):
        if number == count // 2:
            halfway()
        yield batch
