"""How fast people are told apart: against the dense public algorithm, at growing sizes."""

import time
from functools import partial

import numpy as np
import torch
from sklearn.cluster import DBSCAN  # at the top: an import is no part of what is timed

from experiments.benchmarks.dense_jaccard import dense_jaccard
from experiments.benchmarks.memory import in_fresh_process, peak_mb, resident_mb
from experiments.benchmarks.rows import (
    Kept,
    Row,
    make_row,
    median_seconds,
    ratio_at_least,
    value_at_most,
)
from fedklpr_flwr.reid.pseudo_labels import PseudoLabels, cluster_people

K1, K2, EPS, MIN_SAMPLES = 30, 6, 0.6, 4
PICTURES = 17  # a person, about
SPEEDUP, SECONDS, PEAK_MB = 10, 9.0, 600.0
WARM_UP = 200  # pictures clustered before the clock: imports, threads and libraries are there then
MULTIPLIED = 1000  # rows of the product by hand, of which the whole is reckoned
# (how many dimensions persons differ in, None = all; how far a person's pictures spread, over how
# far persons do). The crowded ones overlap: a quarter of the pairs in a cluster are of two persons.
KINDS: dict[str, tuple[int | None, float]] = {"separated": (None, 1.0), "crowded": (32, 0.8)}


def clusters_rows(
    compared: int = 6000, large: int = 13000, *, dimensions: int = 2048, repeats: int = 3
) -> list[Row]:
    """Measure the rows `clusters` of the benchmarks.

    `cluster_speedup_N` compares pictures a second with the dense algorithm and scikit-learn's
    DBSCAN on its matrix, both warm, in turn and as often, the labels checked to be the same. At
    the large size, where that algorithm needs several N x N matrices, the anchors are the bare
    product of all features with themselves, and the size of the features.
    `cluster_seconds_crowded_N` has persons that overlap, as real
    ones do, so that rows of V are longer.

    Args:
        compared: N of the comparison.
        large: N of time and memory.
        dimensions: of a feature.
        repeats: timings taken, the median counts.

    Returns:
        Rows {name, value, unit, anchor, ratio, must, ok}.
    """
    return [
        speedup_row(drawn_features(compared, dimensions, "separated"), repeats),
        *_large_rows(large, dimensions, repeats),
    ]


def speedup_row(features: torch.Tensor, repeats: int) -> Row:
    """Measure `cluster_speedup_N` on (N,D) unit features."""
    ours, theirs = Kept(partial(cluster, features)), Kept(partial(_dense_labels, features))
    for work in (cluster, _dense_labels):
        work(features[:WARM_UP])
    sparse, dense = median_seconds(repeats, ours, theirs, warm=False)
    count = len(features)
    rates = (count / sparse, "pictures/s", count / dense)
    equal = bool(np.array_equal(ours.result.labels.numpy(), theirs.result))
    return make_row(f"cluster_speedup_{count}", *rates, SPEEDUP, ratio_at_least, equal=equal)


def _large_rows(count: int, dimensions: int, repeats: int) -> list[Row]:
    features = drawn_features(count, dimensions, "separated")
    crowd = drawn_features(count, dimensions, "crowded")
    separated, crowded, product = median_seconds(
        repeats,
        partial(cluster, features),
        partial(cluster, crowd),
        partial(multiply, features),
        warm=False,
    )
    megabytes = features.nbytes / 1e6
    peak = in_fresh_process(clusters_peak_mb, count, dimensions)
    limit = value_at_most
    return [
        make_row(f"cluster_seconds_{count}", separated, "s", product, SECONDS, limit),
        make_row(f"cluster_seconds_crowded_{count}", crowded, "s", product),
        make_row(f"cluster_peak_mb_{count}", peak, "MB", megabytes, PEAK_MB, limit),
    ]


def rows_by_hand(count: int, kind: str = "separated", *, dimensions: int = 2048) -> list[Row]:
    """Measure seconds and peak memory of one clustering of any size, in a process of its own.

    The dense algorithm has no part in it: its matrices would not fit. The anchors are those of the
    large size; of the bare product only the first rows are multiplied, and the whole reckoned.

    Args:
        count: N.
        kind: of KINDS; `crowded` is named in the rows.
        dimensions: of a feature.

    Returns:
        Rows {name, value, unit, anchor, ratio, must, ok}, without `must`.
    """
    seconds, peak, product = in_fresh_process(cluster_once, count, kind, dimensions)
    suffix = f"{count}" if kind == "separated" else f"{kind}_{count}"
    return [
        make_row(f"cluster_seconds_{suffix}", seconds, "s", product),
        make_row(f"cluster_peak_mb_{suffix}", peak, "MB", 4 * count * dimensions / 1e6),
    ]


def cluster_once(count: int, kind: str, dimensions: int) -> tuple[float, float, float]:
    """Cluster once: seconds, peak MB above the features, and the bare product's seconds."""
    features = drawn_features(count, dimensions, kind)
    few = features[:MULTIPLIED]
    cluster(features[:WARM_UP])
    before, work = resident_mb(), partial(cluster, features)
    started = time.perf_counter()
    peak = peak_mb(work)
    ended = time.perf_counter()
    (product,) = median_seconds(1, lambda: few @ features.T)
    return ended - started, max(peak - before, 0.1), product * count / len(few)


def drawn_features(count: int, dimensions: int, kind: str) -> torch.Tensor:
    """Unit features of persons with about PICTURES pictures each.

    Args:
        count: N.
        dimensions: D.
        kind: of KINDS.

    Returns:
        (N,D) float32.
    """
    rank, spread = KINDS[kind]
    generator = torch.Generator().manual_seed(0)
    persons = max(1, count // PICTURES)
    centres = torch.randn(persons, rank or dimensions, generator=generator)
    features = torch.randn(count, rank or dimensions, generator=generator).mul_(spread)
    features += centres[torch.randint(persons, (count,), generator=generator)]
    if rank is not None:
        features = features @ torch.randn(rank, dimensions, generator=generator)
    return torch.nn.functional.normalize(features, dim=1, out=features)


def clusters_peak_mb(count: int, dimensions: int) -> float:
    """The peak memory of one clustering above its features, in MB."""
    features = drawn_features(count, dimensions, "separated")
    cluster(features[:WARM_UP])  # the libraries that it imports are not its memory
    before = resident_mb()
    return max(peak_mb(partial(cluster, features)) - before, 0.1)


def cluster(features: torch.Tensor) -> PseudoLabels:
    """Cluster (N,D) unit features as the benchmarks do."""
    return cluster_people(features, k1=K1, k2=K2, eps=EPS, min_samples=MIN_SAMPLES)


def _dense_labels(features: torch.Tensor) -> np.ndarray:
    distances = dense_jaccard(features, k1=K1, k2=K2)
    density = DBSCAN(eps=EPS, min_samples=MIN_SAMPLES, metric="precomputed")
    labels: np.ndarray = density.fit_predict(distances)
    return labels


def multiply(features: torch.Tensor) -> None:
    """All similarities, a block at a time: what an exact search cannot do without."""
    for start in range(0, len(features), 1000):
        features[start : start + 1000] @ features.T
