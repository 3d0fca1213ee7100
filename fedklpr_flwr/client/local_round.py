"""One client's round: label, train, measure, decide, prune; what goes out and what stays.

    received model x mask -> [before_training] -> epochs x (label -> train -> [after_epoch])
                          -> [after_training] -> measure divergence -> ClientUpdate, ClientMemory

The bracketed moments belong to the pruning rule (algorithm/pruning_rules.py). There is no
`if method ==` here: a method is its named choices.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from fedklpr_flwr.client.accuracy import hold_out
from fedklpr_flwr.client.divergence_probe import DivergenceProbe
from fedklpr_flwr.client.dp_noise import add_noise
from fedklpr_flwr.client.pruning import ClientPruning, Shared
from fedklpr_flwr.client.round_plan import round_plan
from fedklpr_flwr.client.state_store import ClientMemory
from fedklpr_flwr.client.training import LocalTraining, Trained
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.model.device import state_on_host
from fedklpr_flwr.model.scoring import evaluate_personal_model
from fedklpr_flwr.model.shared_model import personal_names
from fedklpr_flwr.model.site import Site
from fedklpr_flwr.protocol.training_report import ClientUpdate, TrainingReport
from fedklpr_flwr.reid.network import ReidNetwork, float_state
from fedklpr_flwr.reid.ranking import RankingScores
from fedklpr_flwr.system.clock import Clock


@dataclass(frozen=True)
class LocalResult:
    """What a round leaves: the update to send, the memory to keep, the trained model's scores."""

    update: ClientUpdate
    memory: ClientMemory
    scores: RankingScores | None


def run_local_round(
    network: ReidNetwork,
    site: Site,
    memory: ClientMemory,
    settings: Settings,
    round_number: int,
    *,
    initial: Mapping[str, torch.Tensor] | None = None,
    shared: Shared | None = None,
) -> LocalResult:
    """Train one client for one round.

    Args:
        network: the received model seen through the client's mask, with its personal parts; it is
            trained in place, on the device it is on.
        site: the client's pictures.
        memory: what the client left its last merged round with.
        settings: the run's settings.
        round_number: this round, 1..R.
        initial: the initial weights, for rules that rewind.
        shared: what all clients prune by, where they do so alike.

    Returns:
        The update and the memory to keep, both on the host, and the scores of the trained model on
        the client's own test set.
    """
    clock, plan = Clock(), round_plan(settings, round_number)
    settings = plan.settings
    home, heldout = hold_out(site, settings.crr.accuracy, settings.seed)
    shared = shared or Shared()
    pruning = ClientPruning(network, home, memory, settings, round_number, initial, shared)
    with clock.phase("prune"):
        pruning.before_training()
    noised = settings.privacy.kind == "local_dp"
    received = _leaving(network, settings, copied=True) if noised else None
    with clock.phase("measure"):
        knowledge = DivergenceProbe(network, home, settings)
    training = LocalTraining(network, home, heldout, pruning, plan, clock, memory.labels)
    trained = training.run()
    if received is not None:
        leaving = _leaving(network, settings)
        add_noise(leaving, received, pruning.masks, settings, site.name, round_number)
    with clock.phase("prune"):
        pruning.labels = trained.labels.labels
        pruning.after_training(trained.accuracy, training.accuracy_through)
    with clock.phase("measure"):
        gained = knowledge.gained()
    with clock.phase("evaluate"):
        scores = evaluate_personal_model(network, site)
    report = _report(home, pruning, trained, gained, clock)
    update, left = _divide(network, site.name, pruning, report, settings, round_number)
    return LocalResult(update, replace(left, labels=trained.kept), scores)


def _report(
    site: Site,
    pruning: ClientPruning,
    trained: Trained,
    gained: tuple[float, float],
    clock: Clock,
) -> TrainingReport:
    stats = trained.stats
    return TrainingReport(
        examples=len(site.train),
        divergence=gained[0],
        cosine_distance=gained[1],
        pruned=pruning.ratio,
        accuracy=trained.accuracy,
        clusters=trained.labels.clusters,
        outliers=trained.labels.outliers,
        idle=stats is None,
        crr=pruning.crr,
        loss=stats.loss if stats else 0.0,
        kl_loss=stats.drift if stats else 0.0,
        steps=trained.steps,
        pairs_worse=pruning.pairs.worse,
        pairs_better=pruning.pairs.better,
        pairs_compared=pruning.pairs.compared,
        crr_statistic=pruning.statistic,
        seconds=clock.seconds,
        **trained.figures,
    )


def _leaving(
    network: ReidNetwork, settings: Settings, *, copied: bool = False
) -> dict[str, torch.Tensor]:
    """What of the network leaves the site: its own tensors, or copies."""
    personal = personal_names(network, settings.method.personal_parts)
    return {
        name: tensor.clone() if copied else tensor
        for name, tensor in float_state(network).items()
        if name not in personal
    }


def _divide(
    network: ReidNetwork,
    client: str,
    pruning: ClientPruning,
    report: TrainingReport,
    settings: Settings,
    round_number: int,
) -> tuple[ClientUpdate, ClientMemory]:
    """What goes out, and what stays: all of it on the host."""
    state = state_on_host(network)
    personal = personal_names(network, settings.method.personal_parts)
    shared = {name: value for name, value in state.items() if name not in personal}
    memory = replace(
        pruning.memory(round_number),
        personal={name: state[name] for name in sorted(personal)},
        own=shared if settings.personal.own_share else {},
    )
    masks = {name: mask for name, mask in memory.masks.items() if name in shared}
    return ClientUpdate(client, round_number, shared, masks, report), memory
