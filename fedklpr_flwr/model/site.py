"""A client's own pictures, decoded and ready: what never leaves the site."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from fedklpr_flwr.config.centralised import JOINED
from fedklpr_flwr.config.partition import NOT_BELIEVED, read_part
from fedklpr_flwr.config.settings import Client, Settings
from fedklpr_flwr.data.benchmarks import IN_DOUBT, LEFT_OUT, PASSED_OVER, REPEATED
from fedklpr_flwr.data.cached_files import forget_gone
from fedklpr_flwr.data.camera_day_limit import OVER_LIMIT, limited_pictures
from fedklpr_flwr.data.newest_pictures import TOO_OLD, newest_pictures
from fedklpr_flwr.data.person_image import PersonImage, ReidDataset
from fedklpr_flwr.data.picture_cache import load_pictures, pictures_stamp
from fedklpr_flwr.data.picture_file import why_unreadable
from fedklpr_flwr.data.synthetic import DRAWN
from fedklpr_flwr.data.unfinished_pictures import UNFINISHED, finished_pictures
from fedklpr_flwr.errors import DataError
from fedklpr_flwr.reid.track_clusters import Tracks

_LISTED = 20
_LISTINGS = 3


@dataclass(frozen=True)
class Pictures:
    """Pictures with what is known of them.

    Attributes:
        pixels: uint8 (N, 3, H, W).
        persons: int64 (N,); -1 = unknown.
        cameras: int64 (N,), 0-based.
        tracks: who was followed by a tracker; None = nobody says.
    """

    pixels: torch.Tensor
    persons: torch.Tensor
    cameras: torch.Tensor
    tracks: Tracks | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    def subset(self, indices: torch.Tensor) -> "Pictures":
        """The pictures at these indices."""
        tracks = self.tracks
        if tracks is not None:
            tracks = tracks.subset(indices)
        return Pictures(self.pixels[indices], self.persons[indices], self.cameras[indices], tracks)


@dataclass(frozen=True)
class Source:
    """Where a site's pictures lie on disk.

    Attributes:
        dataset: the pictures' files.
        root: the set's folder.
        stamp: a hash of the files' names, sizes and change times as the pictures were opened.
        unreadable: the files that were left out because they cannot be decoded.
        reasons: of the first of them, why: as many as a note lists.
    """

    dataset: ReidDataset
    root: Path
    stamp: str
    unreadable: tuple[Path, ...] = ()
    reasons: tuple[str, ...] = ()

    @property
    def left_out_notes(self) -> tuple[str, ...]:
        """What was passed over, counts twice or is in doubt, in words; empty where nothing."""
        told = (IN_DOUBT, LEFT_OUT, PASSED_OVER, REPEATED, UNFINISHED, TOO_OLD, OVER_LIMIT)
        passed = tuple(n for n in self.dataset.notes if any(words in n for words in told))
        if not self.unreadable:
            return passed
        count = sum(len(images) for images in self.dataset.lists.values())
        # Below the root: names alone repeat in many sets.
        listed = [str(path).removeprefix(f"{self.root}/") for path in self.unreadable]
        named = zip(listed, self.reasons, strict=False)
        names = ", ".join(f"{name} ({why})" for name, why in named)
        more = f", and {len(self.unreadable) - _LISTED} more" * (len(self.unreadable) > _LISTED)
        return (
            *passed,
            f"{len(self.unreadable)} of {count} pictures cannot be decoded and are left out "
            f"(data.skip_unreadable=true): {names}{more}",
        )


@dataclass(frozen=True)
class Site:
    """One client's pictures to train on, to search with and to search in.

    Attributes:
        name: the client's name.
        train: to train on.
        query: to search with.
        gallery: to search in.
        parts: where one client joins several sites, those sites; each is then searched by itself,
            and query and gallery are empty.
        source: where the pictures lie; None where they were made in memory, or joined.
    """

    name: str
    train: Pictures
    query: Pictures
    gallery: Pictures
    parts: "tuple[Site, ...]" = ()
    source: Source | None = None

    @property
    def known_persons(self) -> int:
        """How many different persons the training pictures are labelled with; 0 = unlabelled."""
        known = self.train.persons[self.train.persons >= 0]
        return len(set(known.tolist()))


def load_site(
    name: str,
    dataset: ReidDataset,
    root: Path,
    *,
    height: int,
    width: int,
    cache: Path | None,
    skip_unreadable: bool = False,
) -> Site:
    """Decode a data set's pictures (once a machine, then memory-mapped).

    Args:
        name: the client's name.
        dataset: its pictures on disk.
        root: the folder of the set.
        height: picture height in pixels.
        width: picture width in pixels.
        cache: folder for decoded pictures; None keeps them in memory.
        skip_unreadable: leave unreadable pictures out instead of stopping.

    Raises:
        DataError: a picture cannot be read.
    """
    unreadable: list[Path] = []

    def pictures(images: Sequence[PersonImage]) -> Pictures:
        pixels, kept = load_pictures(
            images,
            height=height,
            width=width,
            cache=cache,
            workers=_cores(),
            skip_unreadable=skip_unreadable,
            root=root,
        )
        chosen = [images[index] for index in kept]
        unreadable.extend(images[index].path for index in sorted({*range(len(images))} - {*kept}))
        return Pictures(
            pixels,
            torch.tensor([image.person_id for image in chosen], dtype=torch.int64),
            torch.tensor([image.camera_id for image in chosen], dtype=torch.int64),
            _tracks_of(chosen),
        )

    files = [image for images in dataset.lists.values() for image in images]
    stamp = pictures_stamp(files, root)
    train, query, gallery = (pictures(images) for images in dataset.lists.values())
    reasons = tuple(map(why_unreadable, unreadable[:_LISTED]))
    source = Source(dataset, root, stamp, tuple(unreadable), reasons)
    return Site(name, train, query, gallery, source=source)


def join_sites(name: str, sites: Sequence[Site]) -> Site:
    """One site of many: nobody and no camera of one site is taken for one of another.

    Args:
        name: the new site's name.
        sites: at least one, with pictures of one size.

    Returns:
        A site to train on whose persons and cameras are numbered anew, -1 staying unknown. Its
        test sets are those of the sites, each searched by itself (`parts`).
    """
    persons, cameras, first_person, first_camera = [], [], 0, 0
    for site in sites:
        known = site.train.persons >= 0
        persons.append(torch.where(known, site.train.persons + first_person, -1))
        cameras.append(site.train.cameras + first_camera)
        first_person = _next_number(persons[-1], first_person)
        first_camera = _next_number(cameras[-1], first_camera)
    pixels = torch.cat([site.train.pixels for site in sites])
    train = Pictures(pixels, torch.cat(persons), torch.cat(cameras), _joined_tracks(sites))
    nothing = train.subset(torch.tensor([], dtype=torch.int64))
    return Site(name, train, nothing, nothing, tuple(sites))


def open_site(identity: Client, settings: Settings, cache: Path) -> Site:
    """Read and decode a client's pictures where its settings say they lie.

    What was decoded of pictures that are gone from there, or are others by now, is removed.

    Args:
        identity: the client: its name, its reader, and its folder (absolute, or below data.root).
            The reader `joined` stands for all of `data.joined` together.
        settings: the run's settings; the seed makes splits that a set does not bring.
        cache: the user's cache folder, for drawings and decoded pictures.

    Raises:
        DataError: there is no such set, or a picture cannot be read.
    """
    if identity.reader == JOINED:
        sites = [_open_one(part, settings, cache) for part in settings.data.joined]
        return join_sites(identity.name, sites)
    return _open_one(identity, settings, cache)


def list_pictures(identity: Client, settings: Settings, cache: Path) -> tuple[ReidDataset, Path]:
    """A client's pictures on disk and the folder of its set, nothing decoded; see `open_site`."""
    if identity.folder == NOT_BELIEVED:
        raise DataError(
            f"{identity.name}: this run was not made here by this user, and the picture folder "
            "that its config.yaml names is not opened: read what it names, then add --trust"
        )
    base = Path(settings.data.root) if settings.data.root else cache / "drawn"
    root = base / identity.folder if identity.folder else base
    # The drawings are one data set for every seed; a run's seed varies the training alone.
    seed = 0 if identity.reader.startswith(DRAWN) else settings.seed
    dataset = read_part(identity, root, settings, seed=seed)
    data = settings.data
    # A simulation sees one folder from its first round to its last: nothing is waited for.
    if settings.deployment:
        dataset = finished_pictures(dataset, data.settle_seconds)
    dataset = newest_pictures(dataset, data.newest_days)
    dataset = limited_pictures(dataset, data.most_per_camera_day)
    return replace(dataset, notes=(*dataset.notes, *_unheard(dataset, settings))), root


