"""The mask-aware weighted mean of many models, tensor by tensor, without holding the models.

    theta_j <- sum_k w_k m_kj theta_kj / sum_k w_k m_kj     where somebody holds j
    theta_j <- theta_j as it was before the round           where nobody does

A pruned coordinate does not dilute the others' mean (paper: sparse activation skipping). Sums are
taken in the order given, so the result is the same to the bit however many threads there are.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from fedklpr_flwr.algorithm.block_arithmetic import (
    GROUP,
    Array,
    divide,
    divide_block,
    divide_compiled,
    is_compiled,
)
from fedklpr_flwr.algorithm.masked_sum import (
    BLOCK,
    LARGE_BLOCK,
    Scratch,
    denominators,
    summed_blocks,
)
from fedklpr_flwr.algorithm.merge_part import Part, ValueSource, checked_part
from fedklpr_flwr.algorithm.thread_pool import Crew
from fedklpr_flwr.algorithm.trimmed_mean import trimmed_span
from fedklpr_flwr.errors import MergeError

Contribution = tuple[float, Array | None, Array | ValueSource]
"""(weight, mask or None, values): one client's part in one tensor, see MergeAccumulator.add."""

Contributor = Callable[[], Contribution]
"""Gives a contribution when it is called; decoding happens there."""

MERGES = ("masked_mean", "plain_mean", "trimmed_mean")

SHARED = 262_144
"""A tensor of so many coordinates is merged by all threads together, a smaller one by one."""
MOST_THREADS = 11
"""Each has a scratch of 5 MB."""

