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
    *labels: torch.Tensor | None,
) -> Pairs | None:
    """The same pictures judged by the model before the last prune and by the one now.

    Labels favour the model that they were found with or that was trained for them. So they are
    judged by those of before the prune as well as by the newest, and the mean of both counts.

    Args:
        network: the model now.
        site: the client's pictures.
        reference: `remembered_features` of the model before; None where nothing was pruned yet.
        labels: int64 (N,) each, by which both are judged; None where there are none.

    Returns:
        The mean over the labels, without fractions. None where nobody can say: without labels, or
        where the pictures are others than those remembered.
    """
    if reference is None or len(reference) != len(site.train):
        return None
    known = [one for one in labels if one is not None and len(one) == len(reference)]
    if not known:
        return None
    now, total = remembered_features(network, site), Pairs()
    for one in known:
        was_right, is_right = right_by_centroid(reference, one), right_by_centroid(now, one)
        worse, better = int((was_right & ~is_right).sum()), int((is_right & ~was_right).sum())
        total += Pairs(worse, better, int(comparable(one).sum()))
    return Pairs(*(count // len(known) for count in (total.worse, total.better, total.compared)))
