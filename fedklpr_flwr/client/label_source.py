"""A site's pictures get their labels for one epoch: clusters, the persons, or bottom-up merges."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Literal, cast

import torch

from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.model.personal_model import reestimate_on
from fedklpr_flwr.model.scoring import features_of
from fedklpr_flwr.model.site import Pictures, Site
from fedklpr_flwr.reid.bottom_up import clusters_after, merge_clusters, merges_a_step
from fedklpr_flwr.reid.camera_features import FEWEST, normalise_by_camera
from fedklpr_flwr.reid.camera_jaccard import CameraNeighbours
from fedklpr_flwr.reid.colour_stripes import colour_stripes
from fedklpr_flwr.reid.network import ReidNetwork
from fedklpr_flwr.reid.pseudo_labels import (
    PseudoLabels,
    camera_span,
    camera_split,
    cluster_people,
    cluster_tracks,
    identity_labels,
    pair_precision,
    pair_recall,
    spanning_clusters,
)
from fedklpr_flwr.reid.stripes import WithStripes, centred
from fedklpr_flwr.reid.track_clusters import Tracks, count_units


def picture_copies(site: Site, settings: Settings) -> int:
    """How often each picture counts, so that small sets form clusters (FedCAPR's IDE).

        copies = max(1, round(target / (pictures / persons)))

    The number of persons is a constant the operator knows (`ide.persons`), or is counted where
    labels are known; where neither is so, or with target 0, every picture counts once.
    """
    return copies_of(len(site.train), site.known_persons, settings)


def copies_of(pictures: int, known_persons: int, settings: Settings) -> int:
    """`picture_copies` by counts alone: training pictures, and persons known by label."""
    persons = settings.ide.persons or known_persons
    if not persons or not settings.ide.target or not pictures:
        return 1
    return max(1, round(settings.ide.target * persons / pictures))


@dataclass(frozen=True)
class Labelling:
    """What a label source may look at.

    Attributes:
        site: the client's pictures.
        compared: unit rows (N, D') of the training pictures, see Appearance.
        copies: how often each picture counts.
        settings: the run's settings.
        round_number: the round the labels are for, 1..R.
        kept: int64 (N,), the labels kept from the epoch or round before, or None.
    """

    site: Site
    compared: torch.Tensor
    copies: int
    settings: Settings
    round_number: int = 1
    kept: torch.Tensor | None = None


def label_site(
    site: Site,
    compared: torch.Tensor,
    copies: int,
    settings: Settings,
    *,
    round_number: int = 1,
    kept: torch.Tensor | None = None,
) -> PseudoLabels:
    """Labels of the training pictures by `labels.source`; see Labelling."""
    asked = Labelling(site, compared, copies, settings, round_number, kept)
    return LABEL_SOURCES[settings.labels.source](asked)


@dataclass(frozen=True)
class Appearance:
    """How a client's training pictures appear to the network at one moment.

    Attributes:
        features: (N, D) float32, unit rows, on the network's device.
        compared: (N, D') float32, unit rows, there too: what labels are found by.
    """

    features: torch.Tensor
    compared: torch.Tensor


def appearance_of(network: ReidNetwork, site: Site, settings: Settings) -> Appearance:
    """Draw the training pictures' features, and what they are compared by when labels are found."""
    chosen, size = settings.labels, network.feature_dim
    drawn = _drawn(network, site.train, settings)
    looks = _redrawn_by_camera(drawn, network, site, settings) if chosen.camera_batchnorm else drawn
    stripes = looks[:, size:] if chosen.stripes else None
    compared = compared_features(looks[:, :size], stripes, site.train, settings)
    return Appearance(drawn[:, :size].clone() if chosen.stripes else drawn, compared)


def _drawn(network: ReidNetwork, pictures: Pictures, settings: Settings) -> torch.Tensor:
    """The pictures' features (N, D), with their stripes (N, D + S*C) where they are compared by."""
    return features_of(WithStripes(network) if settings.labels.stripes else network, pictures)


def compared_features(
    features: torch.Tensor, stripes: torch.Tensor | None, train: Pictures, settings: Settings
) -> torch.Tensor:
    """What pictures are compared by when labels are found: the cameras' own look taken out.

    The squared distance is `labels.stripes` of the stripes', `labels.colour` of that of colours,
    the rest of the features'. Of colours each camera's mean is taken out, never its spread: most
    bins are empty in most pictures, and would weigh as much as any.

    Args:
        features: (N, D) float32 of the training pictures, rows of unit length.
        stripes: (N, S*C) float32 of a WithStripes, alike; None without `labels.stripes`.
        train: the training pictures.
        settings: the run's settings.

    Returns:
        (N, D') float32 on the features' device, rows of unit length; D' is D, with stripes S*C
        more, with colours 992 more.
    """
    chosen, cameras = settings.labels, train.cameras
    alike = normalise_by_camera(features, cameras, chosen.camera)
    parts = [(1 - chosen.stripes - chosen.colour, alike)]
    if stripes is not None:
        seen = normalise_by_camera(centred(stripes), cameras, chosen.camera)
        parts.append((chosen.stripes, seen))
    if chosen.colour:
        kind = "none" if chosen.camera == "none" else "mean"
        colours = normalise_by_camera(colour_stripes(train.pixels), cameras, kind)
        parts.append((chosen.colour, colours.to(alike.device)))
    if len(parts) == 1:
        return alike
    return torch.cat([share**0.5 * part for share, part in parts], dim=1)


def _redrawn_by_camera(
    drawn: torch.Tensor, network: ReidNetwork, site: Site, settings: Settings
) -> torch.Tensor:
    """The same drawn anew, each camera's with batch-norm statistics of its own pictures.

    A camera with fewer than FEWEST pictures stays as evaluation sees it, and so does everything
    where one camera took all. The network is left as it is.
    """
    train, redrawn = site.train, drawn.clone()
    cameras = torch.unique(train.cameras).tolist()
    for camera in cameras if len(cameras) > 1 else []:
        own = torch.nonzero(train.cameras == camera).flatten()
        if len(own) >= FEWEST:
            there, pictures = deepcopy(network), train.subset(own)
            reestimate_on(there, replace(site, train=pictures))
            redrawn[own.to(redrawn.device)] = _drawn(there, pictures, settings)
    return redrawn


def label_figures(labels: torch.Tensor, site: Site, settings: Settings) -> dict[str, float | None]:
    """How far clusters span cameras, and how labels stand against persons that are known.

    Args:
        labels: int64 (N,) of the training pictures, -1 = outlier.
        site: the client's pictures.
        settings: the run's settings. In a deployment nothing is said of persons: the truth about
            its people is the site's own.

    Returns:
        `camera_span`, which needs no person's name; `cluster_precision`, `cluster_recall` and
        `camera_split` of the pictures with a known person; None where there is none, or no pair to
        look at.
    """
    known = site.train.persons >= 0
    span = {"camera_span": camera_span(labels, site.train.cameras)}
    if settings.deployment or not known.any():
        return span | dict.fromkeys(("cluster_precision", "cluster_recall", "camera_split"))
    found, persons, cameras = (t[known] for t in (labels, site.train.persons, site.train.cameras))
    return span | {
        "cluster_precision": pair_precision(found, persons),
        "cluster_recall": pair_recall(found, persons),
        "camera_split": camera_split(found, cameras, persons),
    }


def keeps_labels(settings: Settings) -> bool:
    """Whether labels live on from round to round, or are found anew in every epoch."""
    return settings.labels.source in _KEEPERS


def _clusters(asked: Labelling) -> PseudoLabels:
    chosen, cameras = asked.settings.labels, asked.site.train.cameras
    tracks = _tracks(asked.site.train, chosen.tracks)
    found = _of_tracks(asked, tracks) if tracks is not None else _of_pictures(asked)
    if chosen.spanning_from is None:
        return found
    return spanning_clusters(found, cameras, chosen.spanning_from)


def _tracks(train: Pictures, kind: str) -> Tracks | None:
    """The tracks that count, `labels.tracks`."""
    if kind != "persons":
        return train.tracks if kind == "together" else None
    cameras = 1 + int(train.cameras.max()) if len(train) else 1
    followed = train.persons * cameras + train.cameras
    return Tracks(torch.where(train.persons >= 0, followed, -1), torch.full_like(train.persons, -1))


def _of_tracks(asked: Labelling, tracks: Tracks) -> PseudoLabels:
    chosen = asked.settings.labels
    return cluster_tracks(
        asked.compared,
        asked.site.train.cameras,
        tracks,
        k1=chosen.k1,
        k2=chosen.k2,
        eps=chosen.eps,
        min_samples=chosen.min_samples,
        copies=asked.copies,
        by_camera=neighbours_by_camera(asked.site, asked.settings, count_units(tracks)),
    )


def _of_pictures(asked: Labelling) -> PseudoLabels:
    chosen = asked.settings.labels
    return cluster_people(
        asked.compared,
        k1=chosen.k1,
        k2=chosen.k2,
        eps=chosen.eps,
        min_samples=chosen.min_samples,
        copies=asked.copies,
        jaccard=cast(Literal["distinct", "copies"], asked.settings.ide.jaccard),
        cameras=asked.site.train.cameras,
        by_camera=neighbours_by_camera(asked.site, asked.settings),
        share=chosen.share,
    )


def neighbours_by_camera(
    site: Site, settings: Settings, count: int | None = None
) -> CameraNeighbours | None:
    """How many neighbours are looked at within and across cameras; None = whatever the camera.

    Where the number of persons is known, as `picture_copies` knows it, nobody is asked for more
    pictures than a person seen by every camera has.

    Args:
        site: the client's pictures.
        settings: the run's settings.
        count: how many are compared, where it is tracks; None = the training pictures.
    """
    chosen = settings.labels
    if chosen.neighbours == "global":
        return None
    asked = CameraNeighbours(chosen.k1_within, chosen.k1_across, chosen.k2_within, chosen.k2_across)
    persons = settings.ide.persons or site.known_persons
    if not persons:
        return asked
    cameras = len(torch.unique(site.train.cameras))
    compared = len(site.train) if count is None else count
    in_one = compared / (persons * max(1, cameras))
    return asked.for_few(within=in_one, across=in_one * (cameras - 1))


def _identities(asked: Labelling) -> PseudoLabels:
    return identity_labels(asked.site.train.persons)


def _bottom_up(asked: Labelling) -> PseudoLabels:
    """Merge until as few clusters are left as there should be in this round.

    A client that missed rounds, or lost what it kept, makes all the merges that are due at once.
    """
    chosen, site = asked.settings.bottom_up, asked.site
    count, labels = len(site.train), asked.kept
    if labels is None or len(labels) != count:
        labels = torch.arange(count)
    persons = asked.settings.ide.persons or site.known_persons
    step = merges_a_step(
        count,
        persons=persons if chosen.personalised else 0,
        steps=asked.settings.federation.rounds,
        share=chosen.share,
    )
    due = clusters_after(count, step, asked.round_number - 1)
    merges = max(0, len(torch.unique(labels)) - due)
    merged = merge_clusters(asked.compared, labels, merges, size_weight=chosen.size_weight)
    return PseudoLabels(merged, len(torch.unique(merged)), 0)


LABEL_SOURCES: dict[str, Callable[[Labelling], PseudoLabels]] = {
    "clusters": _clusters,
    "identities": _identities,
    "bottom_up": _bottom_up,
}

_KEEPERS = ("bottom_up",)