_LARGEST = float(np.finfo(np.float32).max)


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
        crew: Crew[Scratch] | None = None,
        fast: bool | None = None,
    ) -> None:
        """Starts the merge of one tensor.

        Args:
            name: the tensor's name, for errors.
            previous: float32 array of any shape, the global value before the round; read only.
            how: `masked_mean`; `plain_mean`, which counts a pruned weight as a zero:
                sum_k w_k m_kj theta_kj / sum_k w_k; or `trimmed_mean`, which holds all clients'
                contributions of the tensor.
            trim: of `trimmed_mean`, the share of holders left out at each end, in [0, 0.5).
            crew: the threads that share the sums, each with its scratch; None = this one.
            fast: by compiled loops; None = where this tensor is worth it.

        Raises:
            MergeError: `how` is unknown.
        """
        if how not in MERGES:
            raise MergeError(f"method.merge must be one of {MERGES}, it is {how!r}")
        self._name = name
        self._previous = previous
        self._plain = how == "plain_mean"
        self._trim = trim if how == "trimmed_mean" else None
        self._waiting: list[Part] = []
        self._fast = is_compiled(previous.size) if fast is None else fast
        self._crew = crew or Crew(1, lambda: Scratch.of(min(LARGE_BLOCK, previous.size)))
        # Running sums over the whole tensor exist only with more clients than fit one group.
        self._sums: tuple[Array, Array] | None = None

    def add(self, weight: float, mask: Array | None, values: Array | ValueSource) -> None:
        """Adds one client's tensor.

        Args:
            weight: w_k, finite, >= 0, of the order of 1; with 0 (an idle client) nothing is added.
            mask: the coordinates the client holds: bool of the tensor's shape, or uint8 with the
                bits packed by numpy.packbits, or None for all of them.
            values: float32, either the held coordinates only, in index order, or the whole tensor
                with zeros under the mask, as a ClientUpdate has it; an array, or a source that is
                asked for them in blocks. They are read at the latest in `result`, and must not
                change before.

        Raises:
            MergeError: the weight is negative or not finite, or sizes do not fit.
        """
        if not 0 <= weight <= _LARGEST:
            raise MergeError(
                f"a weight must be a finite number >= 0, {self._name!r} came with {weight}: leave "
                "that client's update out"
            )
        rounded = np.float32(weight)
        part = checked_part(self._name, self._previous.size, rounded, mask, values)
        if rounded == 0:
            return
        if len(self._waiting) >= GROUP:
            self.make_room()
        self._waiting.append(part)

    def make_room(self) -> None:
        """Adds up what waits, where more than it is still to come: nothing of it is held then."""
        if self._trim is not None:
            return
        if self._sums is None:
            self._sums = np.zeros(self._previous.size), np.zeros(self._previous.size)
        self._share(partial(self._add_waiting, *self._sums))
        self._let_go()

    def result(self, merged: Array | None = None) -> Array:
        """Gives the merged tensor, of the previous one's shape and dtype.

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
        for part in self._waiting:
            part.values.release()
        self._waiting = []

    def _share(self, work: Callable[[tuple[int, int]], None]) -> None:
        """Let the crew work on spans of whole blocks."""
        size = self._previous.size
        step = max(-(-size // (BLOCK * self._crew.threads)), 1) * BLOCK
        self._crew.map(work, [(start, min(start + step, size)) for start in range(0, size, step)])

    def _divide(self, merged: Array, span: tuple[int, int]) -> None:
        previous = self._previous.reshape(-1)
        if self._trim is not None:
            trimmed_span(self._waiting, previous, merged, *span, self._trim)
            return
        table = denominators(self._waiting)
        finish = divide_compiled if self._fast else divide
        with self._crew.room() as scratch:
            for at, numerator, code in self._blocks(span, scratch):
                room = scratch.room[: code.size]
                if self._sums is None:
                    finish(numerator, code, table, previous[at], merged[at], room)
                else:
                    tops, bottoms = (sums[at] for sums in self._sums)
                    divide_block(tops + numerator, bottoms + table[code], previous[at], merged[at])

    def _add_waiting(self, tops: Array, bottoms: Array, span: tuple[int, int]) -> None:
        table = denominators(self._waiting)
        with self._crew.room() as scratch:
            for at, numerator, code in self._blocks(span, scratch):
                tops[at] += numerator
                bottoms[at] += table[code]

    def _blocks(
        self, span: tuple[int, int], scratch: Scratch
    ) -> Iterator[tuple[slice, Array, Array]]:
        return summed_blocks(self._waiting, *span, scratch, plain=self._plain, fast=self._fast)


def merge_tensor(
    name: str,
    previous: Array,
    contributions: Iterable[Contribution],
    *,
    how: str = "masked_mean",
    trim: float = 0.25,
) -> Array:
    """Gives the weighted mean of one tensor over the clients that hold each coordinate.

    Args:
        name: the tensor's name, for errors.
        previous: float32 array, the global value before the round.
        contributions: (weight, mask, values) in client-name order, as `MergeAccumulator.add`
            takes them; read once, at most eight are held.
        how: one of MERGES.
        trim: see `MergeAccumulator`.

    Returns:
        A new array of the previous one's shape and dtype. With full masks and equal weights it is
        the plain mean; where nobody holds a coordinate, the previous value.

    Raises:
        MergeError: a weight is not finite, or a mask or values do not fit the tensor.

    Source: FedKLPR's aggregation; carry-over as in LotteryFL and Sub-FedAvg.
    """
    accumulator = MergeAccumulator(name, previous, how=how, trim=trim)
    for weight, mask, values in contributions:
        accumulator.add(weight, mask, values)
    return accumulator.result()


def merge_model(
    previous: Mapping[str, Array],
    contributors_of: Callable[[str], Sequence[Contributor]],
    *,
    how: str = "masked_mean",
    trim: float = 0.25,
    threads: int = 1,
) -> dict[str, Array]:
    """Merges a whole model: large tensors by all threads together, small ones by one beside them.

    Args:
        previous: name -> float32 array, the global model before the round.
        contributors_of: gives one tensor's contributors in client-name order. They are called in
            the threads, at most eight of a large tensor's at once.
        how: one of MERGES.
        trim: see `MergeAccumulator`.
        threads: >= 1; the result does not depend on it.

    Returns:
        name -> merged array, in the order of `previous`.

    Raises:
        MergeError: see `merge_tensor`.
    """
    # One piece of memory: the system gives a large one in large pages, and a page's first touch
    # costs as much as the sums in it.
    ends = np.cumsum([array.size for array in previous.values()], dtype=np.int64)
    whole = np.empty(int(ends[-1]) if previous else 0, np.float32)
    room = dict(zip(previous, np.split(whole, ends[:-1]), strict=True)) if previous else {}
    # Where a large tensor has brought the compiled loops, small ones gain from them as well.
    fast = is_compiled(max((array.size for array in previous.values()), default=0))
    merged: dict[str, Array] = {}

    def accumulator_of(name: str, crew: Crew[Scratch]) -> MergeAccumulator:
        return MergeAccumulator(name, previous[name], how=how, trim=trim, crew=crew, fast=fast)

    def merge_small() -> None:
        own = Crew(1, partial(Scratch.of, SHARED))
        for name in previous:
            if previous[name].size < SHARED:
                accumulator = accumulator_of(name, own)
                for contributor in contributors_of(name):
                    accumulator.add(*contributor())
                merged[name] = accumulator.result(room[name])

    # Small tensors are Python's work more than the processor's: one thread does them all, and
    # leaves the loops of the large ones to the others.
    with (
        Crew(min(threads, MOST_THREADS), partial(Scratch.of, LARGE_BLOCK)) as crew,
        crew.beside(merge_small),
    ):
        for name in sorted(previous, key=lambda name: -previous[name].size):
            if previous[name].size >= SHARED:
                accumulator = accumulator_of(name, crew)
                _add_in_groups(accumulator, contributors_of(name), crew)
                merged[name] = accumulator.result(room[name])
    return {name: merged[name] for name in previous}


def _add_in_groups(
    accumulator: MergeAccumulator, contributors: Sequence[Contributor], crew: Crew[Scratch]
) -> None:
    """Decode a group of clients by all threads, and add it, before the next."""
    for start in range(0, len(contributors), GROUP):
        if start:
            accumulator.make_room()
        group = contributors[start : start + GROUP]
        for contribution in crew.map(lambda contributor: contributor(), group):
            accumulator.add(*contribution)
