"""Whose picture is whose, by clustering or by name; -1 is an outlier."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedklpr_flwr.errors import FedKlprError, SettingsError
from fedklpr_flwr.reid.camera_jaccard import CameraNeighbours, camera_jaccard_within
from fedklpr_flwr.reid.jaccard import jaccard_within
from fedklpr_flwr.reid.track_clusters import Tracks, constrained_labels, track_units

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@dataclass(frozen=True)
class PseudoLabels:
    """One label a picture.

    Attributes:
        labels: (N,) int64, 0 to clusters - 1, or -1 for an outlier. No label is unused.
        clusters: how many labels there are.
        outliers: how many pictures have none.
    """

    labels: Tensor
    clusters: int
    outliers: int


def cluster_people(
    features: Tensor,
    *,
    k1: int,
    k2: int,
    eps: float,
    min_samples: int,
    copies: int = 1,
    jaccard: Literal["distinct", "copies"] = "distinct",
    cameras: Tensor | None = None,
    by_camera: CameraNeighbours | None = None,
    share: float | None = None,
) -> PseudoLabels:
    """Cluster pictures by DBSCAN on the k-reciprocal, or the camera-aware, Jaccard distance.

    Args:
        features: (N,D) float32, rows of unit length, finite.
        k1: neighbours among which reciprocity is asked, the picture itself included; at least 1.
        k2: neighbours over which the neighbourhoods are averaged; at least 1, which averages none.
        eps: largest Jaccard distance between neighbours, in [0,1).
        min_samples: pictures within eps, itself included, that make a picture a core; at least 1.
        copies: how often every picture is counted (FedCAPR's IDE); at least 1. From min_samples
            copies on, every picture is a core and none is an outlier.
        jaccard: with several copies, `distinct` measures distances between the pictures and lets
            each count `copies` times in DBSCAN; `copies` really repeats every picture, so that
            copies take up the k1 neighbours, and gives it the label that most of its copies got.
        cameras: (N,) int64, asked for with by_camera alone.
        by_camera: neighbours found apart within and across cameras, in place of k1 and k2; None,
            and pictures of one camera, take k1 and k2.
        share: how many of the pictures should be cores, in (0,1]: where more would be, eps becomes
            smaller, see `radius_for`. None = eps as it is.

    Returns:
        The labels, clusters numbered by their first core picture. No picture: no label.

    Raises:
        FedKlprError: a feature is not finite.
        SettingsError: a number is out of its range.

    Source: Ester et al. 1996; settings and copies as in FedCAPR.
    """
    _check_ranges(k1=k1, k2=k2, min_samples=min_samples, copies=copies)
    _check_finite(features)
    repeats = copies if jaccard == "copies" else 1
    weight = copies // repeats
    pictures = features if repeats == 1 else features.repeat_interleave(repeats, dim=0)
    repeated = None if cameras is None else cameras.repeat_interleave(repeats)
    near = _near(pictures, repeated, by_camera, k1=k1, k2=k2, eps=eps)
    if share is not None:
        near = _up_to(near, radius_for(near, share, weight=weight, min_samples=min_samples))
    labels = _density_labels(near, weight=weight, min_samples=min_samples)
    return _contiguous(_most_frequent(labels.reshape(len(features), repeats)))


def cluster_tracks(
    features: Tensor,
    cameras: Tensor,
    tracks: Tracks,
    *,
    k1: int,
    k2: int,
    eps: float,
    min_samples: int,
    copies: int = 1,
    by_camera: CameraNeighbours | None = None,
) -> PseudoLabels:
    """Cluster as `cluster_people`, where a tracker has told which pictures are of one person.

    A track is matched by the mean of its features, counts for as many pictures as it has, and is
    never split. Two tracks that one camera sees at the same time never get one label.

    Args:
        features: (N,D) float32, rows of unit length, finite.
        cameras: (N,) int64.
        tracks: who was followed; pictures without a track stand for themselves.
        k1: see `cluster_people`, as the rest; neighbours are tracks.
        k2: tracks over which the neighbourhoods are averaged.
        eps: largest Jaccard distance between neighbours, in [0,1).
        min_samples: pictures within eps that make a core.
        copies: how often every picture is counted.
        by_camera: neighbours found apart within and across cameras.

    Returns:
        One label a picture, clusters numbered by their first picture.

    Raises:
        FedKlprError: a feature is not finite.
        SettingsError: a number is out of its range.
    """
    _check_ranges(k1=k1, k2=k2, min_samples=min_samples, copies=copies)
    _check_finite(features)
    units = track_units(features, cameras, tracks)
    near = _near(units.features, units.cameras, by_camera, k1=k1, k2=k2, eps=eps)
    weights = (units.sizes * copies).numpy()
    labels = constrained_labels(near, weights, min_samples, units.seen)
    return _contiguous(labels[units.of_picture.numpy()])


def _near(
    features: Tensor,
    cameras: Tensor | None,
    by_camera: CameraNeighbours | None,
    *,
    k1: int,
    k2: int,
    eps: float,
) -> "csr_matrix":
    """Measure the distances up to eps, by camera where there are two and it is asked for."""
    if by_camera is None or cameras is None or len(torch.unique(cameras)) < 2:
        return jaccard_within(features, k1=k1, k2=k2, eps=eps)
    return camera_jaccard_within(features, cameras, by_camera, eps=eps)


def radius_for(near: "csr_matrix", share: float, *, weight: int, min_samples: int) -> float:
    """Find the smallest radius at which a share of the pictures are cores with a neighbour.

    One number suits no two sites: how far a person's pictures lie apart depends on cameras,
    pictures a person and the network. Distances themselves tell. A picture becomes a core at the
    distance of the neighbour that completes its min_samples (the nearest, where copies would do).

    Args:
        near: (N,N) CSR, the distances up to the largest radius wanted, each row with its own 0.
        share: in (0,1].
        weight: how often every picture counts.
        min_samples: what makes a core, the picture itself counted.

    Returns:
        The radius; infinity where fewer pictures than the share have neighbours enough, so that all
        stored pairs stay.
    """
    needed = max(2, -(-min_samples // weight))
    count = near.shape[0]
    starts, sizes = near.indptr[:-1], np.diff(near.indptr)
    row = np.repeat(np.arange(count), sizes)
    ordered = near.data[np.lexsort((near.data, row))]
    enough = sizes >= needed
    reached = np.sort(ordered[starts[enough] + needed - 1])
    wanted = max(1, round(share * count))
    return float(reached[wanted - 1]) if wanted <= len(reached) else float("inf")


def _up_to(near: "csr_matrix", radius: float) -> "csr_matrix":
    """Keep the stored pairs within a radius; a distance of 0 stays stored."""
    from scipy.sparse import csr_matrix

    kept = near.data <= radius
    starts = np.append(0, np.cumsum(kept))[near.indptr]
    return csr_matrix((near.data[kept], near.indices[kept], starts), shape=near.shape)


def identity_labels(person_ids: Tensor) -> PseudoLabels:
    """Take known persons as the labels, which makes training supervised.

    Args:
        person_ids: (N,) int64, any numbers; -1 stays an outlier.

    Returns:
        Labels 0, 1, ... in the order of the persons' numbers.
    """
    return _contiguous(person_ids.numpy(force=True))


def pair_precision(labels: Tensor, persons: Tensor) -> float | None:
    """Tell how pure clusters are: the share of pairs in one cluster that show one person.

    Args:
        labels: (N,) int64, -1 for outliers, which are in no pair.
        persons: (N,) int64, the truth.

    Returns:
        A fraction, or None where no cluster holds two pictures.
    """
    kept = labels != -1
    label, person = labels[kept].numpy(), persons[kept].numpy()
    together = _pairs_alike(label)
    return _pairs_alike(label, person) / together if together else None


def pair_recall(labels: Tensor, persons: Tensor) -> float | None:
    """Tell how whole clusters are: the share of pairs of one person that lie in one cluster.

    Args:
        labels: (N,) int64, -1 for outliers, which no pair joins.
        persons: (N,) int64, the truth.

    Returns:
        A fraction, or None where nobody is on two pictures.
    """
    kept = labels != -1
    together = _pairs_alike(persons.numpy())
    joined = _pairs_alike(labels[kept].numpy(), persons[kept].numpy())
    return joined / together if together else None


def camera_split(labels: Tensor, cameras: Tensor, persons: Tensor) -> float | None:
    """Tell how far clusters follow cameras instead of persons.

    Args:
        labels: (N,) int64, -1 for outliers, which are left out.
        cameras: (N,) int64.
        persons: (N,) int64, the truth.

    Returns:
        Of the pairs of one person from two cameras, the share that lies in two clusters: 0 is
        ideal, 1 is a cluster for every camera; None where there is no such pair.
    """
    kept = labels != -1
    label, camera, person = (t[kept].numpy() for t in (labels, cameras, persons))
    across = _pairs_alike(person) - _pairs_alike(person, camera)
    joined = _pairs_alike(person, label) - _pairs_alike(person, label, camera)
    return 1 - joined / across if across else None


def camera_span(labels: Tensor, cameras: Tensor) -> float | None:
    """Tell how far clusters span cameras, which is known without any label.

    Args:
        labels: (N,) int64, -1 for outliers, which are left out.
        cameras: (N,) int64.

    Returns:
        Of the clustered pictures, the share in clusters of two cameras or more; None where no
        picture is in a cluster, or one camera took all.
    """
    kept = labels != -1
    if not kept.any() or bool((cameras == cameras[0]).all()):
        return None
    return float(_spans(labels[kept], cameras[kept]).double().mean())


def spanning_clusters(found: PseudoLabels, cameras: Tensor, least: float) -> PseudoLabels:
    """Leave clusters of one camera out, once enough pictures lie in clusters of two or more.

    Args:
        found: the labels.
        cameras: (N,) int64.
        least: the share of `camera_span` from which on they are left out.

    Returns:
        The labels, those of the clusters left out -1, numbered anew.
    """
    span = camera_span(found.labels, cameras)
    if span is None or span < least or span == 0:
        return found
    kept = found.labels != -1
    labels = found.labels.clone()
    labels[kept] = torch.where(_spans(labels[kept], cameras[kept]), labels[kept], -1)
    return _contiguous(labels.numpy())


def _spans(labels: Tensor, cameras: Tensor) -> Tensor:
    """Mark the pictures whose cluster more than one camera sees: (N,) bool."""
    pairs = torch.unique(torch.stack([labels, cameras], dim=1), dim=0)
    return torch.bincount(pairs[:, 0])[labels] > 1


def _density_labels(near: "csr_matrix", *, weight: int, min_samples: int) -> NDArray[np.int64]:
    """Run DBSCAN on the stored pairs of a symmetric matrix; every point has its own diagonal.

    Clusters are the connected components of cores, in the order of their first core; a point
    within reach of several clusters joins the first. Those are scikit-learn's labels.
    """
    from scipy.sparse.csgraph import connected_components

    count = near.shape[0]
    sizes = np.diff(near.indptr)
    core = sizes * weight >= min_samples
    from_row = np.repeat(np.arange(count), sizes)
    between = core[from_row] & core[near.indices]
    # Ones in place of distances: the graph would take a distance of 0 for no edge.
    graph = near.copy()
    graph.data = between.astype(np.float32)
    graph.eliminate_zeros()
    _, component = connected_components(graph, directed=False)
    _, first, rank = np.unique(component[core], return_index=True, return_inverse=True)
    order = np.empty(len(first), dtype=np.int64)
    order[np.argsort(first)] = np.arange(len(first))
    labels = np.full(count, count, dtype=np.int64)
    labels[core] = order[rank]
    edge = ~core[from_row] & core[near.indices]
    np.minimum.at(labels, from_row[edge], labels[near.indices[edge]])
    return np.where(labels == count, -1, labels)


def _most_frequent(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the commonest label of each row of (N,C), the earliest where two are as common."""
    votes = (labels[:, :, None] == labels[:, None, :]).sum(axis=2)
    chosen: NDArray[np.int64] = labels[np.arange(len(labels)), votes.argmax(axis=1)]
    return chosen


def _contiguous(labels: NDArray[np.int64]) -> PseudoLabels:
    """Number the labels that occur 0, 1, ... in their order, and leave -1 as it is."""
    known = labels != -1
    values, ranks = np.unique(labels[known], return_inverse=True)
    numbered = np.full(len(labels), -1, dtype=np.int64)
    numbered[known] = ranks
    return PseudoLabels(torch.from_numpy(numbered), len(values), int((~known).sum()))


def _pairs_alike(*keys: NDArray[np.int64]) -> int:
    """Count the unordered pairs of positions that agree in every key."""
    _, sizes = np.unique(np.stack(keys, axis=1), axis=0, return_counts=True)
    return int((sizes * (sizes - 1) // 2).sum())


def _check_finite(features: Tensor) -> None:
    """Refuse features that training has spoilt."""
    broken = int((~features.sum(dim=1).isfinite()).sum())  # NaN and infinity survive a sum
    if broken:
        raise FedKlprError(
            f"expected finite features to cluster; {broken} of {len(features)} pictures have NaN "
            "or infinity: training diverged, lower the learning rate"
        )


def _check_ranges(**numbers: int) -> None:
    """Refuse a whole number below 1, by its name."""
    for name, number in numbers.items():
        if number < 1:
            raise SettingsError(f"clustering needs {name} of at least 1; got {number}")
