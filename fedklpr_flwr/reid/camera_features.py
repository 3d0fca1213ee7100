"""What a camera does to all its pictures alike, taken out of their features."""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

FEWEST = 10
"""Pictures of a camera from which on its own statistics are trusted."""

UNKNOWN = -1
"""The camera of pictures whose camera nobody tells."""

_ALIKE = 1e-4  # root of the summed variances of unit features below which all pictures are alike
_ZERO = 1e-12


@dataclass(frozen=True)
class CameraLooks:
    """What is taken out of pictures' features, camera by camera.

    Attributes:
        every: mean (D,) and divisor (D,) of all pictures, for cameras that have none of their own;
            None changes nothing.
        own: the same of each camera; None = its pictures are left as they are.
    """

    every: tuple[Tensor, Tensor] | None
    own: dict[int, tuple[Tensor, Tensor] | None]

    def taken_out(self, features: Tensor, cameras: Tensor) -> Tensor:
        """Normalise pictures by their cameras: f <- (f - mean) / divisor, then to unit length.

        Args:
            features: (N,D) float32, rows of unit length.
            cameras: (N,) int64.

        Returns:
            (N,D) float32, rows of unit length.
        """
        normalised = features.clone()
        for camera in torch.unique(cameras).tolist():
            look = self.own.get(camera, self.every)
            if look is not None:
                own = torch.nonzero(cameras == camera).flatten().to(features.device)
                mean, divisor = look
                normalised[own] = functional.normalize((features[own] - mean) / divisor, dim=1)
        return normalised


def camera_looks(features: Tensor, cameras: Tensor, kind: str) -> CameraLooks:
    """Measure each camera's mean, or mean and spread, over its pictures.

    Args:
        features: (N,D) float32, rows of unit length.
        cameras: (N,) int64, UNKNOWN where nobody tells.
        kind: none, mean or zscore; `mean` divides by 1.

    Returns:
        The looks. A camera with fewer than FEWEST pictures goes by all pictures' statistics; one
        whose pictures are all alike is left as it is, with a warning. `none`, and pictures of one
        camera, which cannot tell a camera from a person, change nothing.
    """
    known = [camera for camera in torch.unique(cameras).tolist() if camera != UNKNOWN]
    if kind == "none" or len(known) < 2:
        return CameraLooks(None, {})
    own: dict[int, tuple[Tensor, Tensor] | None] = {}
    for camera in known:
        pictures = features[(cameras == camera).to(features.device)]
        if len(pictures) < FEWEST:
            continue
        own[camera] = _look(pictures, kind)
        if own[camera] is None:
            warnings.warn(
                f"all {len(pictures)} pictures of camera {camera} look the same to the network: "
                "their features are not normalised by camera; look at the pictures",
                stacklevel=2,
            )
    return CameraLooks(_look(features, kind), own)


def normalise_by_camera(features: Tensor, cameras: Tensor, kind: str) -> Tensor:
    """Take each camera's look out of its own pictures; see `camera_looks`.

    `mean`: f <- f - mu_c. `zscore`: f <- (f - mu_c) / sigma_c, dimension by dimension. Then each
    row is scaled to unit length.

    Args:
        features: (N,D) float32, rows of unit length.
        cameras: (N,) int64.
        kind: none, mean or zscore.

    Returns:
        (N,D) float32, rows of unit length; the features themselves where nothing is taken out.

    Source: arXiv 2502.10195 for `zscore`.
    """
    looks = camera_looks(features, cameras, kind)
    return looks.taken_out(features, cameras) if looks.own or looks.every else features


def _look(pictures: Tensor, kind: str) -> tuple[Tensor, Tensor] | None:
    """The mean and the divisor of pictures; None where they are all alike."""
    variance, mean = torch.var_mean(pictures, dim=0, correction=0)
    if float(variance.sum()) < _ALIKE**2:
        return None
    # Where a dimension never moves, the difference is 0 whatever it is divided by.
    return mean, variance.sqrt().clamp_min(_ZERO) if kind == "zscore" else torch.ones_like(mean)
