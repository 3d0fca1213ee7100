"""Patch-level learning: the picture in horizontal stripes, a memory of clusters for each stripe."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

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
    with _map_after(_last_stage(network)) as maps:
        features: Tensor = network(images)
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


def centred(stripes: Tensor) -> Tensor:
    """Centre and scale each dimension over all pictures, then each row to unit length.

    Behind a ReLU all stripes lie in one corner of the space, as if all people were alike.

    Args:
        stripes: (N,D) float32.

    Returns:
        (N,D) float32.
    """
    return _unit(stripes, *_spread(stripes)) if len(stripes) else stripes


class WithStripes(nn.Module):
    """A network that hands out, behind each feature, the stripes of its last stage but one.

    A network trained on one set of pictures, or on none of these, has learnt in its last stage what
    those people looked like; what it sees before that, and at what height, holds for others too.

    Attributes:
        network: whose pictures it sees; the modes of the one are those of the other.
        stripes: S.

    Source: features of a middle layer are the more general ones (Yosinski et al., "How transferable
        are features in deep neural networks?", 2014); stripes are PCB's (Sun et al., 2018).
    """

    def __init__(self, network: ReidNetwork, stripes: int = 8) -> None:
        super().__init__()
        self.network, self.stripes = network, stripes

    def forward(self, images: Tensor) -> Tensor:
        """Map (B,3,H,W) float32 to (B,D+S*C) float32: a feature, then its stripes, each unit."""
        with _map_after(_middle_stage(self.network)) as maps:
            features: Tensor = self.network(images)
        stripes = stripe_means(maps[0].float(), self.stripes).flatten(1)
        return torch.cat([features, functional.normalize(stripes, dim=1)], dim=1)


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
        self._mean, self._deviation = _spread(table[labels >= 0])
        unit = _unit(table, self._mean, self._deviation)
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
        unit = _unit(stripes, self._mean, self._deviation)
        losses = [memory.loss(unit[:, i], clusters) for i, memory in enumerate(self.memories)]
        return torch.stack(losses).mean()

    def update(self, stripes: Tensor, clusters: Tensor) -> None:
        """Move every stripe's centroids towards the batch's stripes."""
        unit = _unit(stripes.detach(), self._mean, self._deviation)
        for i, memory in enumerate(self.memories):
            memory.update(unit[:, i], clusters)


def _spread(stripes: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and the deviation over the first axis, the latter never nearly 0."""
    deviation = stripes.std(dim=0, correction=0).clamp(min=_SMALLEST_DEVIATION)
    return stripes.mean(dim=0), deviation


def _unit(stripes: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    return functional.normalize((stripes - mean) / deviation, dim=-1)


@contextmanager
def _map_after(stage: nn.Module) -> Iterator[list[Tensor]]:
    """The maps that a stage puts out meanwhile, one for each pass."""
    maps: list[Tensor] = []
    handle = stage.register_forward_hook(lambda module, given, made: maps.append(made))
    try:
        yield maps
    finally:
        handle.remove()


def _last_stage(network: ReidNetwork) -> nn.Module:
    """The module whose output is pooled: layer4 of a ResNet, features of a MobileNetV2."""
    stages = dict(network.backbone.named_children())
    return stages["layer4"] if "layer4" in stages else stages["features"]


def _middle_stage(network: ReidNetwork) -> nn.Module:
    """The module before the last strided stage: layer3, or a MobileNetV2's last of 96 channels."""
    backbone = network.backbone
    name = "layer3" if "layer3" in dict(backbone.named_children()) else "features.13"
    return backbone.get_submodule(name)
