"""How much each update of a round counts, and how far those that stand out are held back."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from fedklpr_flwr.algorithm.weighting import (
    Weights,
    agreement_weights,
    cap_weights,
    combined_weights,
    cosine_weights,
    data_size_weights,
    divergence_weights,
    pruning_weights,
    scaled_by_data,
    uniform_weights,
    within_share,
)
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.protocol.secure.stages import is_secure
from fedklpr_flwr.protocol.training_report import TrainingReport
from fedklpr_flwr.server.robust.direction_trust import (
    Agreement,
    running_cosines,
    trust,
    typical_cosine,
)
from fedklpr_flwr.server.robust.norm_bound import (
    Lengths,
    bounded,
    damaged,
    furthest,
    norm_bound,
    shortening,
)
from fedklpr_flwr.server.robust.update_sketch import Change, alignment_share, compares_directions
from fedklpr_flwr.wire.layout import Layout

_BY_KLAW = ("klpwa", "klaw")
"""The choices that `klaw.bound` bounds: the weight itself, PRAW and trust included."""

_SEEN_ALONE = 3.0
"""Times the median that a figure counts for at most where nothing else of a client is seen."""


@dataclass(frozen=True)
class MergeNotes:
    """How a round was weighed; the first three map a client to a share, summing to 1.

    Attributes:
        klaw: by divergence.
        praw: by pruning.
        weight: what was merged with.
        shortened: the factors of updates that stood out, see norm_bound.py; empty for all others.
        trust: by client, see direction_trust.py; empty where it is not asked.
        agreements: of those that were compared; likewise.
        furthest: whose update nothing bounds though it stands out, and how many times.
    """

    klaw: Mapping[str, float]
    praw: Mapping[str, float]
    weight: Mapping[str, float]
    shortened: Mapping[str, Lengths] = field(default_factory=dict)
    trust: Mapping[str, float] = field(default_factory=dict)
    agreements: Mapping[str, Agreement] = field(default_factory=dict)
    furthest: tuple[str, float] | None = None

    @property
    def left_out(self) -> set[str]:
        """Whose update was not merged, so far did it stand out."""
        return damaged(self.shortened)


class Update(Protocol):
    """What is asked of an update, see server/merge_round.Arrival."""

    @property
    def client(self) -> str:
        """Its name."""
        ...

    @property
    def report(self) -> TrainingReport:
        """What it says of its training."""
        ...

    @property
    def lengths(self) -> Lengths:
        """How far it lies from what was sent, see robust/norm_bound.py."""
        ...

    @property
    def change(self) -> Change | None:
        """What it changes at some weights, see robust/update_sketch.py."""
        ...


@dataclass(frozen=True)
class Asked:
    """What an aggregation weight may look at; arrays (K,) in the order of the reports.

    Attributes:
        reports: what each client says of its training.
        active: bool, False = idle: such a client weighs 0.
        klaw: float64, the shares by divergence.
        praw: float64, the shares by pruning.
        settings: the run's settings.
        held_back: bounds a figure (K,) that each client reports of itself, where
            `defence.norm_bound` asks for it, and in a secure sum.
    """

    reports: Sequence[TrainingReport]
    active: np.ndarray
    klaw: Weights
    praw: Weights
    settings: Settings
    held_back: Callable[[Sequence[float]], np.ndarray]


def _klpwa(asked: Asked) -> Weights:
    return combined_weights(asked.klaw, asked.praw, asked.settings.klpwa.combine)


def _data_size(asked: Asked) -> Weights:
    counted = asked.held_back([report.examples for report in asked.reports])
    return data_size_weights(counted, active=asked.active)


def _cosine_distance(asked: Asked) -> Weights:
    moved = asked.held_back([report.cosine_distance for report in asked.reports])
    return cosine_weights(moved, active=asked.active)


def _uniform(asked: Asked) -> Weights:
    return uniform_weights(len(asked.reports), active=asked.active)


AGGREGATION_WEIGHTS: dict[str, Callable[[Asked], Weights]] = {
    "klpwa": _klpwa,
    "klaw": lambda asked: asked.klaw,
    "praw": lambda asked: asked.praw,
    "data_size": _data_size,
    "cosine_distance": _cosine_distance,
    "uniform": _uniform,
}
"""The choices of `method.aggregation_weights`: each gives (K,) float64 weights that sum to 1, or to
0 where nobody is active."""


def weigh_round(
    updates: Sequence[Update],
    layout: Layout,
    settings: Settings,
    before: Mapping[str, Agreement],
) -> MergeNotes:
    """How a round is weighed, and whose update is shortened.

    Args:
        updates: in the order of merging.
        layout: the tensors that travel.
        settings: the run's settings.
        before: the clients' agreements in the rounds before.
    """
    share = alignment_share(settings)
    working = [update for update in updates if not update.report.idle]
    changes = {update.client: update.change for update in working}
    agreements = running_cosines(changes, before) if compares_directions(settings) else {}
    trusted = trust(agreements, share) if share else {}
    lengths = {update.client: update.lengths for update in working}
    shortened = shortening(lengths, norm_bound(settings))
    factors = {**trusted, **dict.fromkeys(damaged(shortened), 0.0)}
    clients, reports = [u.client for u in updates], [u.report for u in updates]
    return replace(
        weigh(clients, reports, layout, settings, factors, shortened, agreements),
        shortened=shortened,
        trust=trusted,
        agreements=agreements,
        furthest=furthest({c: of for c, of in lengths.items() if c not in shortened}),
    )


def weigh(
    clients: Sequence[str],
    reports: Sequence[TrainingReport],
    layout: Layout,
    settings: Settings,
    factors: Mapping[str, float] | None = None,
    stands_out: Collection[str] = (),
    agreements: Mapping[str, Agreement] | None = None,
) -> MergeNotes:
    """The weights of a round's clients by `method.aggregation_weights`; idle clients weigh 0.

    With `klaw.bound` = B no weight is beyond 1/B and B times the client's share by pictures trained
    on, times its trust where that is asked; `klpwa.cap` comes after it. How many pictures is what
    each says, and counts for no more than held_back lets it.

    Args:
        clients: their names.
        reports: what each says of its training.
        layout: the tensors that travel.
        settings: the run's settings.
        factors: trust in some clients, by name, in [0, 1]; 0 = left out.
        stands_out: those that are shortened.
        agreements: of clients whose changes were compared.
    """
    active = np.array([not report.idle for report in reports])
    prunable = sum(spec.size for spec in layout if spec.prunable)

    def held_back(figures: Sequence[float]) -> np.ndarray:
        shortened = [client in stands_out for client in clients]
        return bounded(figures, active, _figure_bound(settings), shortened)

    klaw = _klaw(clients, reports, settings, held_back, agreements or {}, active)
    praw = pruning_weights(
        [report.pruned for report in reports],
        settings.praw.formula,
        prunable=max(prunable, 1),
        active=active,
    )
    asked = Asked(reports, active, klaw, praw, settings, held_back)
    weight = AGGREGATION_WEIGHTS[settings.method.aggregation_weights](asked)
    trusted = np.array([(factors or {}).get(client, 1.0) for client in clients])
    if factors:
        weight = weight * trusted
        weight = weight / max(float(weight.sum()), np.finfo(np.float64).tiny)
    if settings.klaw.bound is not None and settings.method.aggregation_weights in _BY_KLAW:
        data = held_back([report.trained for report in reports]) * trusted
        shares = data_size_weights(data, active=active & (trusted > 0))
        weight = within_share(weight, shares, settings.klaw.bound)
    if settings.klpwa.cap is not None:
        weight = cap_weights(weight, max(settings.klpwa.cap, 1 / max(len(reports), 1)))

    def by_client(shares: np.ndarray) -> dict[str, float]:
        return {client: float(share) for client, share in zip(clients, shares, strict=True)}

    weights = by_client(klaw), by_client(praw), by_client(weight)
    return MergeNotes(*weights)


def _figure_bound(settings: Settings) -> float | None:
    """The multiple of the median that a figure counts for; None = any."""
    return _SEEN_ALONE if is_secure(settings) else norm_bound(settings)


def _klaw(
    clients: Sequence[str],
    reports: Sequence[TrainingReport],
    settings: Settings,
    held_back: Callable[[Sequence[float]], np.ndarray],
    agreements: Mapping[str, Agreement],
    active: np.ndarray,
) -> Weights:
    """KLAW's weights as `klaw` says: by direction, then by data."""
    chosen = settings.klaw
    if chosen.direction == "agreement":
        cosines = [agreements[c].cosine if c in agreements else np.nan for c in clients]
        klaw = agreement_weights(cosines, typical_cosine(agreements), active=active)
    else:
        said = [r.divergence / (max(r.steps, 1) if chosen.per_step else 1) for r in reports]
        klaw = divergence_weights(held_back(said), chosen.direction, active=active)
    if not chosen.data_power:
        return klaw
    trained = held_back([report.trained for report in reports])
    return scaled_by_data(klaw, trained, chosen.data_power)
