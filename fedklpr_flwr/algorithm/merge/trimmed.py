"""The coordinate-wise trimmed mean over those who hold a coordinate, for who expects attackers.

Of n holders of a coordinate the floor(trim * n) largest and as many smallest values are left out,
and the rest averaged, every client alike: a weight that a client reports of itself is no defence.
"""

from collections.abc import Sequence

import numpy as np

from fedklpr_flwr.algorithm.merge.contribution import Array, Contribution

BLOCK = 32_768
"""Coordinates sorted at once, of all clients together."""


def trimmed_span(
    contributions: Sequence[Contribution],
    previous: Array,
    merged: Array,
    start: int,
    stop: int,
    trim: float,
) -> None:
    """Write the trimmed mean of a span of coordinates.

    Args:
        contributions: all clients of positive weight.
        previous: float32 (n,), the tensor before the round; kept where nobody holds.
        merged: float32 (n,); written from start to stop.
        start: the span's first coordinate, a multiple of 8.
        stop: the coordinate after its last.
        trim: the share of a coordinate's holders left out at each end, in [0, 0.5).

    Source: Yin et al. 2018, Byzantine-robust distributed learning (the trimmed mean); over the
        holders only: our reading of it for masks.
    """
    sources = [one.blocks(previous.size, start, stop, BLOCK) for one in contributions]
    for begin in range(start, stop, BLOCK):
        end = min(begin + BLOCK, stop)
        stacked = np.full((len(contributions), end - begin), np.inf, np.float32)
        held = np.zeros(end - begin, np.int64)
        for row, source in zip(stacked, sources, strict=True):
            mask, places, values = next(source)
            row[places] = values
            if mask is not None:
                row[~mask] = np.inf
            held += 1 if mask is None else mask
        stacked.sort(axis=0)  # who does not hold it comes last, as an infinity
        left_out = np.floor(trim * held).astype(np.int64)
        ranks = np.arange(len(contributions))[:, None]
        counted = (ranks >= left_out) & (ranks < held - left_out)
        sums = np.where(counted, stacked, 0).sum(axis=0, dtype=np.float64)
        known = np.flatnonzero(held)
        merged[begin:end] = previous[begin:end]
        merged[begin:end][known] = sums[known] / (held - 2 * left_out)[known]
