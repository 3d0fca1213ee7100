"""CRR's accuracy: four readings of what the paper calls training accuracy (`crr.accuracy`).

`training` is counted while training and costs nothing; the others look at the model when asked.
Each is a fraction, or None where it cannot be measured.
"""

from collections.abc import Callable

import torch

from fedklpr_flwr.model.scoring import evaluate_personal_model, features_of
from fedklpr_flwr.model.site import Pictures, Site
from fedklpr_flwr.reid.network import ReidNetwork
from fedklpr_flwr.reid.ranking import score_ranking
from fedklpr_flwr.system.randomness import named_generator

_CHUNK = 1024


def hold_out(site: Site, kind: str, seed: int) -> tuple[Site, Pictures | None]:
    """Set a tenth of the training persons aside where `crr.accuracy` is heldout.

    Args:
        site: the client's pictures.
        kind: `crr.accuracy`.
        seed: decides who is set aside, the same in every round.

    Returns:
        The site to train on, and the pictures set aside (None for the other readings).
    """
    persons = torch.tensor(
        sorted({person for person in site.train.persons.tolist() if person >= 0})
    )
    if kind != "heldout" or len(persons) < 2:
        return site, None
    order = torch.randperm(len(persons), generator=named_generator(seed, site.name, "heldout"))
    chosen = persons[order[: max(1, round(len(persons) / 10))]]
    aside = torch.isin(site.train.persons, chosen)
    kept = site.train.subset((~aside).nonzero().ravel())
    return Site(site.name, kept, site.query, site.gallery), site.train.subset(
        aside.nonzero().ravel()
    )


def measure_accuracy(
    kind: str,
    network: ReidNetwork,
    site: Site,
    labels: torch.Tensor,
    heldout: Pictures | None,
    counted: float | None,
) -> float | None:
    """The accuracy that recovery looks at.

    Args:
        kind: `crr.accuracy`.
        network: the client's model as it is now.
        site: the client's pictures.
        labels: int64 (N,), the epoch's labels; -1 = outlier.
        heldout: the persons set aside, for `heldout`.
        counted: the accuracy counted while training, for `training`.
    """
    readings: dict[str, Callable[[], float | None]] = {
        "training": lambda: counted,
        "heldout": lambda: _heldout_rank1(network, heldout),
        "cross_camera": lambda: _cross_camera(network, site.train, labels),
        "rank1_test": lambda: _rank1(network, site),
    }
    return readings[kind]()


def _rank1(network: ReidNetwork, site: Site) -> float | None:
    scores = evaluate_personal_model(network, site)
    return None if scores is None else scores.rank1


def _heldout_rank1(network: ReidNetwork, aside: Pictures | None) -> float | None:
    """Every picture set aside is searched among the others, under the same-camera rule."""
    if aside is None:
        return None
    features = features_of(network, aside)
    same = (features, aside.persons, aside.cameras)
    scores = score_ranking(*same, *same)
    return None if scores is None else scores.rank1


def _cross_camera(network: ReidNetwork, train: Pictures, labels: torch.Tensor) -> float | None:
    """Share of clustered pictures whose nearest of another camera is of the same cluster."""
    chosen = (labels >= 0).nonzero().ravel()
    cameras, clusters = train.cameras[chosen], labels[chosen]
    if len(set(cameras.tolist())) < 2:
        return None
    features = features_of(network, train.subset(chosen)).cpu()
    right = 0
    for start in range(0, len(chosen), _CHUNK):
        part = slice(start, start + _CHUNK)
        similarity = features[part] @ features.T
        similarity[cameras[part, None] == cameras[None]] = -torch.inf
        right += int((clusters[similarity.argmax(dim=1)] == clusters[part]).sum())
    return right / len(chosen)
