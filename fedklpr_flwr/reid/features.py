"""Features of many pictures: how they are drawn from a network and how far they moved."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class FeatureTable:
    """One feature a picture, with the camera that took it.

    Attributes:
        features: (N,D) float32, rows of unit length.
        camera_ids: (N,) int64, counted from 0.
    """

    features: Tensor
    camera_ids: Tensor


def extract_features(network: nn.Module, batches: Iterable[Tensor]) -> Tensor:
    """Draw the features of all pictures, in their order, without training anything.

    Args:
        network: maps (B,3,H,W) to (B,D), such as `ReidNetwork`; used in evaluation mode and handed
            back in the mode it came in.
        batches: (B,3,H,W) float32 each.

    Returns:
        (N,D) float32, on the network's device; (0,0) where there is no batch.
    """
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        parts = []
        for batch in batches:
            with torch.inference_mode():
                parts.append(network(batch))
    finally:
        for module, mode in modes.items():
            module.training = mode
    # Joined outside the inference mode: a tensor made in it cannot take part in a loss later on.
    return torch.cat(parts) if parts else torch.empty(0, 0)


def feature_drift(before: Tensor, after: Tensor) -> float:
    """Measure how far features moved: the mean of 1 - cosine, 0 for none, 2 for a full turn.

    Args:
        before: (N,D) float32, rows of unit length.
        after: (N,D) float32, the same pictures' rows, of unit length.

    Returns:
        The drift, 0.0 where N = 0.

    Source: the distance of FedCAPR's aggregation weight (algorithm.md 5, CDW).
    """
    if len(before) == 0:
        return 0.0
    return float((1.0 - (before * after).sum(dim=1, dtype=torch.float64)).mean())
