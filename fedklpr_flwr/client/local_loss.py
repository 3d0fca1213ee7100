"""What a local epoch is trained for: a loss over labelled pictures, with its memory.

A method names its objective (`method.local_loss`). An objective is made anew at every epoch from
the epoch's features and labels; the training loop asks it three things and knows nothing else of
it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

import torch

from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.data.loaders import image_loader
from fedklpr_flwr.errors import FedKlprError
from fedklpr_flwr.model.site import Pictures
from fedklpr_flwr.reid.bottom_up import repelled_memory
from fedklpr_flwr.reid.camera_proxies import (
    CameraProxyMemory,
    assign_proxies,
    mutual_partners,
    proxy_centroids,
)
from fedklpr_flwr.reid.cluster_memory import ClusterMemory
from fedklpr_flwr.reid.device_copy import copied_to
from fedklpr_flwr.reid.identity_head import IdentityHead
from fedklpr_flwr.reid.network import ReidNetwork
from fedklpr_flwr.reid.stripes import PatchMemory, extract_stripes, stripe_means

_EXTRACTION_BATCH = 128


@dataclass(frozen=True)
class EpochStart:
    """What an objective may look at when an epoch begins.

    Attributes:
        network: the model in training.
        train: the client's training pictures.
        features: (N, D) unit features of them, by the model as it is now, on its device.
        labels: (N,) int64, this epoch's labels, on the host; -1 = outlier. At least one is none.
        settings: the settings of this round.
        generator: of random numbers the loss may need.
        earlier: the round's objective before this one, or None.
        compared: (N, D') unit rows that the labels were found by, there too; None = the features.
    """

    network: ReidNetwork
    train: Pictures
    features: torch.Tensor
    labels: torch.Tensor
    settings: Settings
    generator: torch.Generator
    earlier: "LocalObjective | None" = None
    compared: torch.Tensor | None = None

    @property
    def clusters(self) -> int:
        """How many labels there are."""
        return int(self.labels.max()) + 1

    def there(self, labels: torch.Tensor) -> torch.Tensor:
        """Labels of the host beside the features."""
        return copied_to(labels, self.features.device)


@dataclass(frozen=True)
class Batch:
    """What an objective may look at in a step.

    Attributes:
        indices: (B,) int64, which training pictures; on the host.
        features: (B, D) unit features of their views, on the device.
        feature_map: (B, C, h, w), the network's last map of them; None where no objective needs it.
    """

    indices: torch.Tensor
    features: torch.Tensor
    feature_map: torch.Tensor | None = None

    def of(self, labels: torch.Tensor) -> torch.Tensor:
        """The batch's own entries (B,) of (N,) labels on the host, beside its features."""
        return copied_to(labels[self.indices], self.features.device)

    def stripes(self, count: int) -> torch.Tensor:
        """The means (B, S, C) of the map's horizontal stripes.

        Raises:
            FedKlprError: the map was not kept, since the objective says it needs none.
        """
        if self.feature_map is None:
            raise FedKlprError("expected a feature map to cut: the objective must say needs_map")
        return stripe_means(self.feature_map, count)


class LocalObjective(Protocol):
    """One epoch's loss and its memory."""

    sampling_labels: torch.Tensor
    """int64 (N,), on the host: what the sampler balances; -1 = not trained on."""
    shuffled: bool
    """True: every picture once in random order, in place of P labels x K pictures."""
    needs_map: bool
    """True: batches bring the network's last feature map."""

    def loss(self, batch: Batch) -> torch.Tensor:
        """The loss of a batch."""
        ...

    def correct(self, batch: Batch) -> torch.Tensor:
        """How many samples of a batch are nearest to their own, by the memory as it is: 0-d."""
        ...

    def update(self, batch: Batch) -> None:
        """Take the batch into the memory."""
        ...


class MemoryObjective:
    """A contrastive loss over one memory of proxies or clusters.

    Args:
        memory: what pictures are contrasted with.
        labels: int64 (N,), each training picture's own place in the memory; -1 = none.
        shuffled: see LocalObjective.
    """

    needs_map = False

    def __init__(
        self,
        memory: CameraProxyMemory | ClusterMemory,
        labels: torch.Tensor,
        *,
        shuffled: bool = False,
    ) -> None:
        self.memory, self.sampling_labels, self.shuffled = memory, labels, shuffled

    def loss(self, batch: Batch) -> torch.Tensor:
        """See LocalObjective."""
        return self.memory.loss(batch.features, batch.of(self.sampling_labels))

    def correct(self, batch: Batch) -> torch.Tensor:
        """See LocalObjective."""
        own = batch.of(self.sampling_labels)
        return self.memory.nearest_correct(batch.features.detach(), own)

    def update(self, batch: Batch) -> None:
        """See LocalObjective."""
        self.memory.update(batch.features.detach(), self.sampling_labels[batch.indices])


def camera_proxies(start: EpochStart) -> MemoryObjective:
    """FedCAPR's camera-aware contrastive loss over (cluster, camera) proxies."""
    proxy_of_image, cluster, camera = assign_proxies(start.labels, start.train.cameras)
    chosen, there = start.settings.proxies, start.there(proxy_of_image)
    partners = None
    if chosen.negatives == "auto" or chosen.online_weight:
        # Across cameras as the labels are found, so with the cameras' own look taken out.
        alike = start.features if start.compared is None else start.compared
        partners = mutual_partners(proxy_centroids(alike, there, len(cluster)), start.there(camera))
    memory = CameraProxyMemory(
        proxy_centroids(start.features, there, len(cluster)),
        cluster,
        camera,
        temperature=chosen.temperature,
        momentum=chosen.momentum,
        intra_weight=chosen.intra_weight,
        inter_weight=chosen.inter_weight,
        hard_negatives=chosen.hard_negatives,
        negatives=chosen.negatives,
        partners=partners,
        online_weight=chosen.online_weight,
    )
    return MemoryObjective(memory, proxy_of_image)


def clusters(start: EpochStart) -> MemoryObjective:
    """FedUCC's cluster-contrastive loss over cluster centroids."""
    chosen = start.settings.cluster_memory
    memory = ClusterMemory(
        proxy_centroids(start.features, start.there(start.labels), start.clusters),
        temperature=chosen.temperature,
        momentum=chosen.momentum,
        hardest=chosen.update == "hardest",
    )
    return MemoryObjective(memory, start.labels)


def repelled(start: EpochStart) -> MemoryObjective:
    """BUC's repelled loss over the clusters of bottom-up clustering.

    Its memory starts from zeros when the labels change, and lives on where they do not.
    """
    earlier = start.earlier
    if isinstance(earlier, MemoryObjective) and torch.equal(earlier.sampling_labels, start.labels):
        return earlier
    features = start.features
    memory = repelled_memory(start.clusters, features.shape[1], device=features.device)
    return MemoryObjective(memory, start.labels, shuffled=True)


class PatchObjective:
    """FedUCC's patch knowledge: the same clusters, contrasted stripe by stripe."""

    shuffled = False
    needs_map = True

    def __init__(self, start: EpochStart) -> None:
        self.sampling_labels = start.labels
        self._chosen = start.settings.patches
        contrast = start.settings.cluster_memory
        batches = image_loader(start.train.pixels, _EXTRACTION_BATCH)
        self._memory = PatchMemory(
            extract_stripes(start.network, batches, self._chosen.stripes),
            start.there(start.labels),
            start.clusters,
            temperature=contrast.temperature,
            momentum=contrast.momentum,
        )

    def loss(self, batch: Batch) -> torch.Tensor:
        """See LocalObjective; times `patches.weight`."""
        stripes = batch.stripes(self._chosen.stripes)
        loss = self._memory.loss(stripes, batch.of(self.sampling_labels))
        return self._chosen.weight * loss

    def correct(self, batch: Batch) -> torch.Tensor:
        """See LocalObjective; a stripe alone tells no picture's accuracy."""
        return torch.zeros((), dtype=torch.int64, device=batch.features.device)

    def update(self, batch: Batch) -> None:
        """See LocalObjective."""
        stripes = batch.stripes(self._chosen.stripes).detach()
        self._memory.update(stripes, self.sampling_labels[batch.indices])


class IdentityObjective:
    """FedPav's cross-entropy over the client's own persons."""

    shuffled = True
    needs_map = False

    def __init__(self, start: EpochStart) -> None:
        self.sampling_labels = start.labels
        self._generator = start.generator
        self._head = cast(IdentityHead, start.network.get_submodule("classifier"))

    def loss(self, batch: Batch) -> torch.Tensor:
        """See LocalObjective."""
        persons = batch.of(self.sampling_labels)
        return self._head.loss(batch.features, persons, self._generator)

    def correct(self, batch: Batch) -> torch.Tensor:
        """See LocalObjective."""
        return self._head.correct(batch.features, batch.of(self.sampling_labels))

    def update(self, batch: Batch) -> None:
        """See LocalObjective; a classifier has no memory to move."""


class SumOfObjectives:
    """Several losses at once; the first one says how batches are drawn and what counts as right."""

    def __init__(self, *parts: LocalObjective) -> None:
        self._parts = parts
        self.sampling_labels, self.shuffled = parts[0].sampling_labels, parts[0].shuffled
        self.needs_map = any(part.needs_map for part in parts)

    def loss(self, batch: Batch) -> torch.Tensor:
        """See LocalObjective."""
        return torch.stack([part.loss(batch) for part in self._parts]).sum()

    def correct(self, batch: Batch) -> torch.Tensor:
        """See LocalObjective."""
        return self._parts[0].correct(batch)

    def update(self, batch: Batch) -> None:
        """See LocalObjective."""
        for part in self._parts:
            part.update(batch)


StartEpoch = Callable[[EpochStart], LocalObjective]


def _sum_of(*parts: StartEpoch) -> StartEpoch:
    return lambda start: SumOfObjectives(*(part(start) for part in parts))


OBJECTIVES: dict[str, StartEpoch] = {
    "camera_proxies": camera_proxies,
    "clusters": clusters,
    "clusters_cameras": _sum_of(clusters, camera_proxies),
    "clusters_patches": _sum_of(clusters, PatchObjective),
    "clusters_cameras_patches": _sum_of(clusters, camera_proxies, PatchObjective),
    "repelled": repelled,
    "identity_classifier": IdentityObjective,
}
"""`method.local_loss` -> an epoch's objective."""
