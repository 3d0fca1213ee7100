"""Means and spreads over seeds, and paired differences between two methods."""

from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import fmean, stdev
from typing import NamedTuple

ONE_POINT = 0.01


class Spread(NamedTuple):
    """A figure over seeds: mean, sample standard deviation (None for one seed), how many."""

    mean: float
    deviation: float | None
    seeds: int


class Paired(NamedTuple):
    """A minus B over the seeds both have: mean, standard error (None for one seed), how many."""

    mean: float
    error: float | None
    seeds: int

    @property
    def not_below(self) -> bool:
        """Whether A is not below B by more than max(1 point, one standard error)."""
        return self.mean >= -max(ONE_POINT, self.error or 0.0)


def spread_of(values: Sequence[float | None]) -> Spread | None:
    """Mean and sample standard deviation of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Spread(fmean(known), stdev(known) if len(known) > 1 else None, len(known))


def paired_difference(
    ours: Mapping[int, float | None], theirs: Mapping[int, float | None]
) -> Paired | None:
    """Ours minus theirs, seed by seed.

    Args:
        ours: a figure by seed.
        theirs: the same of the other method.

    Returns:
        mean +- s / sqrt(n), s the sample standard deviation of the n differences; None where the
        two have no seed in common.
    """
    pairs = [(ours[seed], theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]
    found = spread_of([a - b for a, b in pairs if a is not None and b is not None])
    if found is None:
        return None
    error = None if found.deviation is None else found.deviation / sqrt(found.seeds)
    return Paired(found.mean, error, found.seeds)
