"""The mask-aware weighted mean of many models, tensor by tensor, without holding the models.

    theta_j <- sum_k w_k m_kj theta_kj / sum_k w_k m_kj     where somebody holds j
    theta_j <- theta_j as it was before the round           where nobody does

A pruned coordinate does not dilute the others' mean (paper: sparse activation skipping). Sums are
taken in the order given, so the result is the same to the bit however many threads there are.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from threading import Condition

import numpy as np

from fedklpr_flwr.algorithm.masked_sum import (
    BLOCK,
    GROUP,
    Array,
    Part,
    Scratch,
    checked_part,
    denominators,
    divide_block,
    sum_block,
)
from fedklpr_flwr.errors import MergeError

Contribution = tuple[float, Array | None, Array]
"""(weight, mask or None, values): one client's part in one tensor, see MergeAccumulator.add."""

MERGES = ("masked_mean", "plain_mean")

MOST_IN_WORK = 3_000_000
"""Coordinates merged at once, by all threads together; a larger tensor is merged alone."""

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
        scratch: Scratch | None = None,
    ) -> None:
        """Starts the merge of one tensor.

        Args:
            name: the tensor's name, for errors.
            previous: float32 array of any shape, the global value before the round; read only.
            how: `masked_mean`, or `plain_mean`, which counts a pruned weight as a zero:
                sum_k w_k m_kj theta_kj / sum_k w_k.
            scratch: room that a caller with many tensors makes once; not shared between threads.

        Raises:
            MergeError: `how` is unknown.
        """
        if how not in MERGES:
            raise MergeError(f"method.merge must be one of {MERGES}, it is {how!r}")
        self._name = name
        self._previous = previous
        self._plain = how == "plain_mean"
        self._waiting: list[Part] = []
        self._scratch = Scratch.of(min(BLOCK, previous.size)) if scratch is None else scratch
        # Running sums over the whole tensor exist only with more clients than fit one group.
        self._sums: tuple[Array, Array] | None = None

    def add(self, weight: float, mask: Array | None, values: Array) -> None:
        """Adds one client's tensor.

        Args:
            weight: w_k, finite, >= 0, of the order of 1; with 0 (an idle client) nothing is added.
            mask: the coordinates the client holds: bool of the tensor's shape, or uint8 with the
                bits packed by numpy.packbits, or None for all of them.
            values: float32, either the held coordinates only, in index order, or the whole tensor
                with zeros under the mask, as a ClientUpdate has it. They are read at the latest
                in `result`, and must not change before.

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
        if len(self._waiting) == GROUP:
            self._add_waiting_to_sums()
        self._waiting.append(part)

    def result(self) -> Array:
        """Gives the merged tensor, of the previous one's shape and dtype.

        Coordinates that nobody of positive weight holds (all of them, where nothing was added)
        are the previous ones to the bit. The accumulator is used up.
        """
        previous = self._previous.reshape(-1)
        merged = np.empty_like(previous)
        for start, stop, numerator, denominator in self._sum_waiting():
            if self._sums is not None:
                numerator = self._sums[0][start:stop] + numerator
                denominator = self._sums[1][start:stop] + denominator
            divide_block(numerator, denominator, previous[start:stop], merged[start:stop])
        self._waiting, self._sums = [], None
        return merged.reshape(self._previous.shape)

    def _add_waiting_to_sums(self) -> None:
        if self._sums is None:
            self._sums = np.zeros(self._previous.size), np.zeros(self._previous.size)
        for start, stop, numerator, denominator in self._sum_waiting():
            self._sums[0][start:stop] += numerator
            self._sums[1][start:stop] += denominator
        self._waiting = []

    def _sum_waiting(self) -> Iterator[tuple[int, int, Array, Array]]:
        """Gives start, stop, numerator and denominator of the waiting clients, block by block."""
        table, room = denominators(self._waiting), self._scratch
        for start in range(0, self._previous.size, BLOCK):
            stop = min(start + BLOCK, self._previous.size)
            numerator, code = sum_block(self._waiting, start, stop, room, plain=self._plain)
            denominator = room.denominator[: stop - start]
            # A code is never out of range; without `clip` numpy would check each one.
            np.take(table, code, out=denominator, mode="clip")
            yield start, stop, numerator, denominator


def merge_tensor(
    name: str,
    previous: Array,
    contributions: Iterable[Contribution],
    *,
    how: str = "masked_mean",
    scratch: Scratch | None = None,
) -> Array:
    """Gives the weighted mean of one tensor over the clients that hold each coordinate.

    Args:
        name: the tensor's name, for errors.
        previous: float32 array, the global value before the round.
        contributions: (weight, mask, values) in client-name order, as `MergeAccumulator.add`
            takes them; read once, at most eight are held.
        how: `masked_mean` or `plain_mean`.
        scratch: room that a caller with many tensors makes once; not shared between threads.

    Returns:
        A new array of the previous one's shape and dtype. With full masks and equal weights it is
        the plain mean; where nobody holds a coordinate, the previous value.

    Raises:
        MergeError: a weight is not finite, or a mask or values do not fit the tensor.

    Source: FedKLPR's aggregation; carry-over as in LotteryFL and Sub-FedAvg.
    """
    accumulator = MergeAccumulator(name, previous, how=how, scratch=scratch)
    for weight, mask, values in contributions:
        accumulator.add(weight, mask, values)
    return accumulator.result()


def merge_model(
    previous: Mapping[str, Array],
    contributions_of: Callable[[str], Iterable[Contribution]],
    *,
    how: str = "masked_mean",
    threads: int = 1,
) -> dict[str, Array]:
    """Merges a whole model, each tensor by one thread, several tensors at once.

    Args:
        previous: name -> float32 array, the global model before the round.
        contributions_of: gives one tensor's contributions in client-name order. It is called, and
            its iterable read, in the threads, so decoding there runs in parallel as well; with
            `threads` > 1 it must bear being called for different tensors at once.
        how: `masked_mean` or `plain_mean`.
        threads: tensors merged at once, >= 1; the result does not depend on it.

    Returns:
        name -> merged array, in the order of `previous`.

    Raises:
        MergeError: see `merge_tensor`.
    """
    rooms: SimpleQueue[Scratch] = SimpleQueue()
    for _ in range(max(threads, 1)):
        rooms.put(Scratch.of(BLOCK))

    def merge_one(name: str) -> Array:
        room = rooms.get()
        try:
            parts = contributions_of(name)
            return merge_tensor(name, previous[name], parts, how=how, scratch=room)
        finally:
            rooms.put(room)

    if threads <= 1:
        return {name: merge_one(name) for name in previous}
    queue = _SizedQueue({name: array.size for name, array in previous.items()})
    with ThreadPoolExecutor(threads) as pool:
        shares = [pool.submit(queue.work_through, merge_one) for _ in range(threads)]
        merged = {name: array for share in shares for name, array in share.result().items()}
    return {name: merged[name] for name in previous}


class _SizedQueue:
    """Tensors that wait to be merged, handed out so that few coordinates are in work at once.

    A tensor in work takes some 50 bytes a coordinate: without a limit, memory would grow with the
    cores, to many models.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        # The largest first, so that no thread is left alone with a large one at the end.
        self._waiting = dict(sorted(sizes.items(), key=lambda item: -item[1]))
        self._in_work, self._changed = 0, Condition()

    def work_through(self, merge_one: Callable[[str], Array]) -> dict[str, Array]:
        """What one thread does: take the largest tensor that fits, until none waits."""
        done = {}
        while (taken := self._take()) is not None:
            name, size = taken
            try:
                done[name] = merge_one(name)
            finally:
                with self._changed:
                    self._in_work -= size
                    if name not in done:
                        self._waiting.clear()  # a fault ends the merge: nobody needs the rest
                    self._changed.notify_all()
        return done

    def _take(self) -> tuple[str, int] | None:
        with self._changed:
            while self._waiting:
                room = MOST_IN_WORK - self._in_work
                for name, size in self._waiting.items():
                    if size <= room or not self._in_work:
                        self._in_work += size
                        del self._waiting[name]
                        return name, size
                self._changed.wait()
        return None
