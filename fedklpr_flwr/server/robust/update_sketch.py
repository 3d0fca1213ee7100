"""What an update changes, at some weights: enough to tell its direction, little enough to keep.

An update's own values are decoded again for the merge; this is what is kept of it until all are
there, on disk, so that the server's memory does not grow with its clients.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from fedklpr_flwr.algorithm.merge.contribution import Array
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.system.atomic_file import write_atomically
from fedklpr_flwr.wire.layout import Layout

SAMPLED = 262_144
"""Weights looked at: the cosine of two unrelated changes is then within 0.002, as a rule."""

Places = NDArray[np.int64]
"""Of the sampled weights in one tensor, ascending."""


class Change(Protocol):
    """What an update changes at the sampled weights, wherever that is kept."""

    @property
    def count(self) -> int:
        """How many weights are sampled."""
        ...

    @property
    def moved(self) -> bool:
        """Whether any of them changed."""
        ...

    def part(self, start: int, stop: int) -> tuple[Array, Array]:
        """Some of them: what they changed, float32, 0 where not held; and bool, which are held."""
        ...


@dataclass(frozen=True)
class SampledChange:
    """A change in memory.

    Attributes:
        values: float32 (n,), 0 where it does not hold the weight.
        held: bool (n,).
    """

    values: Array
    held: Array

    @property
    def count(self) -> int:
        """See Change."""
        return self.values.size

    @property
    def moved(self) -> bool:
        """See Change."""
        return bool(self.values.any())

    def part(self, start: int, stop: int) -> tuple[Array, Array]:
        """See Change."""
        return self.values[start:stop], self.held[start:stop]

    @classmethod
    def joined(cls, changes: Sequence["SampledChange"]) -> Self:
        """Several tensors' as one."""
        return cls(
            np.concatenate([change.values for change in changes]),
            np.concatenate([change.held for change in changes]),
        )

    def spool(self, file: Path) -> "StoredChange":
        """Write it to a file, which must stay as long as it is asked.

        Raises:
            RunError: it cannot be written.
        """
        write_atomically(file, self.values.astype("<f4").tobytes() + self.held.tobytes())
        return StoredChange(file, self.count, self.moved)


@dataclass(frozen=True)
class StoredChange:
    """A change on disk.

    Attributes:
        file: its values, then which are held, a byte each.
        count: see Change.
        moved: see Change.
    """

    file: Path
    count: int
    moved: bool

    def part(self, start: int, stop: int) -> tuple[Array, Array]:
        """See Change."""
        size, first = stop - start, 4 * self.count + start
        values = np.fromfile(self.file, "<f4", size, offset=4 * start)
        return values, np.fromfile(self.file, np.bool_, size, offset=first)


def alignment_share(settings: Settings) -> float | None:
    """The share of the median cosine from which a client counts whole; None = nobody is asked."""
    return settings.defence.alignment or None


def compares_directions(settings: Settings) -> bool:
    """Whether anybody asks how clients' changes agree: the defence, or KLAW by agreement."""
    weighs = settings.method.aggregation_weights in ("klpwa", "klaw")
    by_agreement = weighs and settings.klaw.direction == "agreement"
    return by_agreement or alignment_share(settings) is not None


def sampled_places(layout: Layout, settings: Settings) -> dict[str, Places]:
    """The weights looked at, by tensor, ascending; empty where nobody asks for them.

    Args:
        layout: the tensors that travel; those of two axes or more are looked at.
        settings: the run's settings.
    """
    weights = [spec for spec in layout if len(spec.shape) >= 2 and spec.size]
    if not compares_directions(settings) or not weights:
        return {}
    ends = np.cumsum([spec.size for spec in weights])
    generator = np.random.default_rng([settings.seed, int(ends[-1])])
    count = min(SAMPLED, int(ends[-1]))
    chosen = np.sort(generator.choice(ends[-1], count, replace=False, shuffle=False))
    cuts = np.searchsorted(chosen, ends)
    begins, firsts = np.append(0, cuts[:-1]), np.append(0, ends[:-1])
    return {
        spec.name: chosen[begin:end] - first
        for spec, begin, end, first in zip(weights, begins, cuts, firsts, strict=True)
    }


def sampled_change(places: Places, values: Array, mask: Array | None, sent: Array) -> SampledChange:
    """What an update changes in one tensor.

    Args:
        places: of the tensor's sampled weights.
        values: float32, the held coordinates' values, or the whole tensor without a mask.
        mask: bool of the tensor's shape, or None.
        sent: float32, the tensor as it was sent.
    """
    flat, before = values.reshape(-1), sent.reshape(-1)[places]
    if mask is None or not places.size:
        return SampledChange(flat[places] - before, np.ones(places.size, np.bool_))
    bits = mask.reshape(-1)
    held = bits[places]
    # How many are held before each place: those before the first, then those between two.
    between = np.add.reduceat(bits[: places[-1]].view(np.uint8), places[:-1], dtype=np.int64)
    ranks = np.cumsum(np.append(np.count_nonzero(bits[: places[0]]), between))
    change = np.zeros(places.size, np.float32)
    change[held] = flat[ranks[held]] - before[held]
    return SampledChange(change, held)