def _unheard(dataset: ReidDataset, settings: Settings) -> list[str]:
    """What of the settings and a site's tracks do not go together, in words."""
    if all(one.track < 0 for one in dataset.train) or settings.labels.tracks == "ignored":
        return []
    if settings.labels.source == "bottom_up":
        return [
            f"{IN_DOUBT} labels.source=bottom_up looks at no tracks, and there are some: pictures "
            "of one track may get two labels; set labels.source=clusters, or labels.tracks=ignored "
            "if that is meant"
        ]
    if settings.labels.source == "clusters" and settings.ide.jaccard == "copies":
        return [
            f"{IN_DOUBT} ide.jaccard=copies is for pictures, and there are tracks, which count as "
            "often as they have pictures and copies: set ide.jaccard=distinct, or "
            "labels.tracks=ignored"
        ]
    return []


def _open_one(identity: Client, settings: Settings, cache: Path) -> Site:
    """Open one site; a picture that its owner deletes meanwhile is looked for no longer."""
    for _ in range(_LISTINGS - 1):
        dataset, root = list_pictures(identity, settings, cache)
        try:
            return _decoded(identity, settings, cache, dataset, root)
        except DataError:
            if all(image.path.exists() for images in dataset.lists.values() for image in images):
                raise
    return _decoded(identity, settings, cache, *list_pictures(identity, settings, cache))


