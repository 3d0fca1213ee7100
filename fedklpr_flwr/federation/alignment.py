"""Who goes another way than the others: noise and poison have no direction in common with learning.

    c_kj = cos(change_k, change_j)          on a sample of the weights that both hold
    c_k = median_j c_kj                     over the round's other clients
    C_k <- C_k + (c_k - C_k) / 3            over the rounds k took part in
    trust_k = min(1, max(0, C_k) / (share x median_j C_j))

By the median, fewer than half cannot vouch for each other: two that send one and the same noise
agree with nobody else. Nor does the length of a change count. Late in a run an honest cosine of one
round may lie within chance of zero, where noise lies always; the running mean keeps them apart,
since chance makes less and less of it. Where the median itself is within chance, nobody can be told
from anybody, and all are trusted. Source: the ReLU-cosine trust of FLTrust (Cao et al. 2021); the
other clients in place of a server's own update, the running mean, and the medians, are ours.
"""

from collections.abc import Mapping, Sequence
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
"""Standard deviations by chance that a median must be above, see `Agreement.chance`."""

_NEW = 1 / 3
"""What a round counts in the running cosine: honest ones change slowly, chance does not."""

_CHUNK = 16_384  # sampled weights of all clients compared at once

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


@dataclass(frozen=True)
class Agreement:
    """How a client's changes agree with the others'.

    Attributes:
        cosine: in [-1, 1], the running mean over its rounds.
        rounds: how many that were, at least 1.
        common: the sampled weights that it and another held in the last of them, as a rule.
    """

    cosine: float
    rounds: int
    common: int = 0

    @property
    def chance(self) -> float:
        """The standard deviation that the cosine with another would have by chance alone.

        One round's is 1 / sqrt(n) on n weights; of independent rounds, a running mean's variance is
        (1-a)^2(r-1) + a^2 (1 + (1-a)^2 + ... + (1-a)^2(r-2)) of that.
        """
        kept = (1 - _NEW) ** 2
        first = kept ** float(self.rounds - 1)
        share = first + _NEW**2 * (1 - first) / (1 - kept)
        return float(np.sqrt(share / max(self.common, 1)))


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
    """The share of the median cosine from which on a client counts whole; None = nobody is asked.

    Real boxes are asked where the settings do not say; 0 asks nobody.
    """
    asked = settings.defence.alignment
    default = 0.3 if settings.deployment else 0.0
    return (default if asked is None else asked) or None


def running_cosines(
    changes: Mapping[str, Change | None], before: Mapping[str, Agreement]
) -> dict[str, Agreement]:
    """How each client's changes have agreed with the others', of those that changed anything.

    Args:
        changes: of the clients that count, by name.
        before: what this said in each client's round before; new clients have none.

    Returns:
        By client; empty where there are too few to say who stands out, or a change is not known.
    """
    known = {client: change for client, change in changes.items() if change is not None}
    if len(known) < len(changes):
        return {}
    known = {client: change for client, change in known.items() if change.values.any()}
    if len(known) < FEWEST:
        return {}
    cosines, common = _pairs(list(known.values()))
    found = {}
    for row, client in enumerate(known):
        cosine = float(np.median(np.delete(cosines[row], row)))
        earlier = before.get(client, Agreement(cosine, rounds=0))
        mean = earlier.cosine + _NEW * (cosine - earlier.cosine)
        weights = int(np.median(np.delete(common[row], row)))
        found[client] = Agreement(mean, earlier.rounds + 1, weights)
    return found


def trust(agreements: Mapping[str, Agreement], share: float) -> dict[str, float]:
    """How far each client is trusted, in [0, 1].

    Args:
        agreements: see `running_cosines`.
        share: see `alignment_share`.
    """
    if not agreements:
        return {}
    cosines = np.array([agreement.cosine for agreement in agreements.values()])
    chance = np.median([agreement.chance for agreement in agreements.values()])
    median = float(np.median(cosines))
    if median <= _CHANCE * float(chance):
        return dict.fromkeys(agreements, 1.0)
    factors = np.clip(cosines / (share * median), 0.0, 1.0)
    return {client: float(factor) for client, factor in zip(agreements, factors, strict=True)}


def _pairs(changes: Sequence[Change]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Each pair's cosine on the weights that both hold, and how many these are: (n,n), twice."""
    count, sampled = len(changes), changes[0].held.size
    products, squares, common = np.zeros((3, count, count))
    for start in range(0, sampled, _CHUNK):
        part = slice(start, start + _CHUNK)
        values = np.stack([change.values[part] for change in changes]).astype(np.float64)
        held = np.stack([change.held[part] for change in changes]).astype(np.float64)
        products += values @ values.T
        squares += values**2 @ held.T  # of the row's client, where the column's holds the weight
        common += held @ held.T
    lengths = np.sqrt(squares * squares.T)
    return np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0), common
