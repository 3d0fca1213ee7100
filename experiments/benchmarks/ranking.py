"""How fast a gallery is ranked: against the bare matrix product, and against sorting indices."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from experiments.benchmarks.memory import in_fresh_process, peak_mb, resident_mb
from experiments.benchmarks.rows import (
    Row,
    make_row,
    median_seconds,
    ratio_at_least,
    value_at_most,
)
from fedklpr_flwr.reid.ranking import Gallery, score_ranking, score_similarities

OVER_MATMUL, SPEEDUP, PEAK_MB = 2.2, 8, 120
BLOCK = 202  # queries looked at once, as score_ranking does at full size


@dataclass(frozen=True)
class Size:
    """How large the search is; as it stands, Market-1501's."""

    queries: int = 3368
    gallery: int = 19732
    dimensions: int = 2048
    persons: int = 751
    cameras: int = 6


MARKET = Size()


@dataclass(frozen=True)
class _Search:
    """Features (unit rows), persons and cameras of queries and gallery, drawn from a seed."""

    query: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
    gallery: tuple[torch.Tensor, torch.Tensor, torch.Tensor]

    @classmethod
    def of(cls, size: Size) -> "_Search":
        generator = torch.Generator().manual_seed(0)
        centres = torch.randn(size.persons, size.dimensions, generator=generator)

        def pictures(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            persons = torch.randint(size.persons, (count,), generator=generator)
            cameras = torch.randint(size.cameras, (count,), generator=generator)
            features = torch.randn(count, size.dimensions, generator=generator).mul_(4)
            features += centres[persons]
            return torch.nn.functional.normalize(features, dim=1, out=features), persons, cameras

        return cls(pictures(size.queries), pictures(size.gallery))


def ranking_rows(size: Size = MARKET, *, repeats: int = 5) -> list[Row]:
    """Measure the rows `ranking` of the benchmarks.

    `rank_over_matmul` holds the whole of score_ranking against the product of the same features,
    written into memory that is there already. `rank_speedup_argsort` compares queries a second of
    the metric step alone, block by block in turn, with an evaluator that sorts all indices.
    `rank_peak_mb` is what both need at their peak above the features, each in its own process.

    Args:
        size: of the search.
        repeats: timings taken, the median counts.

    Returns:
        Rows {name, value, unit, anchor, ratio, must, ok}.
    """
    search = _Search.of(size)
    product = torch.empty(size.queries, size.gallery)
    query, gallery = search.query[0], search.gallery[0]
    ranking, matmul = median_seconds(
        repeats,
        partial(score_ranking, *search.query, *search.gallery),
        partial(torch.matmul, query, gallery.T, out=product),
    )
    del product
    ours, theirs, equal = _metric_rates(search)
    peaks = [in_fresh_process(ranking_peak_mb, size, how) for how in ("ours", "argsort")]
    return [
        make_row("rank_over_matmul", ranking, "s", matmul, OVER_MATMUL, equal=equal),
        make_row(
            "rank_speedup_argsort", ours, "queries/s", theirs, SPEEDUP, ratio_at_least, equal=equal
        ),
        make_row("rank_peak_mb", peaks[0], "MB", peaks[1], PEAK_MB, value_at_most),
    ]


def ranking_peak_mb(size: Size, how: str) -> float:
    """The peak memory of one full ranking above its features, in MB."""
    search = _Search.of(size)
    work: dict[str, Callable[[], object]] = {
        "ours": partial(score_ranking, *search.query, *search.gallery),
        "argsort": partial(_rank_by_argsort, search),
    }
    # The libraries that a first product loads are not its memory.
    score_ranking(*(part[:9] for part in search.query), *(part[:9] for part in search.gallery))
    before = resident_mb()
    return max(peak_mb(work[how]) - before, 0.1)


def _metric_rates(search: _Search) -> tuple[float, float, bool]:
    """Queries a second, ours and argsort's, medians over the blocks; whether scores agree."""
    seconds: list[tuple[float, float]] = []
    equal = True
    known = Gallery.of(search.gallery[1].numpy(), search.gallery[2].numpy())
    for block in _blocks(search):
        similarities, persons, cameras = _similarities(search, block)
        started = time.perf_counter()
        sorted_scores = _scores_by_argsort(similarities, persons, cameras, known)
        between = time.perf_counter()
        scores = score_similarities(similarities, persons, cameras, known)
        ended = time.perf_counter()
        seconds.append(((ended - between) / len(persons), (between - started) / len(persons)))
        equal &= _agree(scores, sorted_scores)
    ours, theirs = (1 / statistics.median(times) for times in zip(*seconds, strict=True))
    return ours, theirs, equal


def _agree(scores: np.ndarray, others: np.ndarray) -> bool:
    """Whether two evaluators agree on all queries but the few in which similarities are equal.

    The argsort orders those at random; tests/reid/test_ranking.py holds ours to the letter there.
    """
    return scores.shape == others.shape and np.isclose(scores, others).all(axis=1).mean() > 0.9


def _blocks(search: _Search) -> list[slice]:
    return [slice(start, start + BLOCK) for start in range(0, len(search.query[0]), BLOCK)]


def _similarities(search: _Search, block: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    features, persons, cameras = (part[block] for part in search.query)
    return (features @ search.gallery[0].T).numpy(), persons.numpy(), cameras.numpy()


def _rank_by_argsort(search: _Search) -> None:
    known = Gallery.of(search.gallery[1].numpy(), search.gallery[2].numpy())
    for block in _blocks(search):
        _scores_by_argsort(*_similarities(search, block), known)


def _scores_by_argsort(
    similarities: np.ndarray, persons: np.ndarray, cameras: np.ndarray, gallery: Gallery
) -> np.ndarray:
    """The same scores by sorting the indices of every row, without a loop over queries."""
    order = np.argsort(-similarities, axis=1)
    right = gallery.persons[order] == persons[:, None]
    shown = ~(right & (gallery.cameras[order] == cameras[:, None]))
    hit = right & shown
    place = np.cumsum(shown, axis=1, dtype=np.int32)
    nth_hit = np.cumsum(hit, axis=1, dtype=np.int32)
    valid = hit.any(axis=1)
    hit, place, nth_hit = hit[valid], place[valid], nth_hit[valid]
    hits = nth_hit[:, -1]
    each = np.arange(len(hit))
    first = place[each, hit.argmax(axis=1)]
    last = place[each, hit.shape[1] - 1 - hit[:, ::-1].argmax(axis=1)]
    precision = np.where(hit, nth_hit / np.maximum(place, 1), 0).sum(axis=1) / hits
    return np.stack([first, precision, hits / last], axis=1)
