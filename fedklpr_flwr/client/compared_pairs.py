"""What recovery judges a prune by: a client's pictures, as two models place them."""

import torch

from fedklpr_flwr.algorithm.recovery_evidence import Pairs
from fedklpr_flwr.model.scoring import features_of
from fedklpr_flwr.model.site import Site
from fedklpr_flwr.reid.nearest_centroid import comparable, right_by_centroid
from fedklpr_flwr.reid.network import ReidNetwork


def remembered_features(network: ReidNetwork, site: Site) -> torch.Tensor:
    """The training pictures' features by a network, as a memory keeps them: float16 (N, D)."""
    return features_of(network, site.train).cpu().half()


def compared_pairs(
    network: ReidNetwork,
    site: Site,
    reference: torch.Tensor | None,
    labels: torch.Tensor | None,
) -> Pairs | None:
    """The same pictures judged by the model before the last prune and by the one now.

    Args:
        network: the model now.
        site: the client's pictures.
        reference: `remembered_features` of the model before; None where nothing was pruned yet.
        labels: int64 (N,), by which both are judged; None where there are none yet.

    Returns:
        None also where the pictures are others than those remembered.
    """
    if reference is None or labels is None:
        return None
    if not len(reference) == len(labels) == len(site.train):
        return None
    was = right_by_centroid(reference, labels)
    now = right_by_centroid(remembered_features(network, site), labels)
    return Pairs(
        worse=int((was & ~now).sum()),
        better=int((now & ~was).sum()),
        compared=int(comparable(labels).sum()),
    )
