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

from fedklpr_flwr.server.robust.norm_bound import FEWEST
from fedklpr_flwr.server.robust.update_sketch import Change

_CHANCE = 4.0
"""Standard deviations by chance that a median must be above, see `Agreement.chance`."""

_NEW = 1 / 3
"""What a round counts in the running cosine: honest ones change slowly, chance does not."""

_CHUNK = 2**20  # numbers of all clients compared at once: what that takes does not grow with them


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
    known = {client: change for client, change in known.items() if change.moved}
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
    median = typical_cosine(agreements)
    if median is None:
        return dict.fromkeys(agreements, 1.0)
    cosines = np.array([agreement.cosine for agreement in agreements.values()])
    factors = np.clip(cosines / (share * median), 0.0, 1.0)
    return {client: float(factor) for client, factor in zip(agreements, factors, strict=True)}


def typical_cosine(agreements: Mapping[str, Agreement]) -> float | None:
    """The clients' median cosine; None where it is within chance, or nobody was compared."""
    if not agreements:
        return None
    chance = np.median([agreement.chance for agreement in agreements.values()])
    median = float(np.median([agreement.cosine for agreement in agreements.values()]))
    return None if median <= _CHANCE * float(chance) else median


def _pairs(changes: Sequence[Change]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Each pair's cosine on the weights that both hold, and how many these are: (n,n), twice."""
    count, sampled = len(changes), changes[0].count
    products, squares, common = np.zeros((3, count, count))
    width = max(1, _CHUNK // count)
    for start in range(0, sampled, width):
        parts = [change.part(start, min(start + width, sampled)) for change in changes]
        values, held = (np.stack(rows).astype(np.float64) for rows in zip(*parts, strict=True))
        products += values @ values.T
        squares += values**2 @ held.T  # of the row's client, where the column's holds the weight
        common += held @ held.T
    lengths = np.sqrt(squares * squares.T)
    return np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0), common
