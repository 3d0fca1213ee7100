"""The pull towards the received model: one function a choice of `method.drift_penalty`."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import nn

from fedklpr_flwr.algorithm.divergence import (
    cosine_regularization_loss,
    kl_regularization_loss,
    proximal_loss,
)
from fedklpr_flwr.reid.device_copy import copied_to
from fedklpr_flwr.reid.fold_batchnorm import fuse_batchnorm
from fedklpr_flwr.reid.network import ReidNetwork


@dataclass(frozen=True)
class Received:
    """The model a round started from, frozen.

    Attributes:
        network: the received model seen through the client's mask.
        parameters: its parameters by name, for the penalty that reads them; else none.
        cached: its features (N, D) of the plain view of every training picture, or None. All lie
            on the network's device.
    """

    network: ReidNetwork
    parameters: Mapping[str, torch.Tensor]
    cached: torch.Tensor | None

    def features(self, images: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        """Reference features (B, D) of a batch, by its indices on the host; no gradient."""
        if self.cached is not None:
            return self.cached[copied_to(indices, self.cached.device)]
        with torch.no_grad():
            features: torch.Tensor = self.network(images)
        return features


def receive(
    network: ReidNetwork, batchnorm: str, cached: torch.Tensor | None, penalty: str = "kl"
) -> Received:
    """A frozen copy of a network as it is before training.

    Args:
        network: the received model seen through the client's mask.
        batchnorm: `eval` normalises by running statistics, `train` by the batch; neither moves
            them.
        cached: (N,D) its features of all training pictures, used for the whole round
            (`kl.reference=cached`), or None: those of each batch as it comes.
        penalty: of DRIFT_PENALTIES, what the copy is for.
    """
    reference = deepcopy(network).requires_grad_(False).eval()
    parameters = dict(reference.named_parameters()) if penalty == "proximal" else {}
    if batchnorm == "eval":
        fuse_batchnorm(reference)
    if batchnorm == "train":
        for module in reference.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.train()
                module.momentum = 0.0
    return Received(reference, parameters, cached)


@dataclass(frozen=True)
class Step:
    """What a penalty may look at in one training step."""

    images: torch.Tensor
    indices: torch.Tensor
    features: torch.Tensor
    parameters: Mapping[str, torch.Tensor]
    received: Received
    temperature: float


def _kl(step: Step) -> torch.Tensor:
    reference = step.received.features(step.images, step.indices)
    return kl_regularization_loss(step.features, reference, step.temperature)


def _cosine(step: Step) -> torch.Tensor:
    return cosine_regularization_loss(
        step.features, step.received.features(step.images, step.indices)
    )


def _proximal(step: Step) -> torch.Tensor:
    return proximal_loss(step.parameters, step.received.parameters)


def _none(step: Step) -> torch.Tensor:
    return step.features.new_zeros(())


DRIFT_PENALTIES: dict[str, Callable[[Step], torch.Tensor]] = {
    "kl": _kl,
    "cosine": _cosine,
    "proximal": _proximal,
    "none": _none,
}
