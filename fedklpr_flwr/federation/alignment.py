"""Who goes another way than all others: noise and poison have no direction in common with learning.

    c_k = cos(change_k, mean of the others' changes)      on a sample of the weights that k holds
    trust_k = min(1, max(0, c_k) / (share x median_j c_j))

Each change counts with length 1 in the others' mean, so that a huge one leads nobody astray. Where
the median itself is within chance, nobody can be told from anybody, and all are trusted. Source:
the ReLU-cosine trust of FLTrust (Cao et al. 2021); the others' mean in place of a server's own
update, and the median, are ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedklpr_flwr.algorithm.block_arithmetic import Array
from fedklpr_flwr.federation.defence import FEWEST
from fedklpr_flwr.federation.method import Settings
from fedklpr_flwr.wire.layout import Layout

SAMPLED = 262_144
"""Weights looked at: the cosine of two unrelated changes is then within 0.002, as a rule."""

_CHANCE = 4.0
"""Standard deviations of a cosine by chance, 1 / sqrt(n), that a median must be above."""

Places = Mapping[str, NDArray[np.int64]]


@dataclass(frozen=True)
class Change:
    """What an update changes at the sampled weights.

    Attributes:
        values: float32 (n,), 0 where it does not hold the weight.
        held: bool (n,).
    """

    values: Array
    held: Array


def sampled_places(layout: Layout, settings: Settings) -> Places:
    """The weights looked at, by tensor, ascending; empty where nobody asks for them.

    Args:
        layout: the tensors that travel; those of two axes or more are looked at.
        settings: the run's settings.
    """
    weights = [spec for spec in layout if len(spec.shape) >= 2 and spec.size]
    if alignment_share(settings) is None or not weights:
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


class ChangeMeter:
    """Collects what an update changes, tensor by tensor, in the layout's order."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._values: list[Array] = []
        self._held: list[Array] = []

    def add(self, name: str, values: Array, mask: Array | None, sent: Array) -> None:
        """Add a tensor.

        Args:
            name: which.
            values: float32, the held coordinates' values, or the whole tensor without a mask.
            mask: bool of the tensor's shape, or None.
            sent: float32, the tensor as it was sent.
        """
        if name not in self._places:
            return
        places, flat = self._places[name], values.reshape(-1)
        held = np.ones(places.size, np.bool_)
        at = places
        if mask is not None:
            bits = mask.reshape(-1)
            held = bits[places]
            at = (np.cumsum(bits) - 1)[places]
        change = np.zeros(places.size, np.float32)
        change[held] = flat[at[held]] - sent.reshape(-1)[places[held]]
        self._values.append(change)
        self._held.append(held)

    @property
    def change(self) -> Change | None:
        """What was collected; None where nothing was asked for."""
        if not self._values:
            return None
        return Change(np.concatenate(self._values), np.concatenate(self._held))


def alignment_share(settings: Settings) -> float | None:
    """The share of the median cosine from which on a client counts whole; real boxes are asked."""
    return settings.defence.alignment or (0.3 if settings.deployment else None)


def trust(changes: Mapping[str, Change | None], share: float | None) -> dict[str, float]:
    """How far each client is trusted, in [0, 1]; empty where that is not asked.

    Args:
        changes: of the clients that count, by name; one that changed nothing is trusted.
        share: see `alignment_share`.
    """
    known = {client: change for client, change in changes.items() if change is not None}
    if share is None or len(known) < FEWEST or len(known) < len(changes):
        return {}
    held = np.stack([change.held for change in known.values()])
    unit = np.stack([_unit(change.values) for change in known.values()])
    cosines = np.array([_cosine_to_others(unit, held, row) for row in range(len(unit))])
    least = share * float(np.median(cosines))
    if least <= share * _CHANCE / unit.shape[1] ** 0.5:
        return dict.fromkeys(known, 1.0)
    factors = np.clip(cosines / least, 0.0, 1.0)
    factors[~unit.any(axis=1)] = 1.0
    return {client: float(factor) for client, factor in zip(known, factors, strict=True)}


def _unit(values: Array) -> NDArray[np.float64]:
    length = float(np.linalg.norm(values.astype(np.float64)))
    return values / length if length > 0 else values.astype(np.float64)


def _cosine_to_others(unit: NDArray[np.float64], held: Array, row: int) -> float:
    holders = held.sum(axis=0) - held[row]
    common = held[row] & (holders > 0)
    others = (unit.sum(axis=0) - unit[row])[common] / holders[common]
    own = unit[row][common]
    lengths = float(np.linalg.norm(own) * np.linalg.norm(others))
    return float(own @ others) / lengths if lengths > 0 else 0.0
