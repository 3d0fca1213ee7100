"""The long fine-tuning at every client after the last merge: nothing of it is sent but scores."""

from collections.abc import Mapping

import torch

from fedklpr_flwr.algorithm.masks import Masks, Tensors
from fedklpr_flwr.client.round_plan import final_plan
from fedklpr_flwr.client.state_store import ClientMemory
from fedklpr_flwr.client.training import AccuracyThrough, LocalTraining
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.model.scoring import evaluate_personal_model
from fedklpr_flwr.model.site import Site
from fedklpr_flwr.reid.network import ReidNetwork
from fedklpr_flwr.reid.ranking import RankingScores
from fedklpr_flwr.system.clock import Clock


class FixedMask:
    """A mask that stays as it is."""

    def __init__(self, masks: Mapping[str, torch.Tensor]) -> None:
        self.masks: Masks = masks
        self.marked: Masks = {}
        self.regrows = False

    def regrow(self, gradients: Tensors) -> None:
        """See MaskKeeper; nothing comes back after the last merge."""

    def after_epoch(
        self, epoch: float, accuracy: float | None, accuracy_through: AccuracyThrough
    ) -> None:
        """See MaskKeeper; nothing is pruned after the last merge."""


def fine_tune(
    network: ReidNetwork, site: Site, memory: ClientMemory, settings: Settings, round_number: int
) -> RankingScores | None:
    """Train `training.final_epochs` epochs on from the merged model, and score the result.

    Args:
        network: the merged model as this client sees it; trained in place.
        site: the client's pictures.
        memory: what the client left its last merged round with; its mask holds.
        settings: the run's settings.
        round_number: the last round, R.

    Returns:
        The scores, or None where the site has nothing to search.

    Source: the last round of FedCAPR's code, whose reported models are these.
    """
    plan, mask = final_plan(settings, round_number), FixedMask(memory.masks)
    LocalTraining(network, site, None, mask, plan, Clock(), memory.labels).run()
    return evaluate_personal_model(network, site)
