"""A tensor as a quantised change to a reference that both sides hold.

    d = wanted - reference,  symbol = d / (share x rms(d)), rounded
    step = sum(d d) / sum(d symbol)
    arrived = reference + symbol step,  owed = wanted - arrived

What is cut off is not lost but owed: the sender adds it to what it wants the next time (error
feedback: Seide et al. 2014; Karimireddy et al. 2019). The step is such that what arrives goes as
far along d as d itself. With the step that was rounded by, coarse changes arrive too short, and all
clients' alike, so that a merge is a round late; errors across d differ and average out.
"""

import zlib
from collections.abc import Callable

import numpy as np

from fedklpr_flwr.errors import WireError
from fedklpr_flwr.wire.block_values import BLOCK
from fedklpr_flwr.wire.change_entropy import LARGEST
from fedklpr_flwr.wire.dtypes import check_finite

_FARTHEST = 1.5  # times the step of least error: what is owed is then always less than d
_SMALLEST_STEP = float(np.finfo(np.float32).tiny)
# The next below: what float32 rounds the limit to is above it, and a reader would refuse it.
_LARGEST_STEP = float(np.nextafter(np.finfo(np.float32).max / np.float32(LARGEST), np.float32(0)))


def root_mean_square(numbers: np.ndarray) -> float:
    """Give the root of the mean square, added up in float64, block by block; 0 of no numbers.

    Args:
        numbers: float32 (n,).
    """
    total = 0.0
    for start in range(0, numbers.size, BLOCK):
        part = numbers[start : start + BLOCK].astype(np.float64)
        total += _product(part, part)
    return float(np.sqrt(total / max(1, numbers.size)))


def quantise_change(
    wanted: np.ndarray, reference: np.ndarray, share: float, *, positive: bool = False
) -> tuple[np.ndarray, np.float32]:
    """Quantise a tensor's change to a reference.

    Args:
        wanted: float32 (k,), finite.
        reference: float32 (k,), finite.
        share: what is rounded by, in units of the change's root mean square, > 0; towards 0
            nothing is cut off but what 32,767 steps do not reach.
        positive: a variance. Steps are in units of its own root mean square where its change is
            larger, as it is from the initial 1 on; and what arrives is never below a quarter of
            what is wanted, nor of a sixteenth of the reference: none may become 0 by rounding.

    Returns:
        int16 symbols (k,) and the step, what a symbol of 1 is; no change at all has the step 0 and
        symbols of 0.
    """
    with np.errstate(over="ignore"):
        change = wanted - reference
    size = root_mean_square(change)
    # Never finer than a 256th of the change: 32,767 steps must reach all of it.
    of = min(size, max(root_mean_square(wanted), size / 256)) if positive else size
    unit = np.float32(min(share * of, _LARGEST_STEP))
    symbols = np.zeros(wanted.size, np.int16)
    if not unit >= _SMALLEST_STEP:
        return symbols, np.float32(0)
    along = squares = 0.0  # sum(d symbol) and sum(symbol symbol), d in units
    for start in range(0, wanted.size, BLOCK):
        part = change[start : start + BLOCK] / unit
        steps = np.rint(part)
        if positive:
            base = reference[start : start + BLOCK]
            least = np.maximum(wanted[start : start + BLOCK], base / 16) / 4
            steps = np.maximum(steps, np.ceil((least - base) / unit))
        np.clip(steps, -LARGEST, LARGEST, out=steps)
        symbols[start : start + BLOCK] = steps
        whole = steps.astype(np.float64)
        along += _product(part.astype(np.float64), whole)
        squares += _product(whole, whole)
    if positive or squares == 0:
        return symbols, unit if symbols.any() else np.float32(0)
    changed = wanted.size * (size / float(unit)) ** 2
    longer = min(changed / along, _FARTHEST * along / squares)
    return symbols, np.float32(np.clip(longer * float(unit), _SMALLEST_STEP, _LARGEST_STEP))


def _product(one: np.ndarray, other: np.ndarray) -> float:
    """Their scalar product, by one thread.

    That of BLAS starts as many threads as there are cores and lets them turn while they wait: where
    others use the cores too, as on a box that trains, quantising took four times as long.
    """
    return float(np.einsum("i,i->", one, other))


def apply_change(reference: np.ndarray, symbols: np.ndarray, step: np.float32) -> np.ndarray:
    """Give what arrives: reference + symbol x step, float32, rounded after each operation.

    Args:
        reference: float32 (n,).
        symbols: int16 (n,).
        step: float32.

    Returns:
        float32 (n,), equal to the bit on every machine.
    """
    # Two operations of numpy: one fused one would round once and give other last bits.
    arrived: np.ndarray = symbols.astype(np.float32)
    arrived *= step
    arrived += reference
    return arrived


def check_step(step: np.float32, field: str) -> None:
    """Refuse a step that no sender writes.

    Args:
        step: float32, from the network.
        field: the tensor's name, for the error.

    Raises:
        WireError: it is not a number, not above 0, or 32,767 steps are no float32.
    """
    if not _SMALLEST_STEP <= float(step) <= _LARGEST_STEP:
        raise WireError(
            f"step of {field}: expected {_SMALLEST_STEP:.3g} to {_LARGEST_STEP:.3g}, got "
            f"{float(step):.3g}"
        )


class ChangedValues:
    """The kept values of one tensor that came as a change, float32, in index order.

    Args:
        name: the tensor's name, for errors.
        symbols: int16 (k,); None = nothing has changed.
        step: what a symbol of 1 is.
        reference: float32 (tensor's size,).
        count: k.
        release: called when nobody will ask any more.
    """

    def __init__(
        self,
        name: str,
        symbols: np.ndarray | None,
        step: np.float32,
        reference: np.ndarray,
        count: int,
        release: Callable[[], None],
    ) -> None:
        self.size = count
        self.release = release
        self.symbols, self.step = symbols, step
        self._name, self._reference = name, reference

    def block(self, first: int, start: int, places: np.ndarray | slice) -> np.ndarray:
        """Give some of the values; see KeptValues."""
        base = self._reference[start:][places]
        if self.symbols is None:
            return base
        return apply_change(base, self.symbols[first : first + base.size], self.step)

    def whole(self, mask: np.ndarray | None, check: int) -> np.ndarray:
        """Give all values, checked.

        Args:
            mask: bool (tensor's size,), or None where all are kept.
            check: CRC-32 of the values as the sender expects them to arrive.

        Returns:
            float32 (k,), finite.

        Raises:
            WireError: NaN or infinity, or other values than the sender's: another reference.
        """
        values = np.empty(self.size, np.float32)
        coordinates, first = self.size if mask is None else mask.size, 0
        for start in range(0, coordinates, BLOCK):
            stop = min(start + BLOCK, coordinates)
            places: np.ndarray | slice = slice(0, stop - start)
            if mask is not None:
                places = np.flatnonzero(mask[start:stop])
            block = self.block(first, start, places)
            values[first : first + block.size] = block
            first += block.size
        check_finite(values, self._name)
        found = zlib.crc32(values.data) if values.size else 0
        if found != check:
            raise WireError(
                f"reference of {self._name}: with the sender's the values have the check "
                f"{check:08x}, with this side's {found:08x}; ask for the whole model"
            )
        return values
