"""Cluster-contrastive learning: one moving centroid a cluster, whatever camera took the picture."""

import torch
from torch import Tensor
from torch.nn import functional

from fedklpr_flwr.reid.device_copy import copied_to
from fedklpr_flwr.reid.memory_bank import moved_rows


class ClusterMemory:
    """A moving centroid for every cluster, and the loss that draws features to their own.

        L = CE( f . M / temperature, own cluster )
        M_y <- normalise( momentum M_y + (1 - momentum) f )

    With one camera it is the intra-camera term of CameraProxyMemory alone.

    Source: Dai et al., "Cluster contrast for unsupervised person re-identification", 2022, the
        parent of FedUCC's loss; its README commands have temperature 0.05 and momentum 0.1.
    """

    def __init__(
        self,
        centroids: Tensor,
        *,
        temperature: float = 0.05,
        momentum: float = 0.1,
        hardest: bool = False,
    ) -> None:
        """Start from given centroids.

        Args:
            centroids: (C,D) float32, rows of unit length, or zero for a cluster not seen yet.
            temperature: above 0.
            momentum: in [0,1], the share of the old centroid that an update keeps.
            hardest: of a cluster's pictures in a batch the one least similar to the centroid moves
                it, and no other ("cm hard"); False = every picture, one after the other.
        """
        self.centroids = centroids.detach().clone()
        self.temperature = temperature
        self.momentum = momentum
        self.hardest = hardest

    def loss(self, features: Tensor, clusters: Tensor) -> Tensor:
        """Compute the mean loss of a batch against the centroids as they now stand.

        Args:
            features: (B,D) float32, rows of unit length, B at least 1.
            clusters: (B,) int64, the pictures' own clusters, no outliers.

        Returns:
            A scalar >= 0; gradients flow to the features alone. 0 where there is one cluster.
        """
        return functional.cross_entropy(features @ self.centroids.T / self.temperature, clusters)

    def update(self, features: Tensor, clusters: Tensor) -> None:
        """Move each picture's centroid towards it; see `moved_rows`.

        Args:
            features: (B,D) float32, rows of unit length.
            clusters: (B,) int64, no outliers; on the host.
        """
        if self.hardest:
            features, clusters = self._hardest(features, clusters)
        self.centroids = moved_rows(self.centroids, features, clusters, self.momentum)

    def _hardest(self, features: Tensor, clusters: Tensor) -> tuple[Tensor, Tensor]:
        """Keep of each cluster the feature least similar to its centroid."""
        own = copied_to(clusters, features.device)
        similar = (features * self.centroids[own]).sum(dim=1).cpu()
        order = similar.argsort(stable=True)
        order = order[clusters[order].argsort(stable=True)]
        sizes = torch.unique_consecutive(clusters[order], return_counts=True)[1]
        chosen = order[sizes.cumsum(0) - sizes]
        return features[copied_to(chosen, features.device)], clusters[chosen]

    def nearest_correct(self, features: Tensor, clusters: Tensor) -> Tensor:
        """Count the pictures whose nearest centroid is their own: 0-d int64, 0 to B."""
        return ((features.detach() @ self.centroids.T).argmax(dim=1) == clusters).sum()
