"""What a client prunes by that it shares with all others: one mask, and what they saw together."""

from collections.abc import Mapping

import numpy as np

from fedklpr_flwr.algorithm.recovery_evidence import Pairs
from fedklpr_flwr.client.accuracy import hold_out
from fedklpr_flwr.client.compared_pairs import compared_pairs
from fedklpr_flwr.client.pruning import Shared
from fedklpr_flwr.client.state_store import ClientMemory
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.model.consensus import consensus_masks, is_consensus
from fedklpr_flwr.model.site import Site
from fedklpr_flwr.protocol.task import Task
from fedklpr_flwr.reid.network import ReidNetwork


def shared_in(task: Task, received: Mapping[str, np.ndarray], settings: Settings) -> Shared:
    """What a round's pruning shares with all clients.

    Args:
        task: the server's; it carries the pairs of all clients.
        received: float32 arrays of the model as it came down. The server finds the same masks in
            what it sent, so none has to travel.
        settings: the run's settings.
    """
    masks = consensus_masks(received, settings, task.round) if is_consensus(settings) else None
    pairs = Pairs(task.pairs_worse, task.pairs_better, task.pairs_compared)
    return Shared(masks, pairs if pairs.compared else None)


def told_pairs(
    network: ReidNetwork, site: Site, memory: ClientMemory, settings: Settings
) -> dict[str, int]:
    """What this client saw of the merged model, where all clients' are counted together.

    Args:
        network: the merged model through the client's mask, as received.
        site: the client's pictures.
        memory: holds the features before the last prune, and the labels to judge by.
        settings: the run's settings.

    Returns:
        Scalars for the reply; none without `crr.pooled`.
    """
    if not settings.crr.pooled:
        return {}
    home, _ = hold_out(site, settings.crr.accuracy, settings.seed)
    labels = memory.reference_labels, memory.judged_labels
    pairs = compared_pairs(network, home, memory.reference_features, *labels) or Pairs()
    return {
        "pairs_worse": pairs.worse,
        "pairs_better": pairs.better,
        "pairs_compared": pairs.compared,
    }
