"""Whether a model has become worse, judged on pairs: the same pictures seen before and after.

Of n pictures b were right before and are wrong now, c the reverse; the rest say nothing. A change
of the accuracy is (c - b) / n, and under "no true change" b is one half of b + c, whatever the
accuracy itself is: pairs need far fewer pictures than two accuracies apart do.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import Any

TESTS = ("threshold", "paired", "sequential")

FALLEN = 1.645
"""z from which on a fall is believed: one-sided, 5 %."""

HEALED = 1.28
"""z below which a client that holds goes on, one-sided 10 %: not at the first good draw."""

_FEW = 25
"""Fewer discordant pairs than this are judged by the exact binomial."""

_ALPHA, _BETA = 0.05, 0.10
"""The sequential test's errors: holding without a fall, going on in spite of one."""

_LARGEST_SHARE = 0.95
"""Where the fall looked for is as large as all discordance, H1 would be certain: it is not."""


@dataclass(frozen=True)
class Pairs:
    """Pictures judged before and after.

    Attributes:
        worse: b, right before and wrong after.
        better: c, wrong before and right after.
        compared: n, all that were judged both times.
    """

    worse: int = 0
    better: int = 0
    compared: int = 0

    def __add__(self, other: "Pairs") -> "Pairs":
        """Two lots of pairs as one."""
        return Pairs(
            self.worse + other.worse, self.better + other.better, self.compared + other.compared
        )

    @property
    def discordant(self) -> int:
        """How many were judged differently."""
        return self.worse + self.better

    @property
    def fall(self) -> float:
        """By how much the share of right ones fell, (b - c) / n; 0 of no pictures."""
        return (self.worse - self.better) / max(self.compared, 1)


@dataclass(frozen=True)
class Evidence:
    """What a test carries from round to round.

    Attributes:
        holding: its last verdict was a fall that has not healed.
        carried: the pairs of earlier rounds that the sequential test still counts.
        held: how many rounds running it has been a fall.
    """

    holding: bool = False
    carried: Pairs = Pairs()
    held: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Gives it as plain values that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Evidence":
        """Reads what `to_dict` gave."""
        counts = values["carried"]
        pairs = Pairs(*(int(counts[name]) for name in ("worse", "better", "compared")))
        # What was written before rounds were counted held for one at least.
        return cls(bool(values["holding"]), pairs, int(values.get("held", values["holding"])))


@dataclass(frozen=True)
class Verdict:
    """What a test says.

    Attributes:
        fallen: do not prune now.
        statistic: z of the paired test, the log likelihood ratio of the sequential one.
        after: what is carried to the next round.
    """

    fallen: bool
    statistic: float
    after: Evidence


def mcnemar_z(pairs: Pairs) -> float:
    """Gives how many standard deviations of chance the fall is (McNemar, one-sided).

        z = (b - c) / sqrt(b + c);  below 25 discordant pairs that of P(B >= b), B ~ Bin(b + c, 1/2)

    Args:
        pairs: of one comparison.

    Returns:
        z, positive where more became wrong than right; 0 without a discordant pair.
    """
    count = pairs.discordant
    if count == 0:
        return 0.0
    if count >= _FEW:
        return (pairs.worse - pairs.better) / math.sqrt(count)
    at_least = sum(math.comb(count, wrong) for wrong in range(pairs.worse, count + 1))
    # All cases together are certain, which no finite z is.
    return -NormalDist().inv_cdf(min(at_least / 2**count, 1 - 1e-9))


def log_likelihood_ratio(pairs: Pairs, fall: float) -> float:
    """Gives the evidence for a fall against none (Wald's sequential test).

        b ln(p1 / 1/2) + c ln((1 - p1) / 1/2),  p1 = (d + fall) / 2d,  d = (b + c) / n

    Args:
        pairs: of all rounds that count.
        fall: the smallest fall worth knowing, as a share of all pictures, > 0.

    Returns:
        Nats; positive speaks for the fall; 0 without a discordant pair.
    """
    if pairs.discordant == 0:
        return 0.0
    discordance = pairs.discordant / pairs.compared
    share = min((discordance + fall) / (2 * discordance), _LARGEST_SHARE)
    return pairs.worse * math.log(2 * share) + pairs.better * math.log(2 * (1 - share))


def paired_verdict(before: Evidence, pairs: Pairs, allowed: float) -> Verdict:
    """Judges one round's pairs alone, with hysteresis.

        fallen:  (b - c) / n > allowed  and  z > 1.645, or z >= 1.28 of who holds

    On thousands of pictures a fall too small to matter is significant as well: it holds nobody,
    whoever held before included.

    Args:
        before: the last verdict.
        pairs: the model now against the one before the last prune.
        allowed: the fall that does not matter, as a share, >= 0.
    """
    z = mcnemar_z(pairs)
    is_sure = z >= HEALED if before.holding else z > FALLEN
    fallen = is_sure and pairs.fall > allowed
    return Verdict(fallen, z, replace(before, holding=fallen))


def sequential_verdict(before: Evidence, pairs: Pairs, allowed: float) -> Verdict:
    """Judges the pairs of all rounds since the last verdict, as few as it takes.

        fallen:      L >= ln((1 - beta) / alpha)  and  (b - c) / n > allowed
        not fallen:  L >= ln((1 - beta) / alpha)  otherwise, or  L <= ln(beta / (1 - alpha))

    L is the log likelihood ratio of a fall of delta, twice what is allowed. It asks how one-sided
    the discordant pairs are, which the few of two models that hardly differ may well be: so the
    fall must itself be above delta / 2. Between the two bounds nothing is proved: who pruned goes
    on, who holds holds, and the pairs count on in the next round. So a site too small for a verdict
    a round gets one all the same.

    Args:
        before: the last verdict, and the pairs since.
        pairs: the model now against the one before the last prune.
        allowed: half of the fall looked for, as a share, > 0.
    """
    together = before.carried + pairs
    ratio = log_likelihood_ratio(together, 2 * allowed)
    is_sure = ratio >= math.log((1 - _BETA) / _ALPHA)
    if is_sure or ratio <= math.log(_BETA / (1 - _ALPHA)):
        fallen = is_sure and together.fall > allowed
        return Verdict(fallen, ratio, Evidence(holding=fallen))
    return Verdict(before.holding, ratio, Evidence(before.holding, together))


VERDICTS = {"paired": paired_verdict, "sequential": sequential_verdict}
