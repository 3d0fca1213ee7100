"""What a local epoch is trained for: a loss over labelled features, with its memory.

A method names its objective (`method.local_loss`). An objective is made anew at every epoch from
the epoch's features and labels; the training loop asks it three things and knows nothing else of
it.
"""

from collections.abc import Callable
from typing import Protocol

import torch

from fedklpr_flwr.federation.method import Settings
from fedklpr_flwr.reid.camera_proxies import (
    CameraProxyMemory,
    assign_proxies,
    proxy_centroids,
)


class LocalObjective(Protocol):
    """One epoch's loss and its memory."""

    sampling_labels: torch.Tensor
    """int64 (N,): what the sampler balances; -1 = not trained on."""

    def loss(self, features: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        """The loss of a batch of features (B, D) of the training pictures `indices` (B,)."""
        ...

    def update(self, features: torch.Tensor, indices: torch.Tensor) -> int:
        """Take the batch into the memory; returns how many samples were nearest to their own."""
        ...


class CameraProxyObjective:
    """FedCAPR's camera-aware contrastive loss over (cluster, camera) proxies."""

    def __init__(
        self,
        features: torch.Tensor,
        labels: torch.Tensor,
        cameras: torch.Tensor,
        settings: Settings,
    ) -> None:
        proxy_of_image, cluster, camera = assign_proxies(labels, cameras)
        self.sampling_labels = proxy_of_image
        chosen = settings.proxies
        self._memory = CameraProxyMemory(
            proxy_centroids(features, proxy_of_image, len(cluster)),
            cluster,
            camera,
            temperature=chosen.temperature,
            momentum=chosen.momentum,
            intra_weight=chosen.intra_weight,
            inter_weight=chosen.inter_weight,
            hard_negatives=chosen.hard_negatives,
        )

    def loss(self, features: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        """See LocalObjective."""
        return self._memory.loss(features, self.sampling_labels[indices])

    def update(self, features: torch.Tensor, indices: torch.Tensor) -> int:
        """See LocalObjective; accuracy is counted before the memory moves."""
        proxies = self.sampling_labels[indices]
        correct = self._memory.nearest_correct(features, proxies)
        self._memory.update(features, proxies)
        return correct


StartEpoch = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, Settings], LocalObjective]

OBJECTIVES: dict[str, StartEpoch] = {"camera_proxies": CameraProxyObjective}
"""`method.local_loss` -> an epoch's objective of (features, labels, cameras, settings)."""
