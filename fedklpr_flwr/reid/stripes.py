"""Patch-level learning: the picture in horizontal stripes, a memory of clusters for each stripe."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedklpr_flwr.reid.camera_proxies import proxy_centroids
from fedklpr_flwr.reid.cluster_memory import ClusterMemory
from fedklpr_flwr.reid.network import ReidNetwork

_SMALLEST_DEVIATION = 1e-4


def features_and_map(network: ReidNetwork, images: Tensor) -> tuple[Tensor, Tensor]:
    """Map pictures to features, and hand out the last feature map on the way, in one pass.

    Args:
        network: used in the mode it is in.
        images: (B,3,H,W) float32.

    Returns:
        (B,D) unit features as `network(images)` gives, and the map (B,C,h,w) before pooling, both
        float32.
    """
    maps: list[Tensor] = []
    stage = _last_stage(network)
    handle = stage.register_forward_hook(lambda module, given, made: maps.append(made))
    try:
        features: Tensor = network(images)
    finally:
        handle.remove()
    return features, maps[0].float()


def stripe_means(feature_map: Tensor, stripes: int) -> Tensor:
    """Average a feature map over horizontal stripes of equal height.

    Args:
        feature_map: (B,C,h,w).
        stripes: S >= 1; with more stripes than rows, neighbours share rows.

    Returns:
        (B,S,C), from top to bottom; S = 1 is the global average pooling.
    """
    return functional.adaptive_avg_pool2d(feature_map, (stripes, 1)).squeeze(3).transpose(1, 2)


def extract_stripes(network: ReidNetwork, batches: Iterable[Tensor], stripes: int) -> Tensor:
    """Draw the stripes' means of all pictures, in their order, in evaluation mode.

    Args:
        network: handed back in the mode it came in.
        batches: (B,3,H,W) float32 each, at least one.
        stripes: S.

    Returns:
        (N,S,C) float32.
    """
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.no_grad():
            parts = [stripe_means(features_and_map(network, b)[1], stripes) for b in batches]
    finally:
        for module, mode in modes.items():
            module.training = mode
    return torch.cat(parts)


class PatchMemory:
    """One cluster memory for each stripe; the loss is the mean over the stripes.

    A stripe's mean comes after a ReLU, so all of them lie in one corner of the space. As the neck
    does for whole pictures, each dimension is centred and scaled, by the mean and deviation that
    it had over the training set when the epoch began; then the row is brought to unit length.

    Source: FedUCC's third stage, "patch knowledge" (abstract); three stripes with their own
        memories, and the centring, are this project's reading.
    """

    def __init__(
        self, table: Tensor, labels: Tensor, clusters: int, *, temperature: float, momentum: float
    ) -> None:
        """Start from the centroids of a labelled set.

        Args:
            table: (N,S,C) float32, `extract_stripes` of all pictures.
            labels: (N,) int64, clusters from 0, -1 for outliers, which count nowhere.
            clusters: how many there are.
            temperature: see ClusterMemory.
            momentum: see ClusterMemory.
        """
        known = table[labels >= 0]
        self._mean = known.mean(dim=0)
        self._deviation = known.std(dim=0, correction=0).clamp(min=_SMALLEST_DEVIATION)
        unit = self._unit(table)
        self.memories = [
            ClusterMemory(
                proxy_centroids(unit[:, stripe], labels, clusters),
                temperature=temperature,
                momentum=momentum,
            )
            for stripe in range(table.shape[1])
        ]

    def loss(self, stripes: Tensor, clusters: Tensor) -> Tensor:
        """Compute the mean of the stripes' cluster-contrastive losses.

        Args:
            stripes: (B,S,C), `stripe_means` of a batch; the gradient flows here.
            clusters: (B,) int64, no outliers.
        """
        unit = self._unit(stripes)
        losses = [memory.loss(unit[:, i], clusters) for i, memory in enumerate(self.memories)]
        return torch.stack(losses).mean()

    def update(self, stripes: Tensor, clusters: Tensor) -> None:
        """Move every stripe's centroids towards the batch's stripes."""
        unit = self._unit(stripes.detach())
        for i, memory in enumerate(self.memories):
            memory.update(unit[:, i], clusters)

    def _unit(self, stripes: Tensor) -> Tensor:
        return functional.normalize((stripes - self._mean) / self._deviation, dim=2)


def _last_stage(network: ReidNetwork) -> nn.Module:
    """The module whose output is pooled: layer4 of a ResNet, features of a MobileNetV2."""
    stages = dict(network.backbone.named_children())
    return stages["layer4"] if "layer4" in stages else stages["features"]
