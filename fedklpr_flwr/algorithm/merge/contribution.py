"""What one client gives to one tensor of a merge: its weight, its mask, and its values.

Values are asked for block by block, so that they may lie in memory, or be decoded from a payload
only when and where they are added.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedklpr_flwr.errors import MergeError

Array = NDArray[Any]

Block = tuple[Array | None, Array | slice, Array]
"""Of a block of coordinates: bool (n,), which of them are held, or None for all; the places of the
values in it, ascending; and the values, float32."""

_LARGEST = float(np.finfo(np.float32).max)


class ValueSource(Protocol):
    """A tensor's values, given in blocks; several threads may ask at once."""

    @property
    def size(self) -> int:
        """How many values there are."""
        ...

    def block(self, first: int, start: int, places: Array | slice) -> Array:
        """Give some of the values.

        Args:
            first: the number of the first value asked for, counted among those there are.
            start: where the block of coordinates begins that they belong to.
            places: the coordinates less `start`, ascending indices or a slice; as many values.

        Returns:
            float32, for reading.
        """
        ...

    def release(self) -> None:
        """No value will be asked for any more."""
        ...


@dataclass(frozen=True)
class ArrayValues:
    """Values that lie in memory: float32 (n,)."""

    values: Array

    @property
    def size(self) -> int:
        """See ValueSource."""
        return int(self.values.size)

    def block(self, first: int, start: int, places: Array | slice) -> Array:
        """See ValueSource."""
        count = places.stop - places.start if isinstance(places, slice) else places.size
        return self.values[first : first + count]

    def release(self) -> None:
        """See ValueSource."""


@dataclass(frozen=True)
class Contribution:
    """One client's part in one tensor.

    Attributes:
        weight: w_k, finite, >= 0, of the order of 1; with 0 (an idle client) nothing is added.
        mask: the coordinates that the client holds: bool of the tensor's shape, or uint8 with the
            bits packed by numpy.packbits, or None for all of them.
        values: float32, the held coordinates only, in index order, or the whole tensor, with
            zeros under the mask.
    """

    weight: float
    mask: Array | None
    values: ValueSource

    @classmethod
    def of(cls, weight: float, mask: Array | None, values: Array) -> "Contribution":
        """A contribution of values that lie in memory."""
        return cls(weight, mask, ArrayValues(values.reshape(-1)))

    def check(self, name: str, size: int) -> None:
        """Refuse what does not fit a tensor.

        Args:
            name: the tensor's name, for errors.
            size: its number of coordinates.

        Raises:
            MergeError: the weight is negative or not finite, or a size or dtype does not fit.
        """
        if not 0 <= self.weight <= _LARGEST:
            raise MergeError(
                f"a weight must be a finite number >= 0, {name!r} came with {self.weight}: leave "
                "that client's update out"
            )
        if isinstance(self.values, ArrayValues) and self.values.values.dtype != np.float32:
            dtype = self.values.values.dtype
            raise MergeError(f"{name!r} must come as float32, it came as {dtype}: convert it")
        kept, mask = size, self.mask
        if mask is not None:
            expected = {np.dtype(np.bool_): size, np.dtype(np.uint8): -(-size // 8)}
            if mask.size != expected.get(mask.dtype):
                raise MergeError(
                    f"the mask of {name!r} must be {size} bools or {-(-size // 8)} bytes of packed "
                    f"bits, {mask.size} of {mask.dtype} came: it is of another architecture"
                )
            if self.values.size != size:
                kept = self._held_before(size)
        if self.values.size not in (kept, size):
            raise MergeError(
                f"{name!r} must come with {kept} surviving values or all {size}, "
                f"{self.values.size} came: it is of another architecture or mask"
            )

    def blocks(self, size: int, start: int, stop: int, step: int) -> Iterator[Block]:
        """Give the values of a span of coordinates, block after block.

        Args:
            size: the tensor's number of coordinates.
            start: the span's first coordinate, a multiple of 8.
            stop: the coordinate after its last.
            step: coordinates of a block, a multiple of 8.
        """
        is_whole = self.mask is None or self.values.size == size
        first = start if is_whole else self._held_before(start)
        for begin in range(start, stop, step):
            end = min(begin + step, stop)
            mask = self._held(begin, end)
            places: Array | slice = slice(0, end - begin)
            count = end - begin
            if mask is not None and not is_whole:
                places = np.flatnonzero(mask)
                count = places.size
            yield mask, places, self.values.block(first, begin, places)
            first += count

    def _held(self, start: int, stop: int) -> Array | None:
        """The mask of a block as bools, or None where all is held."""
        if self.mask is None or self.mask.dtype == np.bool_:
            return None if self.mask is None else self.mask.reshape(-1)[start:stop]
        packed = self.mask[start // 8 : -(-stop // 8)]
        return np.unpackbits(packed, count=stop - start).view(np.bool_)

    def _held_before(self, stop: int) -> int:
        """How many coordinates before `stop` are held."""
        assert self.mask is not None
        if self.mask.dtype == np.bool_:
            return int(np.count_nonzero(self.mask.reshape(-1)[:stop]))
        # Bits past the tensor's end are not looked at, whatever a sender left in them.
        whole = int(np.bitwise_count(self.mask[: stop // 8]).sum(dtype=np.int64))
        rest = self.mask[stop // 8 : -(-stop // 8)]
        return whole + int(np.count_nonzero(np.unpackbits(rest, count=stop % 8)))
