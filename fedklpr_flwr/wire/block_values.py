"""A tensor's kept values: its planes opened, joined to numbers only block by block.

Joining a block at a time keeps the work in a core's cache, and a merge can add the values up
without any tensor's values ever lying in memory as a whole.
"""

import zlib
from collections.abc import Callable, Sequence

import numpy as np

from fedklpr_flwr.errors import WireError
from fedklpr_flwr.wire.byte_planes import apply_difference, join_planes, plane_widths
from fedklpr_flwr.wire.dtypes import INT8, check_finite, from_symbols, to_symbols

BLOCK = 131_072
"""Coordinates decoded at once."""


class KeptValues:
    """The kept values of one tensor, float32, in index order; several threads may ask at once.

    Args:
        name: the tensor's name, for errors.
        size: how many values there are.
        planes: uint8 each, as split_planes gave them.
        form: FLOAT32, BFLOAT16, FLOAT16 or INT8.
        reference: float32 (tensor's size,), what the values were told as a difference to; None =
            they were not.
        steps: float32 (size,), each value's scale, for INT8 only.
        release: called when nobody will ask any more.
    """

    def __init__(
        self,
        name: str,
        size: int,
        planes: Sequence[np.ndarray],
        form: int,
        reference: np.ndarray | None,
        steps: np.ndarray | None,
        release: Callable[[], None],
    ) -> None:
        self.size = size
        self.release = release
        self._name, self._form, self._steps = name, form, steps
        self._planes, self._reference = planes, reference
        self._widths = plane_widths(form, reference is not None)

    def block(self, first: int, start: int, places: np.ndarray | slice) -> np.ndarray:
        """Decode some of the values.

        Args:
            first: the number of the first value, counted among the kept ones.
            start: where the block of coordinates begins that they belong to.
            places: the kept coordinates less `start`, ascending indices or a slice.

        Returns:
            float32, a value for each place.

        Raises:
            WireError: an int8 symbol that no sender writes.
        """
        count = places.stop - places.start if isinstance(places, slice) else places.size
        base = None if self._reference is None else self._reference[start:][places]
        return self._decode(first, first + count, base)

    def whole(self, mask: np.ndarray | None, reference_check: int) -> np.ndarray:
        """Decode all values, and check them and what they were told as a difference to.

        Args:
            mask: bool (tensor's size,), or None where all are kept.
            reference_check: CRC-32 of the sender's reference at the kept coordinates.

        Returns:
            float32 (size,), finite.

        Raises:
            WireError: another reference, NaN or infinity, or a symbol that no sender writes.
        """
        values = np.empty(self.size, np.float32)
        coordinates = self.size if mask is None else mask.size
        first, check = 0, 0
        for start in range(0, coordinates, BLOCK):
            stop = min(start + BLOCK, coordinates)
            base = None
            count = stop - start if mask is None else int(np.count_nonzero(mask[start:stop]))
            if self._reference is not None:
                base = self._reference[start:stop]
                base = base if mask is None else base[np.flatnonzero(mask[start:stop])]
                check = zlib.crc32(base.data, check)
            block = values[first : first + count]
            block[:] = self._decode(first, first + count, base)
            check_finite(block, self._name)
            first += count
        if self._reference is not None and check != reference_check:
            raise WireError(
                f"reference of {self._name}: the sender's has the check {reference_check:08x}, "
                f"this side's {check:08x}; open with the model that the sender received"
            )
        return values

    def _cut(self, first: int, stop: int) -> list[np.ndarray]:
        pairs = zip(self._planes, self._widths, strict=True)
        return [plane[first * width : stop * width] for plane, width in pairs]

    def _decode(self, first: int, stop: int, base: np.ndarray | None) -> np.ndarray:
        symbols = join_planes(self._cut(first, stop), self._form, base is not None)
        steps = None if self._steps is None else self._steps[first:stop]
        if base is not None:
            symbols = apply_difference(symbols, to_symbols(base, self._form, steps, self._name))
        if self._form == INT8 and not symbols.all():
            raise WireError(f"values of {self._name}: int8 runs from -127 to 127, got -128")
        return from_symbols(symbols, self._form, steps)
