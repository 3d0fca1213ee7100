"""One client's part in one tensor of a merge: its weight, its mask, and where its values come from.

Values are asked for block by block, so that a part may lie in memory, or be decoded from a payload
only when and where it is added.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fedklpr_flwr.algorithm.block_arithmetic import ALL_HELD, Array, Operands, add_compiled
from fedklpr_flwr.errors import MergeError


class ValueSource(Protocol):
    """A tensor's values, given in blocks; several threads may ask at once."""

    @property
    def size(self) -> int:
        """How many values there are."""
        ...

    def block(self, first: int, start: int, places: Array | slice) -> Array:
        """Some of the values.

        Args:
            first: the number of the first value asked for, counted among those there are.
            start: where the block of coordinates begins that they belong to.
            places: the coordinates less `start`, ascending indices or a slice; as many values.

        Returns:
            float32, for reading.
        """
        ...

    def add_block(
        self,
        first: int,
        start: int,
        numerator: Array,
        code: Array,
        held: Array,
        counted: Array,
        weight: np.float32,
    ) -> int:
        """Add the values of a block of coordinates to sums by a compiled loop, if there is one.

        Args:
            first: the number of the block's first value, counted among those there are.
            start: the block's first coordinate.
            numerator: float32 (n,), changed.
            code: uint8 (n,), changed: the counted bits are shifted in.
            held: uint8 (n,), 1 where there is a value, or ALL_HELD.
            counted: uint8 (n,), or ALL_HELD.
            weight: the values' factor.

        Returns:
            How many values there were; -1 where there is no such loop, and nothing was done.
        """
        ...

    def release(self) -> None:
        """No value will be asked for any more."""
        ...


class ArrayValues:
    """Values that lie in memory.

    Args:
        values: float32 (n,).
    """

    def __init__(self, values: Array) -> None:
        self._values = values
        self.size = int(values.size)

    def block(self, first: int, start: int, places: Array | slice) -> Array:
        """See ValueSource."""
        count = places.stop - places.start if isinstance(places, slice) else places.size
        return self._values[first : first + count]

    def add_block(
        self,
        first: int,
        start: int,
        numerator: Array,
        code: Array,
        held: Array,
        counted: Array,
        weight: np.float32,
    ) -> int:
        """See ValueSource."""
        taken = add_compiled(numerator, code, [(self.following(first), held, counted)], [weight])
        return -1 if taken is None else int(taken[0])

    def following(self, first: int) -> Array:
        """All values from the given one on."""
        return self._values[first:]

    def release(self) -> None:
        """See ValueSource."""


@dataclass(frozen=True)
class Part:
    """One client's part in one tensor, flat and checked.

    Attributes:
        weight: w_k > 0.
        mask: the held coordinates, bool or packed uint8; None for all.
        values: the held coordinates' values in index order, or all of them.
        dense: whether it is all of them.
    """

    weight: np.float32
    mask: Array | None
    values: ValueSource
    dense: bool

    def held(self, start: int, stop: int) -> Array | None:
        """Gives the mask of a block as bools, or None where all is held."""
        if self.mask is None or self.mask.dtype == np.bool_:
            return None if self.mask is None else self.mask[start:stop]
        packed = self.mask[start // 8 : -(-stop // 8)]
        return np.unpackbits(packed, count=stop - start).view(np.bool_)

    def values_before(self, start: int) -> int:
        """Gives how many of the values belong to coordinates before `start`, a multiple of 8."""
        if self.dense or self.mask is None:
            return start
        if self.mask.dtype == np.bool_:
            return int(np.count_nonzero(self.mask[:start]))
        return int(np.bitwise_count(self.mask[: start // 8]).sum(dtype=np.int64))


class Reader:
    """A part's values, block after block.

    Args:
        part: whose.
        start: the first coordinate to be asked for, a multiple of 8.
    """

    def __init__(self, part: Part, start: int) -> None:
        self._part, self._next = part, part.values_before(start)

    def add_block(
        self, start: int, stop: int, numerator: Array, code: Array, *, plain: bool
    ) -> bool:
        """Adds a block to sums by a compiled loop; False where the values have none.

        Blocks must be asked for in order, without gaps, each by one of the three ways.
        """
        bits = self._bits(start, stop, plain=plain)
        values, weight = self._part.values, self._part.weight
        taken = values.add_block(self._next, start, numerator, code, *bits, weight)
        self._next += max(taken, 0)
        return taken >= 0

    def in_memory(self, start: int, stop: int, *, plain: bool) -> Operands | None:
        """Gives what a compiled loop over several clients asks of one; None where it must decode.

        `skip` must be told how many values the loop took.
        """
        values = self._part.values
        if not isinstance(values, ArrayValues):
            return None
        return (values.following(self._next), *self._bits(start, stop, plain=plain))

    def skip(self, count: int) -> None:
        """So many values have been taken."""
        self._next += count

    def _bits(self, start: int, stop: int, *, plain: bool) -> tuple[Array, Array]:
        """Gives where a block's values belong, and which of its bits go into the codes."""
        mask = self._part.held(start, stop)
        bits = ALL_HELD if mask is None else mask.view(np.uint8)
        return ALL_HELD if self._part.dense else bits, ALL_HELD if plain else bits

    def next_block(self, start: int, stop: int) -> tuple[Array | None, Array | slice, Array]:
        """Gives a block's mask (None = all held), and values with their places, less `start`.

        Blocks must be asked for in order, without gaps, see `add_block`.
        """
        part, mask = self._part, self._part.held(start, stop)
        count = stop - start
        places: Array | slice = slice(0, count)
        if mask is not None and not part.dense:
            places = np.flatnonzero(mask)
            count = places.size
        values = part.values.block(self._next, start, places)
        self._next += count
        return mask, places, values


def checked_part(
    name: str, size: int, weight: np.float32, mask: Array | None, values: Array | ValueSource
) -> Part:
    """Flattens one client's tensor and refuses what does not fit.

    Args:
        name: the tensor's name, for errors.
        size: the tensor's number of coordinates.
        weight: w_k, already checked.
        mask: bool of `size`, packed uint8 of ceil(size / 8), or None.
        values: float32, as many as the mask keeps, or `size`; or a source of so many.

    Returns:
        The part.

    Raises:
        MergeError: a size or a dtype does not fit.
    """
    if isinstance(values, np.ndarray):
        if values.dtype != np.float32:
            raise MergeError(
                f"{name!r} must come as float32, it came as {values.dtype}: convert it"
            )
        values = ArrayValues(values.reshape(-1))
    kept = size
    if mask is not None:
        mask = mask.reshape(-1)
        expected = {np.dtype(np.bool_): size, np.dtype(np.uint8): -(-size // 8)}
        if mask.size != expected.get(mask.dtype):
            raise MergeError(
                f"the mask of {name!r} must be {size} bools or {-(-size // 8)} bytes of packed "
                f"bits, {mask.size} of {mask.dtype} came: it is of another architecture"
            )
        if values.size != size:
            bits = mask if mask.dtype == np.bool_ else np.unpackbits(mask, count=size)
            kept = int(np.count_nonzero(bits))
    if values.size not in (kept, size):
        raise MergeError(
            f"{name!r} must come with {kept} surviving values or all {size}, "
            f"{values.size} came: it is of another architecture or mask"
        )
    return Part(weight, mask, values, dense=values.size == size)
