"""How fast a gallery is ranked: against the bare matrix product, and against sorting indices."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch

from experiments.benchmarks.memory import in_fresh_process, peak_mb, resident_mb
from experiments.benchmarks.rows import (
    Kept,
    Row,
    make_row,
    median_seconds,
    ratio_at_least,
    value_at_most,
)
from fedklpr_flwr.reid.ranking import (
    Gallery,
    RankingScores,
    rows_in_block,
    score_ranking,
    score_similarities,
)

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
class Search:
    """Features (unit rows), persons and cameras of queries and gallery, drawn from a seed."""

    query: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
    gallery: tuple[torch.Tensor, torch.Tensor, torch.Tensor]

    @classmethod
    def of(cls, size: Size) -> "Search":
        """Draw a search."""
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
    the metric step alone, block by block in turn, with an evaluator that sorts all indices. Both
    are `ok` only where every query's scores are those of sorting stably, equal similarities by
    gallery index; the sort that is timed is the faster one, which leaves those in any order.
    `rank_peak_mb` is what both need at their peak above the features, each in its own process.

    Args:
        size: of the search.
        repeats: timings taken, the median counts.

    Returns:
        Rows {name, value, unit, anchor, ratio, must, ok}.
    """
    peaks = [in_fresh_process(ranking_peak_mb, size, how) for how in ("ours", "argsort")]
    return [
        *speed_rows(Search.of(size), repeats),
        make_row("rank_peak_mb", peaks[0], "MB", peaks[1], PEAK_MB, value_at_most),
    ]


def speed_rows(search: Search, repeats: int) -> list[Row]:
    """Measure `rank_over_matmul` and `rank_speedup_argsort`."""
    query, gallery = search.query[0], search.gallery[0]
    product = torch.empty(len(query), len(gallery))
    ranking = Kept(partial(score_ranking, *search.query, *search.gallery))
    seconds, matmul = median_seconds(
        repeats, ranking, partial(torch.matmul, query, gallery.T, out=product)
    )
    del product
    rates, equal, expected = _metric_rates(search)
    whole = is_mean_of(ranking.result, expected)
    speedup = (rates[0], "queries/s", rates[1], SPEEDUP, ratio_at_least)
    return [
        make_row("rank_over_matmul", seconds, "s", matmul, OVER_MATMUL, equal=whole),
        make_row("rank_speedup_argsort", *speedup, equal=equal),
    ]


def ranking_peak_mb(size: Size, how: str) -> float:
    """The peak memory of one full ranking above its features, in MB."""
    search = Search.of(size)
    work: dict[str, Callable[[], object]] = {
        "ours": partial(score_ranking, *search.query, *search.gallery),
        "argsort": partial(_rank_by_argsort, search),
    }
    # The libraries that a first product loads are not its memory.
    score_ranking(*(part[:9] for part in search.query), *(part[:9] for part in search.gallery))
    before = resident_mb()
    return max(peak_mb(work[how]) - before, 0.1)


def _metric_rates(search: Search) -> tuple[tuple[float, float], bool, np.ndarray]:
    """Queries a second, ours and argsort's, medians over the blocks; equal?; the right scores."""
    seconds: list[tuple[float, float]] = []
    equal, expected = True, []
    known = Gallery.of(search.gallery[1].numpy(), search.gallery[2].numpy())
    for block in _blocks(search):
        similarities, persons, cameras = _similarities(search, block)
        started = time.perf_counter()
        _scores_by_argsort(similarities, persons, cameras, known)
        between = time.perf_counter()
        scores = score_similarities(similarities, persons, cameras, known)
        ended = time.perf_counter()
        seconds.append(((ended - between) / len(persons), (between - started) / len(persons)))
        expected.append(_scores_by_argsort(*_similarities(search, block), known, kind="stable"))
        equal &= agree(scores, expected[-1])
    ours, theirs = (1 / statistics.median(times) for times in zip(*seconds, strict=True))
    return (ours, theirs), equal, np.concatenate(expected)


def agree(scores: np.ndarray, others: np.ndarray) -> bool:
    """Whether two evaluators agree on every score, (V,3) float64, of every query."""
    return scores.shape == others.shape and bool(np.isclose(scores, others, rtol=1e-9).all())


def is_mean_of(found: RankingScores | None, scores: np.ndarray) -> bool:
    """Whether a ranking's result is what (V,3) scores of its valid queries come to."""
    if found is None or found.queries != len(scores):
        return False
    places, precision, penalty = scores.T
    expected = [*((places <= k).mean() for k in (1, 5, 10)), precision.mean(), penalty.mean()]
    named = [found.rank1, found.rank5, found.rank10, found.map, found.minp]
    return bool(np.allclose(named, expected, rtol=1e-9))


def _blocks(search: Search) -> list[slice]:
    rows = rows_in_block(len(search.gallery[0]))  # as score_ranking does
    return [slice(start, start + rows) for start in range(0, len(search.query[0]), rows)]


def _similarities(search: Search, block: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    features, persons, cameras = (part[block] for part in search.query)
    return (features @ search.gallery[0].T).numpy(), persons.numpy(), cameras.numpy()


def _rank_by_argsort(search: Search) -> None:
    known = Gallery.of(search.gallery[1].numpy(), search.gallery[2].numpy())
    for block in _blocks(search):
        _scores_by_argsort(*_similarities(search, block), known)


def _scores_by_argsort(
    similarities: np.ndarray,
    persons: np.ndarray,
    cameras: np.ndarray,
    gallery: Gallery,
    *,
    kind: Literal["quicksort", "stable"] = "quicksort",
) -> np.ndarray:
    """The same scores by sorting the indices of every row, without a loop over queries."""
    order = np.argsort(-similarities, axis=1, kind=kind)
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
