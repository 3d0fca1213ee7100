"""The mask-aware weighted mean of many models, tensor by tensor, without holding the models.

    theta_j <- sum_k w_k m_kj theta_kj / sum_k w_k m_kj     where somebody holds j
    theta_j <- theta_j as it was before the round           where nobody does

A pruned coordinate does not dilute the others' mean (paper: sparse activation skipping). Sums are
taken in the order given, so the result is the same to the bit however many threads there are.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial

import numpy as np

from fedklpr_flwr.algorithm.merge import kernels
from fedklpr_flwr.algorithm.merge.contribution import Array, Contribution
from fedklpr_flwr.algorithm.merge.kernels import GROUP, denominators, divide, summed_blocks
from fedklpr_flwr.algorithm.merge.trimmed import trimmed_span
from fedklpr_flwr.errors import MergeError

Contributor = Callable[[], Contribution]
"""Gives a contribution when it is called; decoding happens there."""

MERGES = ("masked_mean", "plain_mean", "trimmed_mean")

SHARED = 262_144
"""A tensor of so many coordinates is merged by all threads together, a smaller one by one."""


class MergeAccumulator:
    """Adds up one tensor of one client after another and gives their mean.

    It holds at most eight contributions of the tensor, whatever the number of clients. Clients
    must be added in one agreed order (by name): sums depend on it in the last bit.
    """

    def __init__(
        self,
        name: str,
        previous: Array,
        *,
        how: str = "masked_mean",
        trim: float = 0.25,
        pool: Executor | None = None,
        threads: int = 1,
    ) -> None:
        """Start the merge of one tensor.

        Args:
            name: the tensor's name, for errors.
            previous: float32 array of any shape, the global value before the round; read only.
            how: `masked_mean`; `plain_mean`, which counts a pruned weight as a zero:
                sum_k w_k m_kj theta_kj / sum_k w_k; or `trimmed_mean`, which holds all clients'
                contributions of the tensor.
            trim: of `trimmed_mean`, the share of holders left out at each end, in [0, 0.5).
            pool: the threads that share the sums; None = this one.
            threads: how many the pool has.

        Raises:
            MergeError: `how` is unknown.
        """
        if how not in MERGES:
            raise MergeError(f"method.merge must be one of {MERGES}, it is {how!r}")
        self._name, self._previous = name, previous
        self._plain = how == "plain_mean"
        self._trim = trim if how == "trimmed_mean" else None
        self._pool, self._threads = pool, threads
        self._waiting: list[Contribution] = []
        # Running sums over the whole tensor exist only with more clients than fit one group.
        self._sums: tuple[Array, Array] | None = None

    def add(self, contribution: Contribution) -> None:
        """Add one client's tensor; its values are read at the latest in `result`.

        Raises:
            MergeError: the weight is negative or not finite, or sizes do not fit.
        """
        contribution.check(self._name, self._previous.size)
        if np.float32(contribution.weight) == 0:
            return
        if len(self._waiting) >= GROUP:
            self.sum_waiting()
        self._waiting.append(contribution)

    def sum_waiting(self) -> None:
        """Add up what waits, where more is still to come: nothing of it is held then."""
        if self._trim is not None:
            return
        if self._sums is None:
            self._sums = np.zeros(self._previous.size), np.zeros(self._previous.size)
        self._share(partial(self._add_waiting, *self._sums))
        self._let_go()

    def result(self, merged: Array | None = None) -> Array:
        """Give the merged tensor, of the previous one's shape and dtype.

        Coordinates that nobody of positive weight holds (all of them, where nothing was added)
        are the previous ones to the bit. The accumulator is used up.

        Args:
            merged: flat room for it, of the previous one's size and dtype; None = new.
        """
        if merged is None:
            merged = np.empty_like(self._previous).reshape(-1)
        self._share(partial(self._divide, merged))
        self._let_go()
        self._sums = None
        return merged.reshape(self._previous.shape)

    def _let_go(self) -> None:
        for contribution in self._waiting:
            contribution.values.release()
        self._waiting = []

    def _share(self, work: Callable[[tuple[int, int]], None]) -> None:
        """Let the pool work on spans of whole blocks."""
        size, block = self._previous.size, kernels.BLOCK
        step = max(-(-size // (block * self._threads)), 1) * block
        spans = [(start, min(start + step, size)) for start in range(0, size, step)]
        for _ in (self._pool.map if self._pool else map)(work, spans):
            pass

    def _divide(self, merged: Array, span: tuple[int, int]) -> None:
        previous, waiting = self._previous.reshape(-1), self._waiting
        if self._trim is not None:
            trimmed_span(waiting, previous, merged, *span, self._trim)
            return
        table = denominators(waiting)
        for at, numerator, code in summed_blocks(waiting, previous.size, *span, plain=self._plain):
            # A code is never out of range; without `clip` numpy would check each one.
            denominator = np.take(table, code, mode="clip")
            if self._sums is None:
                divide(numerator, denominator, previous[at], merged[at])
            else:
                tops, bottoms = (sums[at] for sums in self._sums)
                divide(tops + numerator, bottoms + denominator, previous[at], merged[at])

    def _add_waiting(self, tops: Array, bottoms: Array, span: tuple[int, int]) -> None:
        table = denominators(self._waiting)
        for at, numerator, code in summed_blocks(
            self._waiting, self._previous.size, *span, plain=self._plain
        ):
            tops[at] += numerator
            bottoms[at] += table[code]


def merge_model(
    previous: Mapping[str, Array],
    contributors_of: Callable[[str], Sequence[Contributor]],
    *,
    how: str = "masked_mean",
    trim: float = 0.25,
    threads: int = 1,
) -> dict[str, Array]:
    """Merge a whole model: large tensors by all threads together, small ones by one of them.

    Args:
        previous: name -> float32 array, the global model before the round.
        contributors_of: gives one tensor's contributors in client-name order. They are called in
            the threads, at most eight of a large tensor's at once.
        how: one of MERGES.
        trim: see `MergeAccumulator`.
        threads: >= 1; the result does not depend on it.

    Returns:
        name -> merged array, in the order of `previous`. With full masks and equal weights it is
        the plain mean; where nobody holds a coordinate, the previous value.

    Raises:
        MergeError: a weight is not finite, or a mask or values do not fit a tensor.

    Source: FedKLPR's aggregation; carry-over as in LotteryFL and Sub-FedAvg.
    """
    # One piece of memory: the system gives a large one in large pages, and a page's first touch
    # costs as much as the sums in it.
    ends = np.cumsum([array.size for array in previous.values()], dtype=np.int64)
    whole = np.empty(int(ends[-1]) if previous else 0, np.float32)
    room = dict(zip(previous, np.split(whole, ends[:-1]), strict=True)) if previous else {}
    merged: dict[str, Array] = {}

    def merge_small() -> None:
        for name in previous:
            if previous[name].size < SHARED:
                accumulator = MergeAccumulator(name, previous[name], how=how, trim=trim)
                for contributor in contributors_of(name):
                    accumulator.add(contributor())
                merged[name] = accumulator.result(room[name])

    # Small tensors are Python's work more than the processor's: one thread does them all, and
    # leaves the sums of the large ones to the others.
    with ThreadPoolExecutor(threads) as pool:
        small = pool.submit(merge_small)
        for name in sorted(previous, key=lambda name: -previous[name].size):
            if previous[name].size >= SHARED:
                accumulator = MergeAccumulator(
                    name, previous[name], how=how, trim=trim, pool=pool, threads=threads
                )
                _add_in_groups(accumulator, contributors_of(name), pool)
                merged[name] = accumulator.result(room[name])
        small.result()
    return {name: merged[name] for name in previous}


def _add_in_groups(
    accumulator: MergeAccumulator, contributors: Sequence[Contributor], pool: Executor
) -> None:
    """Decode a group of clients by all threads, and add it, before the next."""
    for start in range(0, len(contributors), GROUP):
        if start:
            accumulator.sum_waiting()
        group = contributors[start : start + GROUP]
        for contribution in pool.map(lambda contributor: contributor(), group):
            accumulator.add(contribution)
