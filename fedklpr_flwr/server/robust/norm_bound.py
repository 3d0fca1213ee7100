"""What one hostile or broken client cannot do: move the merged model further than the others do.

    theta_k <- sent + min(1, bound * median_j |theta_j - sent| / |theta_k - sent|) (theta_k - sent)

and no figure that a weight is made of (divergence, pictures, cosine distance) counts for more than
`bound` times the round's median; that of an update which stands out counts as the median at most,
so that length and weight do not multiply. An update beyond ten times the bound is damage, whatever
it says, and is left out. Lengths are taken over the held coordinates, for weights (two axes or
more) and for the rest apart, so that a statistic of thousands does not hide the weights. Source:
norm bounding, Sun et al. 2019; the median is ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedklpr_flwr.algorithm.merge.contribution import Array, ValueSource
from fedklpr_flwr.config.settings import Settings

FEWEST = 3
"""Clients below which no median says who stands out."""

DAMAGE = 10.0
"""Times the bound that no training reaches; on the drawn sites honest lengths are 0.89 to 1.08 of
the median."""

_MOST_PAIRS = 3.0
"""Times the median that one client's pairs count for, in a study as well: only a sum of all decides
who prunes."""

Lengths = tuple[float, float]
"""|theta_k - sent| of the weights, and of all other tensors."""


def squared_distance(values: Array, mask: Array | None, sent: Array) -> float:
    """|theta_k - sent|^2 of one tensor, over the held coordinates.

    Args:
        values: float32, the held coordinates' values, or the whole tensor without a mask.
        mask: bool of the tensor's shape, or None.
        sent: float32, the tensor as it was sent.
    """
    flat = sent.reshape(-1)
    base = flat if mask is None else flat[np.flatnonzero(mask)]
    apart = values.reshape(-1).astype(np.float64) - base
    return float(apart @ apart)


def norm_bound(settings: Settings) -> float | None:
    """The multiple of the median that is let through; None = any."""
    return settings.defence.norm_bound


def unbounded_note(settings: Settings, clients: int) -> str | None:
    """Say what a bound cannot do with so few clients; None where it is off or can.

    Args:
        settings: the run's settings.
        clients: those that are here.
    """
    if norm_bound(settings) is None or clients >= FEWEST:
        return None
    return (
        f"{clients} clients have no median: no update, divergence or number of pictures is bounded "
        f"(defence.norm_bound needs {FEWEST}), and one of them may spoil the model"
    )


def shortening(lengths: Mapping[str, Lengths], bound: float | None) -> dict[str, Lengths]:
    """The factors by which updates are shortened, of those clients that stand out.

    Args:
        lengths: of the updates that count, by client.
        bound: the multiple of the median that is let through; None = any.
    """
    if bound is None or len(lengths) < FEWEST:
        return {}
    table = np.array(list(lengths.values()))
    most = bound * np.median(table, axis=0)
    factors = np.where(table > most, most / np.maximum(table, np.finfo(np.float64).tiny), 1.0)
    pairs = zip(lengths, factors.tolist(), strict=True)
    return {client: (of[0], of[1]) for client, of in pairs if min(of) < 1}


def damaged(shortened: Mapping[str, Lengths]) -> set[str]:
    """Whose weights stand out so far that the update is not merged at all."""
    return {client for client, (factor, _) in shortened.items() if factor < 1 / DAMAGE}


def bounded(
    figures: Sequence[float],
    active: NDArray[np.bool_],
    bound: float | None,
    stands_out: Sequence[bool],
) -> NDArray[np.float64]:
    """Bound figures that no client may make too much of, since each reports its own.

    Args:
        figures: divergences, numbers of pictures or cosine distances, of all clients, >= 0.
        active: those whose median counts.
        bound: the multiple of the median that counts; None = any.
        stands_out: those whose update is shortened; theirs count as the median at most.
    """
    values = np.asarray(figures, np.float64)
    if bound is None or np.count_nonzero(active) < FEWEST:
        return values
    return np.minimum(
        values, np.where(np.asarray(stands_out), 1.0, bound) * np.median(values[active])
    )


def pooled_pairs(counts: Sequence[tuple[int, int, int]]) -> tuple[int, int, int]:
    """Add up what clients saw of the merged model; none counts for more than three medians.

    Who says that it compared more keeps its ratio. Its own ratio it can still choose: a bound on
    how many pictures speak is none on what they say.

    Args:
        counts: of each client how many pictures became wrong, right, and were compared.

    Returns:
        The sums; of fewer than three clients that compared anything those of all they say.
    """
    compared = [float(of) for _, _, of in counts]
    most = bounded(compared, np.array(compared) > 0, _MOST_PAIRS, [False] * len(counts))
    sums = [0, 0, 0]
    for client, limit in zip(counts, most.astype(int).tolist(), strict=True):
        for place, count in enumerate(client):
            sums[place] += count * limit // max(client[2], 1)
    return sums[0], sums[1], sums[2]


def furthest(lengths: Mapping[str, Lengths]) -> tuple[str, float] | None:
    """Find who moved the model so far beyond all others that what goes wrong next began there.

    Args:
        lengths: of the updates that were merged, by client.

    Returns:
        The client, and how many times as long its update is as the next longest, of the weights
        or of the rest, whichever is more; None where nobody stands out ten times, or moves alone.
    """
    found: tuple[str, float] | None = None
    for part in (0, 1):
        ordered = sorted(lengths, key=lambda client: lengths[client][part], reverse=True)
        if len(ordered) < 2 or lengths[ordered[1]][part] <= 0.0:
            continue
        times = lengths[ordered[0]][part] / lengths[ordered[1]][part]
        if times >= DAMAGE and (found is None or times > found[1]):
            found = ordered[0], times
    return found


@dataclass(frozen=True)
class ShortenedValues:
    """An update's values, drawn towards what was sent; a ValueSource.

    Attributes:
        values: the update's own.
        sent: float32 (tensor's size,), the tensor as it was sent.
        factor: in [0, 1].
    """

    values: ValueSource
    sent: Array
    factor: float

    @property
    def size(self) -> int:
        """How many values there are."""
        return self.values.size

    def block(self, first: int, start: int, places: Array | slice) -> Array:
        """See ValueSource."""
        base = self.sent[start:][places]
        apart = self.values.block(first, start, places) - base
        return base + np.float32(self.factor) * apart

    def release(self) -> None:
        """See ValueSource."""
        self.values.release()
