"""The Jaccard distance with neighbours found apart: within the own camera and in the others."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedklpr_flwr.errors import SettingsError
from fedklpr_flwr.reid.close_pairs import pairs_within
from fedklpr_flwr.reid.jaccard import mass_over
from fedklpr_flwr.reid.neighbours import nearest_elsewhere, nearest_neighbours

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Indices = NDArray[np.int64]
Lists = list[tuple[Indices, Indices]]
"""Of each camera: its pictures (M,), and the neighbours (M,k) of each, nearest first."""


@dataclass(frozen=True)
class CameraNeighbours:
    """How many neighbours are looked at within a picture's camera, and in the others.

    Attributes:
        k1_within: among which reciprocity is asked within the camera, beside the picture itself.
        k1_across: among which it is asked in all other cameras together.
        k2_within: over which masses are averaged within the camera, the picture itself included.
        k2_across: over which they are averaged in the other cameras; 0 = over none.

    Published: 5 and 20, 2 and 4.
    """

    k1_within: int = 5
    k1_across: int = 20
    k2_within: int = 2
    k2_across: int = 4

    def for_few(self, within: float, across: float) -> "CameraNeighbours":
        """Ask for no more neighbours than a person has pictures.

        Args:
            within: pictures a person has in one camera, on average.
            across: pictures a person has in all other cameras, on average.

        Returns:
            Each number cut to the pictures there are (rounded, at least 1).
        """
        most_within, most_across = max(1, round(within)), max(1, round(across))
        return CameraNeighbours(
            min(self.k1_within, most_within - 1),
            min(self.k1_across, most_across),
            min(self.k2_within, most_within),
            min(self.k2_across, most_across),
        )


def camera_jaccard_within(
    features: Tensor, cameras: Tensor, neighbours: CameraNeighbours, *, eps: float
) -> "csr_matrix":
    """Compute the camera-aware Jaccard distances that are at most eps, and no others.

    d(i,j) = 1 - sum_g min(V_ig, V_jg) / sum_g max(V_ig, V_jg). Row V_i spreads a mass of one over
    the pictures that are mutual neighbours of i, within its camera (k1_within) or across cameras
    (k1_across), by exp(-squared distance); it is then averaged over the k2_within nearest of its
    camera and the k2_across nearest of the others. Whatever a camera does to its features, every
    picture so has neighbours in other cameras. Memory grows as N k and with the pairs found.

    Args:
        features: (N,D) float32, rows of unit length, finite.
        cameras: (N,) int64, on the host.
        neighbours: how many are looked at.
        eps: largest distance kept, in [0,1).

    Returns:
        (N,N) float32 CSR, symmetric, as `jaccard_within` returns it. In one camera's pictures
        there is nobody across, and neighbours within alone are left.

    Raises:
        SettingsError: eps, or a number of neighbours, is out of its range.
        FedKlprError: so many pairs are within eps that the features must have collapsed.

    Source: Chen et al., "CA-Jaccard: Camera-aware Jaccard distance for person re-identification",
        2024. Its code takes one more across, 21 for 20.
    """
    from scipy.sparse import csr_matrix

    if not 0 <= eps < 1:
        raise SettingsError(f"eps, the largest Jaccard distance, must be in [0,1); got {eps}")
    if neighbours.k1_within < 0 or min(neighbours.k1_across, neighbours.k2_within) < 1:
        raise SettingsError(
            f"expected neighbours by camera of at least 0, 1, 1 and 0: {neighbours}"
        )
    count = len(features)
    if count == 0:
        return csr_matrix((0, 0), dtype=np.float32)
    within, across = _lists(features, cameras, neighbours)
    mutual = [
        _mutual(_matrix(_first(lists, k), count))
        for lists, k in ((within, neighbours.k1_within + 1), (across, neighbours.k1_across))
    ]
    mass = mass_over(features.cpu(), (mutual[0] + mutual[1]).tocsr())
    if neighbours.k2_within > 1 or neighbours.k2_across > 0:
        near = _first(within, neighbours.k2_within), _first(across, neighbours.k2_across)
        close = _matrix(near[0] + near[1], count)
        sizes = np.diff(close.indptr)
        close.data /= np.repeat(sizes, sizes)
        mass = close @ mass
    return pairs_within(mass, eps)


def _lists(features: Tensor, cameras: Tensor, neighbours: CameraNeighbours) -> tuple[Lists, Lists]:
    """Find the neighbours of each camera's pictures, within it and in the others."""
    within, across = [], []
    most_within = max(neighbours.k1_within + 1, neighbours.k2_within)
    most_across = max(neighbours.k1_across, neighbours.k2_across)
    for camera in torch.unique(cameras):
        own, others = torch.nonzero(cameras == camera), torch.nonzero(cameras != camera)
        own, others = own.flatten(), others.flatten()
        pictures = features[own.to(features.device)]
        near = own[nearest_neighbours(pictures, most_within)]
        far = others[nearest_elsewhere(pictures, features[others.to(features.device)], most_across)]
        within.append((own.numpy(), near.numpy()))
        across.append((own.numpy(), far.numpy()))
    return within, across


def _first(lists: Lists, k: int) -> Lists:
    """Keep the k nearest."""
    return [(own, near[:, :k]) for own, near in lists]


def _matrix(lists: Lists, count: int) -> "csr_matrix":
    """Make the (N,N) matrix that is 1 at each picture's listed neighbours."""
    from scipy.sparse import csr_matrix

    rows = np.concatenate([np.repeat(own, near.shape[1]) for own, near in lists])
    columns = np.concatenate([near.ravel() for _, near in lists])
    return csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(count, count))


def _mutual(listed: "csr_matrix") -> "csr_matrix":
    """Keep the neighbours whose own list holds the row in turn."""
    return listed.multiply(listed.T).tocsr()
