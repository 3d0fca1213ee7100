"""What a camera does to all its pictures alike, taken out of their features."""

import warnings

import torch
from torch import Tensor
from torch.nn import functional

FEWEST = 10
"""Pictures of a camera from which on its own statistics are trusted."""

_ALIKE = 1e-4  # root of the summed variances of unit features below which all pictures are alike
_ZERO = 1e-12


def normalise_by_camera(features: Tensor, cameras: Tensor, kind: str) -> Tensor:
    """Take each camera's mean, or mean and spread, out of its pictures' features.

    `mean`: f <- f - mu_c. `zscore`: f <- (f - mu_c) / sigma_c, dimension by dimension. Then each
    row is scaled to unit length. A camera with fewer than FEWEST pictures goes by the statistics of
    all pictures; one whose pictures are all alike is left as it is, with a warning.

    Args:
        features: (N,D) float32, rows of unit length.
        cameras: (N,) int64.
        kind: none, mean or zscore.

    Returns:
        (N,D) float32, rows of unit length. `none`, and pictures of one camera, which cannot tell a
        camera from a person, come back as they are.

    Source: arXiv 2502.10195 for `zscore`.
    """
    seen = torch.unique(cameras).tolist()
    if kind == "none" or len(seen) < 2:
        return features
    normalised = features.clone()
    for camera in seen:
        own = torch.nonzero(cameras == camera).flatten().to(features.device)
        pictures = features[own]
        variance, mean = torch.var_mean(
            pictures if len(own) >= FEWEST else features, dim=0, correction=0
        )
        if float(variance.sum()) < _ALIKE**2:
            warnings.warn(
                f"all {len(own)} pictures of camera {camera} look the same to the network: their "
                "features are not normalised by camera; look at the pictures",
                stacklevel=2,
            )
            continue
        moved = pictures - mean
        if kind == "zscore":
            # Where a dimension never moves, the difference is 0 whatever it is divided by.
            moved = moved / variance.sqrt().clamp_min(_ZERO)
        normalised[own] = functional.normalize(moved, dim=1)
    return normalised