def _decoded(
    identity: Client, settings: Settings, cache: Path, dataset: ReidDataset, root: Path
) -> Site:
    data, model = settings.data, settings.model
    decoded = Path(data.cache) if data.cache else cache / "pictures"
    # Of the many clients that a set is dealt to the first does it for all. Drawings are nobody.
    if not identity.hand and not identity.reader.startswith(DRAWN):
        forget_gone(decoded, root)
    return load_site(
        identity.name,
        dataset,
        root,
        height=model.height,
        width=model.width,
        cache=decoded,
        skip_unreadable=data.skip_unreadable,
    )


def _tracks_of(images: Sequence[PersonImage]) -> Tracks | None:
    """What trackers tell of pictures; None where no picture has a track."""
    if all(image.track < 0 for image in images):
        return None
    spans = [image.span or (image.frame, image.frame) for image in images]
    first, last = torch.tensor(spans, dtype=torch.int64).T
    return Tracks(torch.tensor([image.track for image in images], dtype=torch.int64), first, last)


def _joined_tracks(sites: Sequence[Site]) -> Tracks | None:
    """All sites' tracks, numbered anew; pictures of sites without any have none."""
    if all(site.train.tracks is None for site in sites):
        return None
    tracks, since, until, first = [], [], [], 0
    for site in sites:
        nobody = torch.full((len(site.train),), -1)
        own = site.train.tracks or Tracks(nobody, nobody)
        tracks.append(torch.where(own.of_picture >= 0, own.of_picture + first, -1))
        since.append(own.first)
        until.append(own.until)
        first = _next_number(tracks[-1], first)
    return Tracks(torch.cat(tracks), torch.cat(since), torch.cat(until))


def _next_number(numbers: torch.Tensor, otherwise: int) -> int:
    """One more than the largest number; `otherwise` where there is none."""
    return max(otherwise, int(numbers.max()) + 1) if len(numbers) else otherwise


def _cores() -> int:
    """The processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
