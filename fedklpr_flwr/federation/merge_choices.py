"""Choices of the merge: how much each client weighs, and what none of them may do."""

from dataclasses import dataclass

from fedklpr_flwr.federation.allowed import between, one_of


@dataclass(frozen=True, kw_only=True)
class Klaw:
    """How a client's divergence (what it learnt) becomes a weight."""

    direction: str = one_of("gain", "alignment")
    batch: str = one_of("seeded32", "first32")


@dataclass(frozen=True, kw_only=True)
class Praw:
    """How a client's pruning ratio becomes a weight."""

    formula: str = one_of("inverse_density", "pruned", "density")


@dataclass(frozen=True, kw_only=True)
class Klpwa:
    """How the two weights become one."""

    combine: str = one_of("product", "mean")
    cap: float | None = between(0.01, 1.0)


@dataclass(frozen=True, kw_only=True)
class Defence:
    """What one hostile or broken client cannot do to the others."""

    norm_bound: float | None = between(1.0)
    alignment: float | None = between(0.0, 1.0, default=None)
    trim: float = between(0.0, 0.49)
    quarantine: int | None = between(1)
