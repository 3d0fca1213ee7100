"""Camera-aware contrastive learning: one proxy for every cluster as seen by every camera."""

import torch
from torch import Tensor
from torch.nn import functional

from fedklpr_flwr.reid.memory_bank import moved_rows

_ONLINE_FEATURE, _ONLINE_POSITIVES, _ONLINE_NEGATIVES, _ONLINE_TEMPERATURE = 0.15, 3, 50, 0.05
"""As published for O2CAP."""

_ROWS = 1024  # proxies compared with a camera's at once


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


def mutual_partners(centroids: Tensor, proxy_camera: Tensor) -> Tensor:
    """Find, for every proxy and camera, the proxy there that is mutually nearest to it.

    Two proxies of two cameras are partners where each is the other's most similar one of its
    camera: most likely one person, whatever the clusters say.

    Args:
        centroids: (P,D) float32, rows of unit length.
        proxy_camera: (P,) int64 from 0.

    Returns:
        (P,C) int64, C the cameras up to the largest number, -1 where there is no partner, as in a
        proxy's own camera. Of equally similar proxies the first counts.
    """
    count = int(proxy_camera.max()) + 1 if len(proxy_camera) else 0
    nearest = torch.full((len(proxy_camera), count), -1, device=centroids.device)
    for camera in torch.unique(proxy_camera).tolist():
        there = torch.nonzero(proxy_camera == camera).flatten()
        for start in range(0, len(centroids), _ROWS):
            block = slice(start, start + _ROWS)
            best = (centroids[block] @ centroids[there].T).argmax(dim=1)
            nearest[block, camera] = there[best]
    itself = torch.arange(len(centroids), device=centroids.device)[:, None]
    # Nearest of all from there to this proxy's camera: is it this proxy?
    back = nearest[nearest.clamp_min(0), proxy_camera[:, None]]
    elsewhere = torch.arange(count, device=centroids.device) != proxy_camera[:, None]
    return torch.where((nearest >= 0) & (back == itself) & elsewhere, nearest, -1)


class CameraProxyMemory:
    """A moving centroid for every proxy, and the loss that draws features to their own.

    L = sum over the cameras c of the batch of [w_intra L_intra(c) + w_inter L_inter(c)], both means
    over the batch's pictures of c, with s = f . M / temperature and M the centroids:

    - L_intra = CE of s among the proxies of camera c, the picture's own being right.
    - L_inter = -mean over p in P of log(exp s_p / sum over P and Q of exp s), with P all proxies of
      the picture's cluster and Q the most similar proxies of other clusters: of any camera; of the
      picture's own; or of any, but for its proxy's partners (see `mutual_partners`). While a person
      is one cluster a camera, Q of any camera pushes the person's own pictures apart.
    - With `online_weight`, L_online of O2CAP, see `_online`.

    Source: Wang et al., "Camera-aware proxies", 2021, with FedCAPR's weights; L_online of Wang et
        al., "Offline-online associated camera-aware proxies", 2022, here among partners alone.
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
        negatives: str = "any",
        partners: Tensor | None = None,
        online_weight: float = 0.0,
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
            negatives: which proxies of other clusters may be in Q: any, own_camera, or auto, that
                is any but partners.
            partners: (P,C) int64, of `mutual_partners`; needed for auto and online_weight.
            online_weight: 0 leaves L_online out.
        """
        self.centroids = centroids.detach().clone()
        self.proxy_cluster = proxy_cluster.to(centroids.device)
        self.proxy_camera = proxy_camera.to(centroids.device)
        self.temperature = temperature
        self.momentum = momentum
        self.intra_weight = intra_weight
        self.inter_weight = inter_weight
        self.hard_negatives = hard_negatives
        self.negatives, self.online_weight = negatives, online_weight
        self.partners = torch.empty(len(centroids), 0) if partners is None else partners

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
        each = each + self.inter_weight * self._inter(scores, proxies, cameras)
        if self.online_weight:
            each = each + self.online_weight * self._online(features, proxies)
        # Every camera counts the same, however many of the batch's pictures are its own.
        of_same_camera = (cameras[:, None] == cameras[None, :]).sum(dim=1)
        return (each / of_same_camera).sum()

    def _intra(self, scores: Tensor, proxies: Tensor, cameras: Tensor) -> Tensor:
        """Cross-entropy of each picture among the proxies of its camera: (B,)."""
        elsewhere = self.proxy_camera[None, :] != cameras[:, None]
        within = scores.masked_fill(elsewhere, -torch.inf)
        return functional.cross_entropy(within, proxies, reduction="none")

    def _inter(self, scores: Tensor, proxies: Tensor, cameras: Tensor) -> Tensor:
        """Mean negative log share of each picture's positives, against hard negatives: (B,)."""
        positive = self.proxy_cluster[None, :] == self.proxy_cluster[proxies][:, None]
        hardest = min(self.hard_negatives, scores.shape[1])
        spared = positive
        if self.negatives == "own_camera":
            spared = positive | (self.proxy_camera[None, :] != cameras[:, None])
        elif self.negatives == "auto":
            spared = positive | self._is_partner(proxies)
        # Where other clusters have fewer, the list ends in -inf, which adds nothing to the sum.
        negatives = scores.masked_fill(spared, -torch.inf).topk(hardest, dim=1).values
        positives = scores.masked_fill(~positive, -torch.inf)
        total = torch.cat([positives, negatives], dim=1).logsumexp(dim=1)
        mean_positive = scores.masked_fill(~positive, 0).sum(dim=1) / positive.sum(dim=1)
        return total - mean_positive

    def _online(self, features: Tensor, proxies: Tensor) -> Tensor:
        """Draw each picture to its proxy and that proxy's nearest partners: (B,).

        -mean over p in P of log(exp s_p / sum over P and Q of exp s), s = f . M / 0.05. By
        0.15 f . M + 0.85 M_own . M, P is the best three of the own proxy and its partners, Q
        the best fifty of all others. A picture whose proxy has no partner adds 0.
        """
        own = functional.one_hot(proxies, len(self.centroids)).bool()
        among = own | self._is_partner(proxies)
        scores = features @ self.centroids.T
        with torch.no_grad():
            mixed = torch.lerp(self.centroids[proxies] @ self.centroids.T, scores, _ONLINE_FEATURE)
            best = mixed.masked_fill(~among, -torch.inf).masked_fill(own, torch.inf)
            values, chosen = best.topk(min(_ONLINE_POSITIVES, best.shape[1]), dim=1)
            positive = torch.zeros_like(own).scatter_(1, chosen, values > -torch.inf)
            rest = mixed.masked_fill(among, -torch.inf)
            values, chosen = rest.topk(min(_ONLINE_NEGATIVES, rest.shape[1]), dim=1)
            counted = positive.scatter(1, chosen, values > -torch.inf) | positive
        shares = (scores / _ONLINE_TEMPERATURE).masked_fill(~counted, -torch.inf).log_softmax(dim=1)
        each = -shares.masked_fill(~positive, 0).sum(dim=1) / positive.sum(dim=1)
        return each * (positive.sum(dim=1) > 1)

    def _is_partner(self, proxies: Tensor) -> Tensor:
        """Mark the partners of each picture's own proxy: (B,P) bool."""
        partners = self.partners[proxies]
        marked = torch.zeros(
            len(proxies), len(self.centroids) + 1, dtype=torch.bool, device=proxies.device
        )
        return marked.scatter_(1, partners + 1, True)[:, 1:]  # -1, nobody, is the column cut off

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
