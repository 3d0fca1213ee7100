"""Which pictures a model still places with their own people, by the centroid of the others."""

import torch
from torch import Tensor
from torch.nn import functional

_CHUNK = 1024  # pictures at once


def right_by_centroid(features: Tensor, labels: Tensor) -> Tensor:
    """Says of each picture whether its own cluster's centroid is the nearest of all.

    The picture itself is left out of its own centroid: with it, nearly every picture is nearest to
    what was just made of it, and the share of right ones says nothing.

    Args:
        features: (N,D) float, unit rows.
        labels: (N,) int64, clusters; -1 = none.

    Returns:
        (N,) bool; False for pictures without a label or alone in their cluster.
    """
    right = torch.zeros(len(labels), dtype=torch.bool)
    judged = comparable(labels).nonzero().ravel()
    if not len(judged):
        return right
    features = features.detach().cpu().float()
    held = labels >= 0
    count = int(labels.max()) + 1
    sums = torch.zeros(count, features.shape[1]).index_add_(0, labels[held], features[held])
    centroids = functional.normalize(sums, dim=1)
    for part in torch.split(judged, _CHUNK):
        own, rows = labels[part], features[part]
        similarity = rows @ centroids.T
        others = functional.normalize(sums[own] - rows, dim=1)
        similarity[torch.arange(len(part)), own] = -torch.inf
        right[part] = (rows * others).sum(dim=1) >= similarity.max(dim=1).values
    return right


def comparable(labels: Tensor) -> Tensor:
    """Says which pictures can be judged: those that share their cluster with another one.

    Args:
        labels: (N,) int64, clusters; -1 = none.

    Returns:
        (N,) bool.
    """
    held = labels >= 0
    if not held.any():
        return held
    sizes = torch.bincount(labels[held])
    return held & (sizes[labels.clamp(min=0)] > 1)
