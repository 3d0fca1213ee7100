"""From what clients say of a round to their weights in the merge.

Every function takes one scalar per client, in client order, and gives float64 weights that sum
to 1. `active` marks the clients that trained: an idle one gets weight 0 and takes nothing from the
others. Where nobody is active all weights are 0, and the merge keeps the previous model.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedklpr_flwr.errors import MergeError

Weights = NDArray[np.float64]

_SMALLEST_DIVERGENCE = 1e-12
# Without a floor the alignment reading would give everything to a client that learnt nothing.
_ALIGNMENT_FLOOR = 0.01
# A bounded factor lies in [1/2, 2]: the most that one client's word is worth against another's.
_LARGEST_FACTOR = 2.0


def divergence_weights(
    divergences: ArrayLike, direction: str = "gain", *, active: ArrayLike | None = None
) -> Weights:
    """Weighs each client by the KL divergence of its local training (paper: KLAW).

        gain:       KLAW~_k = KL_k / sum_j KL_j            more learnt, more weight
        alignment:  KLAW~_k = (1/KL_k) / sum_j (1/KL_j)    nearer the global model, more weight
        bounded:    KLAW~_k = a_k / sum_j a_j,  a_k = clip(median_j KL_j / KL_k, 1/2, 2)

    Neither of the first two is safe: `gain` lets a client that diverges take over the model,
    `alignment` one that hardly learnt. `bounded` reads as `alignment` does, within a factor of
    four between any two.

    Args:
        divergences: (K,) mean KL(after || before) in nats, finite, >= 0. `gain` and `bounded` floor
            them at 1e-12, `alignment` at a hundredth of the active clients' mean.
        direction: `gain`, `alignment` or `bounded`; the median is the active clients'.
        active: (K,) bool, False = idle; all active where left out.

    Returns:
        (K,) weights; uniform over the active clients where all divergences are 0 or equal.

    Raises:
        MergeError: a divergence is NaN, infinite or negative (the index is named), or the
            direction is unknown.

    Source: FedKLPR's KLAW. "gain" is the review's reading, "alignment" v1's; the
        bounds are this project's.
    """
    values = _checked(divergences, "divergence")
    trained = _active(active, len(values))
    if direction == "gain":
        return _normalised(np.maximum(values, _SMALLEST_DIVERGENCE), trained)
    if direction == "alignment":
        mean = values[trained].mean() if trained.any() else 0.0
        floor = max(_SMALLEST_DIVERGENCE, _ALIGNMENT_FLOOR * mean)
        return _normalised(1.0 / np.maximum(values, floor), trained)
    if direction == "bounded":
        floored = np.maximum(values, _SMALLEST_DIVERGENCE)
        median = float(np.median(floored[trained])) if trained.any() else 1.0
        return _normalised(_bounded_factor(median / floored), trained)
    raise MergeError(f"klaw.direction must be gain, alignment or bounded, it is {direction!r}")


def agreement_weights(
    cosines: ArrayLike, typical: float | None, *, active: ArrayLike | None = None
) -> Weights:
    """Weighs each client by how its change agrees with the others' (KLAW by direction).

        KLAW~_k = a_k / sum_j a_j,  a_k = clip(c_k / typical, 1/2, 2)

    Args:
        cosines: (K,) running mean cosines with the other clients' changes, in [-1, 1]; NaN = the
            client was not compared, its factor is 1.
        typical: the clients' median cosine; None, or not above 0, = nobody can be told from
            anybody, and all factors are 1.
        active: (K,) bool, False = idle; all active where left out.

    Returns:
        (K,) weights; uniform where all cosines are equal or nothing is known.

    Raises:
        MergeError: the active marks are not one per client.

    Source: FedKLPR v1, "stronger alignment with the global model"; by direction: FedAWA. Median
        and bounds are this project's.
    """
    values = np.asarray(cosines, dtype=np.float64)
    trained = _active(active, len(values))
    if typical is None or typical <= 0:
        return _normalised(np.ones(len(values)), trained)
    factors = _bounded_factor(values / typical)
    return _normalised(np.where(np.isnan(values), 1.0, factors), trained)


def scaled_by_data(weights: ArrayLike, examples: ArrayLike, power: float) -> Weights:
    """Lets data count beside another weight, w_k n_k^power / sum_j w_j n_j^power.

    Args:
        weights: (K,) weights, >= 0; 0 stays 0.
        examples: (K,) pictures trained on, >= 0.
        power: 0 = data do not count, 0.5 = by the square root, 1 = in proportion.

    Returns:
        (K,) weights; those given where power is 0 or all have as many pictures.

    Raises:
        MergeError: a weight or a count is NaN, infinite or negative; the index is named.
    """
    checked, counts = _checked(weights, "weight"), _checked(examples, "number of examples")
    return _normalised(checked * counts**power, checked > 0)


def within_share(weights: ArrayLike, shares: ArrayLike, bound: float) -> Weights:
    """Keeps each weight between 1/bound and bound times its client's share by data.

        w_k <- clip(c w_k, s_k / bound, bound s_k),  with the one c for which they sum to 1

    A client's divergence is its own word, and a small one is as easily had as a large one: so
    neither who diverges nor who hardly learns can take over, and nobody is silenced. What the
    shares are made of is a client's word as well, which the caller bounds.

    Args:
        weights: (K,) weights, >= 0.
        shares: (K,) shares by data that sum to 1, 0 for idle clients, of `data_size_weights`.
        bound: >= 1; 1 gives the shares themselves.

    Returns:
        (K,) weights; the given ones where all lie within their bounds.

    Raises:
        MergeError: a weight or share is NaN, infinite or negative, or the bound is below 1.
    """
    wanted, data = _checked(weights, "weight"), _checked(shares, "share by data")
    if not bound >= 1:
        raise MergeError(f"klaw.bound must be at least 1, it is {bound}: leave it out for no bound")
    if not data.any():
        return data
    # A client whose weight has rounded to nothing still gets its least share.
    wanted = np.maximum(wanted, _SMALLEST_DIVERGENCE * np.max(wanted))
    low, high = data / bound, data * bound
    corners = np.sort(np.concatenate([low / wanted, high / wanted]))
    # Between two corners the sum is a straight line in c, so that interpolation is exact.
    sums = [np.clip(corner * wanted, low, high).sum() for corner in corners]
    return _normalised(np.clip(np.interp(1.0, sums, corners) * wanted, low, high), data > 0)


def pruning_weights(
    ratios: ArrayLike,
    formula: str = "inverse_density",
    *,
    prunable: int = 10_000_000,
    active: ArrayLike | None = None,
) -> Weights:
    """Weighs each client by how much it has pruned (paper: PRAW).

        inverse_density:  PRAW_k = 1 / (1 - p_k)     every client's mass over coordinates is equal
        pruned:           PRAW_k = p_k + 1/N         all but silences a client that has not pruned
        density:          PRAW_k = 1 - p_k           more surviving weights, more weight

    Args:
        ratios: (K,) pruning ratios p_k, 0 <= p_k < 1.
        formula: one of the three names.
        prunable: N, the number of prunable weights, >= 1; only `pruned` uses it.
        active: (K,) bool, False = idle; all active where left out.

    Returns:
        (K,) weights; uniform where all ratios are equal, so before anyone has pruned.

    Raises:
        MergeError: a ratio is not in [0, 1) (the index is named), or the formula is unknown.

    Source: FedKLPR's PRAW; the paper's formula is not public, the default agrees with its words.
    """
    values = _checked(ratios, "pruning ratio", below=1.0)
    trained = _active(active, len(values))
    if formula == "inverse_density":
        return _normalised(1.0 / (1.0 - values), trained)
    if formula == "pruned":
        return _normalised(values + 1.0 / max(prunable, 1), trained)
    if formula == "density":
        return _normalised(1.0 - values, trained)
    raise MergeError(f"praw.formula must be inverse_density, pruned or density, it is {formula!r}")


def combined_weights(klaw: ArrayLike, praw: ArrayLike, how: str = "product") -> Weights:
    """Joins the two weights into one (paper: KLPWA).

        product:  w_k = KLAW~_k PRAW~_k / sum_j KLAW~_j PRAW~_j
        mean:     w_k = (KLAW~_k + PRAW~_k) / 2

    Args:
        klaw: (K,) weights summing to 1, of `divergence_weights`.
        praw: (K,) weights summing to 1, of `pruning_weights`.
        how: `product` or `mean`.

    Returns:
        (K,) weights. Where one of the two is uniform, `product` gives the other.

    Raises:
        MergeError: a weight is NaN, infinite or negative, the lengths differ, or `how` is unknown.

    Source: FedKLPR's KLPWA, "a unified weighting mechanism"; the operator is not public.
    """
    first, second = _checked(klaw, "KLAW weight"), _checked(praw, "PRAW weight")
    if len(first) != len(second):
        raise MergeError(
            f"KLAW and PRAW must be of the same clients, they are of {len(first)} and {len(second)}"
        )
    joined = {"product": first * second, "mean": first + second}
    if how in joined:
        return _normalised(joined[how], joined[how] > 0)
    raise MergeError(f"klpwa.combine must be product or mean, it is {how!r}")


def data_size_weights(examples: ArrayLike, *, active: ArrayLike | None = None) -> Weights:
    """Weighs each client by its number of pictures, w_k = n_k / sum_j n_j (FedAvg).

    Args:
        examples: (K,) counts, >= 0.
        active: (K,) bool, False = idle; all active where left out.

    Returns:
        (K,) weights; uniform over the active clients where nobody has a picture.

    Raises:
        MergeError: a count is NaN, infinite or negative; the index is named.
    """
    values = _checked(examples, "number of examples")
    return _normalised(values, _active(active, len(values)))


def cosine_weights(distances: ArrayLike, *, active: ArrayLike | None = None) -> Weights:
    """Weighs each client by the cosine distance of its local training (CDW of FedCAPR, FedReID).

    Args:
        distances: (K,) mean 1 - cos(after, before), in [0, 2].
        active: (K,) bool, False = idle; all active where left out.

    Returns:
        (K,) weights; uniform where all distances are equal. Unlike FedCAPR's code, which
        truncates int(1000 * distance), a small distance does not delete a client.

    Raises:
        MergeError: a distance is NaN, infinite or negative; the index is named.
    """
    values = _checked(distances, "cosine distance")
    trained = _active(active, len(values))
    return _normalised(np.maximum(values, _SMALLEST_DIVERGENCE), trained)


def uniform_weights(count: int, *, active: ArrayLike | None = None) -> Weights:
    """Weighs every active client the same, w_k = 1/K (LotteryFL, Sub-FedAvg).

    Args:
        count: number of clients, idle ones included.
        active: (K,) bool, False = idle; all active where left out.

    Returns:
        (K,) weights.
    """
    return _normalised(np.ones(count), _active(active, count))


def cap_weights(weights: ArrayLike, cap: float | None = None) -> Weights:
    """Lets no client weigh more than the cap; the others share the excess in proportion.

    A client reports its own divergence: without a cap a dishonest one takes over the model.

    Args:
        weights: (K,) weights, finite, >= 0.
        cap: the most one client may weigh, > 0; max(0.5, 1/K) where left out. A cap that K clients
            of positive weight cannot meet is raised to 1/K.

    Returns:
        (K,) weights summing to 1 (0 stays 0); unchanged where all are below the cap.

    Raises:
        MergeError: a weight is NaN, infinite or negative, or the cap is not positive.
    """
    checked = _checked(weights, "weight")
    capped = _normalised(checked, checked > 0)
    if cap is not None and not cap > 0:
        raise MergeError(f"klpwa.cap must be above 0, it is {cap}: leave it out for no cap")
    holders = capped > 0
    limit = max(0.5 if cap is None else cap, 1.0 / max(int(holders.sum()), 1))
    full = np.zeros(len(capped), dtype=bool)
    # Each pass fills at least one more client up to the cap, so there are at most K passes.
    while np.any(over := (capped > limit * (1 + 1e-12)) & ~full):
        full |= over
        capped[full] = limit
        others = holders & ~full
        if others.any():
            capped[others] *= (1.0 - limit * full.sum()) / capped[others].sum()
    return capped


def _bounded_factor(factors: Weights) -> Weights:
    clipped: Weights = np.clip(factors, 1 / _LARGEST_FACTOR, _LARGEST_FACTOR)
    return clipped


def _normalised(values: Weights, active: NDArray[np.bool_]) -> Weights:
    weights = np.where(active, values, 0.0)
    if weights.sum() == 0:
        weights = active.astype(np.float64)
    # Dividing by the largest first keeps huge values from overflowing the sum.
    weights = weights / max(weights.max(initial=0.0), np.finfo(np.float64).tiny)
    normalised: Weights = weights / max(weights.sum(), 1.0)
    return normalised


def _active(active: ArrayLike | None, count: int) -> NDArray[np.bool_]:
    marks = np.ones(count, dtype=bool) if active is None else np.asarray(active, dtype=bool)
    if marks.shape != (count,):
        raise MergeError(
            f"the active marks must be one per client, {count}, they have shape {marks.shape}"
        )
    return marks


def _checked(values: ArrayLike, what: str, *, below: float = np.inf) -> Weights:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise MergeError(f"expected one {what} per client, got an array of shape {array.shape}")
    wrong = np.flatnonzero(~((array >= 0) & (array < below)))
    if len(wrong):
        raise MergeError(
            f"the {what} of client number {wrong[0]} must be a finite number >= 0"
            f"{'' if below == np.inf else f' and below {below}'}, it is {array[wrong[0]]}: leave "
            "that client's update out"
        )
    return array
