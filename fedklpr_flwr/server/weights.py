"""How much each update of a round counts, and how far those that stand out are held back."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from fedklpr_flwr.algorithm.weighting import (
    cap_weights,
    combined_weights,
    cosine_weights,
    data_size_weights,
    divergence_weights,
    pruning_weights,
    uniform_weights,
)
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.protocol.report import TrainingReport
from fedklpr_flwr.server.robust.direction_trust import Agreement, running_cosines, trust
from fedklpr_flwr.server.robust.norm_bound import Lengths, bounded, damaged, norm_bound, shortening
from fedklpr_flwr.server.robust.update_sketch import Change, alignment_share
from fedklpr_flwr.wire.layout import Layout


@dataclass(frozen=True)
class MergeNotes:
    """How a round was weighed; the first three map a client to a share, summing to 1.

    Attributes:
        klaw: by divergence.
        praw: by pruning.
        weight: what was merged with.
        shortened: the factors of updates that stood out, see defence.py; empty for all others.
        trust: by client, see alignment.py; empty where it is not asked.
        agreements: of those that were compared; likewise.
    """

    klaw: Mapping[str, float]
    praw: Mapping[str, float]
    weight: Mapping[str, float]
    shortened: Mapping[str, Lengths] = field(default_factory=dict)
    trust: Mapping[str, float] = field(default_factory=dict)
    agreements: Mapping[str, Agreement] = field(default_factory=dict)

    @property
    def left_out(self) -> set[str]:
        """Whose update was not merged, so far did it stand out."""
        return damaged(self.shortened)


class Update(Protocol):
    """What is asked of an update, see merge_round.Arrival."""

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
        """How far it lies from what was sent, see defence.py."""
        ...

    @property
    def change(self) -> Change | None:
        """What it changes at some weights, see change.py."""
        ...


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
    agreements = running_cosines(changes, before) if share else {}
    trusted = trust(agreements, share) if share else {}
    lengths = {update.client: update.lengths for update in working}
    shortened = shortening(lengths, norm_bound(settings))
    factors = {**trusted, **dict.fromkeys(damaged(shortened), 0.0)}
    clients, reports = [u.client for u in updates], [u.report for u in updates]
    return replace(
        weigh(clients, reports, layout, settings, factors, shortened),
        shortened=shortened,
        trust=trusted,
        agreements=agreements,
    )


def weigh(
    clients: Sequence[str],
    reports: Sequence[TrainingReport],
    layout: Layout,
    settings: Settings,
    factors: Mapping[str, float] | None = None,
    stands_out: Collection[str] = (),
) -> MergeNotes:
    """The weights of a round's clients by `method.aggregation_weights`; idle clients weigh 0.

    `factors` are some clients' by name; `stands_out` are those that are shortened.
    """
    active = np.array([not report.idle for report in reports])
    prunable = sum(spec.size for spec in layout if spec.prunable)
    klaw = divergence_weights(
        bounded(
            [report.divergence for report in reports],
            active,
            norm_bound(settings),
            [client in stands_out for client in clients],
        ),
        settings.klaw.direction,
        active=active,
    )
    praw = pruning_weights(
        [report.pruned for report in reports],
        settings.praw.formula,
        prunable=max(prunable, 1),
        active=active,
    )
    choices: dict[str, Callable[[], np.ndarray]] = {
        "klpwa": lambda: combined_weights(klaw, praw, settings.klpwa.combine),
        "klaw": lambda: klaw,
        "praw": lambda: praw,
        "data_size": lambda: data_size_weights([r.examples for r in reports], active=active),
        "cosine_distance": lambda: cosine_weights(
            [r.cosine_distance for r in reports], active=active
        ),
        "uniform": lambda: uniform_weights(len(reports), active=active),
    }
    weight = choices[settings.method.aggregation_weights]()
    if factors:
        weight = weight * np.array([factors.get(client, 1.0) for client in clients])
        weight = weight / max(float(weight.sum()), np.finfo(np.float64).tiny)
    if settings.klpwa.cap is not None:
        weight = cap_weights(weight, max(settings.klpwa.cap, 1 / max(len(reports), 1)))

    def by_client(shares: np.ndarray) -> dict[str, float]:
        return {client: float(share) for client, share in zip(clients, shares, strict=True)}

    weights = by_client(klaw), by_client(praw), by_client(weight)
    return MergeNotes(*weights)
