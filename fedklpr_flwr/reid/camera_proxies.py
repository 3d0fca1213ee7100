"""Camera-aware contrastive learning: one proxy for every cluster as seen by every camera."""

import torch
from torch import Tensor
from torch.nn import functional

from fedklpr_flwr.reid.memory_bank import moved_rows


def assign_proxies(labels: Tensor, cameras: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Give one proxy to every pair of a cluster and a camera that occurs.

    Args:
        labels: (N,) int64, clusters from 0, -1 for outliers.
        cameras: (N,) int64 from 0.

    Returns:
        proxy_of_image: (N,) int64, -1 for outliers.
        proxy_cluster: (P,) int64, the cluster of each proxy, ascending.
        proxy_camera: (P,) int64, its camera, ascending within a cluster.
    """
    kept = labels != -1
    proxy_of_image = torch.full_like(labels, -1)
    pairs, proxies = torch.unique(
        torch.stack([labels[kept], cameras[kept]], dim=1), dim=0, return_inverse=True
    )
    proxy_of_image[kept] = proxies
    return proxy_of_image, pairs[:, 0], pairs[:, 1]


def proxy_centroids(features: Tensor, proxy_of_image: Tensor, proxies: int) -> Tensor:
    """Average the features of every proxy's pictures and scale the mean to unit length.

    Args:
        features: (N,D) float32, rows of unit length.
        proxy_of_image: (N,) int64, -1 for outliers, which count nowhere.
        proxies: P, how many proxies there are.

    Returns:
        (P,D) float32, rows of unit length; a proxy without a picture is a row of zeros.
    """
    kept = proxy_of_image != -1
    sums = features.new_zeros(proxies, features.shape[1])
    sums.index_add_(0, proxy_of_image[kept], features[kept])
    return functional.normalize(sums, dim=1)  # the mean's length does not matter


class CameraProxyMemory:
    """A moving centroid for every proxy, and the loss that draws features to their own.

    L = sum over the cameras c of the batch of [w_intra L_intra(c) + w_inter L_inter(c)], both means
    over the batch's pictures of c, with s = f . M / temperature and M the centroids:

    - L_intra = CE of s among the proxies of camera c, the picture's own being right.
    - L_inter = -mean over p in P of log(exp s_p / sum over P and Q of exp s), with P all proxies of
      the picture's cluster and Q the most similar proxies of other clusters.

    Source: Wang et al., "Camera-aware proxies", 2021, with FedCAPR's weights.
    """

    def __init__(
        self,
        centroids: Tensor,
        proxy_cluster: Tensor,
        proxy_camera: Tensor,
        *,
        temperature: float = 0.07,
        momentum: float = 0.2,
        intra_weight: float = 0.6,
        inter_weight: float = 0.7,
        hard_negatives: int = 50,
    ) -> None:
        """Start from given centroids.

        Args:
            centroids: (P,D) float32, rows of unit length, P at least 1.
            proxy_cluster: (P,) int64.
            proxy_camera: (P,) int64.
            temperature: beta, above 0.
            momentum: alpha in [0,1], the share of the old centroid that an update keeps.
            intra_weight: 0 leaves L_intra out.
            inter_weight: 0 leaves L_inter out.
            hard_negatives: the size of Q; where fewer proxies are of other clusters, all of them.
        """
        self.centroids = centroids.detach().clone()
        self.proxy_cluster = proxy_cluster.to(centroids.device)
        self.proxy_camera = proxy_camera.to(centroids.device)
        self.temperature = temperature
        self.momentum = momentum
        self.intra_weight = intra_weight
        self.inter_weight = inter_weight
        self.hard_negatives = hard_negatives

    def loss(self, features: Tensor, proxies: Tensor) -> Tensor:
        """Compute the camera-aware loss of a batch against the centroids as they now stand.

        Args:
            features: (B,D) float32, rows of unit length, B at least 1.
            proxies: (B,) int64, the pictures' own proxies, no outliers.

        Returns:
            A scalar; gradients flow to the features alone.
        """
        scores = features @ self.centroids.T / self.temperature
        cameras = self.proxy_camera[proxies]
        each = self.intra_weight * self._intra(scores, proxies, cameras)
        each = each + self.inter_weight * self._inter(scores, proxies)
        # Every camera counts the same, however many of the batch's pictures are its own.
        of_same_camera = (cameras[:, None] == cameras[None, :]).sum(dim=1)
        return (each / of_same_camera).sum()

    def _intra(self, scores: Tensor, proxies: Tensor, cameras: Tensor) -> Tensor:
        """Cross-entropy of each picture among the proxies of its camera: (B,)."""
        elsewhere = self.proxy_camera[None, :] != cameras[:, None]
        within = scores.masked_fill(elsewhere, -torch.inf)
        return functional.cross_entropy(within, proxies, reduction="none")

    def _inter(self, scores: Tensor, proxies: Tensor) -> Tensor:
        """Mean negative log share of each picture's positives, against hard negatives: (B,)."""
        positive = self.proxy_cluster[None, :] == self.proxy_cluster[proxies][:, None]
        hardest = min(self.hard_negatives, scores.shape[1])
        # Where other clusters have fewer, the list ends in -inf, which adds nothing to the sum.
        negatives = scores.masked_fill(positive, -torch.inf).topk(hardest, dim=1).values
        positives = scores.masked_fill(~positive, -torch.inf)
        total = torch.cat([positives, negatives], dim=1).logsumexp(dim=1)
        mean_positive = scores.masked_fill(~positive, 0).sum(dim=1) / positive.sum(dim=1)
        return total - mean_positive

    def update(self, features: Tensor, proxies: Tensor) -> None:
        """Move each picture's centroid towards it, one picture after the other; see `moved_rows`.

        May come before or after the backward pass of `loss`: the centroids are replaced, not
        written over.

        Args:
            features: (B,D) float32, rows of unit length.
            proxies: (B,) int64, no outliers; on the host.
        """
        self.centroids = moved_rows(self.centroids, features, proxies, self.momentum)

    @torch.no_grad()
    def nearest_correct(self, features: Tensor, proxies: Tensor) -> Tensor:
        """Count the pictures whose nearest of all proxies, of any camera, is their own.

        Args:
            features: (B,D) float32, rows of unit length.
            proxies: (B,) int64.

        Returns:
            0-d int64, 0 to B, where the features are; over an epoch's pictures it is the training
            accuracy that CRR goes by.
        """
        return ((features @ self.centroids.T).argmax(dim=1) == proxies).sum()
