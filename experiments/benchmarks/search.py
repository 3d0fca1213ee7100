"""How fast a gallery is searched: the nearest ten of a query, its own forward pass apart."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from experiments.benchmarks.rows import Row, make_row, median_seconds, value_at_most
from fedklpr_flwr.reid.nearest import closest_rows

MILLISECONDS = 50
TOP = 10


def search_rows(gallery: int = 100_000, dimensions: int = 512, *, repeats: int = 15) -> list[Row]:
    """Measure the row `search_ms_N`: milliseconds a query, beside sorting the whole gallery.

    Args:
        gallery: N pictures.
        dimensions: of their features.
        repeats: timings taken, the median counts.

    Returns:
        One row {name, value, unit, anchor, ratio, must, ok}.
    """
    generator = np.random.default_rng(0)
    features = generator.standard_normal((gallery, dimensions), np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    # Near to one picture, as a query is to its person's: the others are all alike far.
    query = features[gallery // 2] + 0.5 * features[gallery // 3]
    query /= np.linalg.norm(query)
    ours, sorted_all = median_seconds(
        repeats,
        partial(closest_rows, features, query, TOP),
        partial(_by_sorting, features, query),
    )
    equal = np.array_equal(closest_rows(features, query, TOP)[0], _by_sorting(features, query))
    name = f"search_ms_{gallery}"
    milliseconds = (1000 * ours, "ms", 1000 * sorted_all)
    return [make_row(name, *milliseconds, MILLISECONDS, value_at_most, equal=equal)]


def _by_sorting(features: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.argsort(-(features @ query), kind="stable")[:TOP]
