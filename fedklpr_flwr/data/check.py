"""A data set's folder is compared with its card: what is there, what is missing, what is broken."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedklpr_flwr.data.benchmarks import (
    CARDS,
    IN_DOUBT,
    READERS,
    open_tree,
    read_dataset,
    read_tree,
)
from fedklpr_flwr.data.benchmarks.card import Counts, DatasetCard, SplitCounts
from fedklpr_flwr.data.benchmarks.own_names import strange_queries
from fedklpr_flwr.data.benchmarks.picture_tree import PictureProblem, PictureTree
from fedklpr_flwr.data.person_image import PersonImage, ReidDataset
from fedklpr_flwr.data.picture_file import picture_bytes
from fedklpr_flwr.errors import DataError

PASSED_SHARE = 100
"""Pictures passed over are a problem where they are one for so many that are read, or more."""


@dataclass(frozen=True)
class CameraCounts:
    """What one camera has of a set.

    Attributes:
        camera: Its number.
        name: What it is called; empty where it has a number alone.
        train: Its training pictures.
        query: Its queries.
        gallery: Its gallery pictures.
        persons: The persons it saw, over all parts.
    """

    camera: int
    name: str
    train: int
    query: int
    gallery: int
    persons: int


@dataclass(frozen=True)
class CheckReport:
    """What a data set's folder holds, beside what it should hold.

    Attributes:
        name: The name it was read by.
        root: The folder.
        verdict: "official" (all counts as on the card), "part" (a part of that), or "other".
        card: The card in words, for a person to read; empty where there is none.
        expected: The official counts, of the form nearest to what was found; None where there are
            none (a user's own pictures, drawn people).
        found: What is usable.
        problems: Unreadable files, wrong names and places, pictures that the reader passes over
            where they are one for every hundred that it reads or more, files listed more than once,
            and files equal byte for byte.
        notes: What the reader says of how it read, and what cannot be searched.
        cameras: The cameras found, with their counts, in the order of their numbers.
    """

    name: str
    root: Path
    verdict: str
    card: str
    expected: SplitCounts | None
    found: SplitCounts
    problems: tuple[PictureProblem, ...]
    notes: tuple[str, ...]
    cameras: tuple[CameraCounts, ...] = ()

    @property
    def usable(self) -> bool:
        """Tell whether there is something to train on or to search in."""
        return bool(self.found.train.images) or bool(
            self.found.query.images and self.found.gallery.images
        )

    def to_dict(self) -> dict[str, Any]:
        """Make what `fedklpr data check --json` prints.

        Returns:
            Plain dicts, lists, texts and numbers; null for a count that depends on the split.
        """
        return {
            "name": self.name,
            "root": str(self.root),
            "verdict": self.verdict,
            "expected": None if self.expected is None else asdict(self.expected),
            "found": asdict(self.found),
            "problems": [{"path": str(fault.path), "why": fault.why} for fault in self.problems],
            "notes": list(self.notes),
            "cameras": [asdict(camera) for camera in self.cameras],
        }


def check_dataset(
    name: str,
    root: Path,
    *,
    seed: int = 0,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> CheckReport:
    """Read a data set, decode every picture of it, and compare it with its card.

    Args:
        name: As for `read_dataset`.
        root: The folder that holds the set.
        seed: Decides splits that a set does not bring.
        workers: Threads that decode, >= 1.
        progress: Called with the number of pictures done and their total.

    Returns:
        The report. A root that cannot be read at all gives counts of 0 and one problem.

    Raises:
        DataError: If the name is unknown.
    """
    if name not in READERS:
        return _report(name, read_dataset(name, root, seed=seed), root, [], workers, progress)
    try:
        tree = open_tree(name, root)
        dataset = read_tree(name, tree, seed)
    except DataError as error:
        nothing = ReidDataset(name, (), (), ())
        problem = PictureProblem(root, str(error))
        return _report(name, nothing, root, [problem], workers, progress)
    problems = [*tree.problems, *_passed_over(tree, dataset)]
    if not problems and not (dataset.train or dataset.gallery):
        layout = CARDS[name].layout
        problems.append(PictureProblem(root, f"expected {layout}, got no picture that can be used"))
    return _report(name, dataset, root, problems, workers, progress)


def _passed_over(tree: PictureTree, dataset: ReidDataset) -> list[PictureProblem]:
    """What holds pictures that the reader did not look at, where they are no small matter."""
    counts, read = tree.pictures_passed(), sum(map(len, dataset.lists.values()))
    if PASSED_SHARE * sum(counts.values()) < read:
        return []
    return [
        PictureProblem(
            path,
            f"expected the set's own layout, got pictures that its reader passes over: {count}, "
            f"beside {read} that it reads; move them where they belong, or out of the set",
        )
        for path, count in counts.items()
    ]


def _report(
    name: str,
    dataset: ReidDataset,
    root: Path,
    problems: list[PictureProblem],
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> CheckReport:
    """Decode the pictures of a set, count what can be used, and compare."""
    images = (*dataset.train, *dataset.query, *dataset.gallery)
    unreadable, twins = _examine(images, workers, progress)
    broken = {fault.path for fault in unreadable}
    total, train, query, gallery = (
        _counts(image for image in part if image.path not in broken)
        for part in (images, dataset.train, dataset.query, dataset.gallery)
    )
    found = SplitCounts(total, train, query, gallery)
    card = CARDS.get(name, DatasetCard(name, ""))
    why = strange_queries(dataset) if name in CARDS and not card.expected else ""
    strange = [PictureProblem(root, why)] if why else []
    doubts = [f"{IN_DOUBT} {one.why}" for one in strange]
    return CheckReport(
        name=name,
        root=root,
        verdict=_verdict(found, card.expected),
        card=card.words,
        expected=min(card.expected, key=lambda form: _distance(found, form), default=None),
        found=found,
        problems=(*problems, *strange, *_of_cameras(dataset, root), *unreadable, *twins),
        notes=(*(n for n in dataset.notes if n not in doubts), *dataset.search_notes),
        cameras=_cameras(dataset),
    )


def _cameras(dataset: ReidDataset) -> tuple[CameraCounts, ...]:
    """Count what each camera has."""
    everything = [image for images in dataset.lists.values() for image in images]
    counts = {
        part: Counter(image.camera_id for image in images) for part, images in dataset.lists.items()
    }
    return tuple(
        CameraCounts(
            camera,
            dataset.camera_names[camera] if dataset.camera_names else "",
            counts["train"][camera],
            counts["query"][camera],
            counts["gallery"][camera],
            len({one.person_id for one in everything if one.camera_id == camera} - {-1, 0}),
        )
        for camera in sorted({image.camera_id for image in everything})
    )


def _of_cameras(dataset: ReidDataset, root: Path) -> list[PictureProblem]:
    """What of the cameras makes a search impossible."""
    seen: dict[int, set[int]] = {}
    for image in dataset.gallery:
        seen.setdefault(image.person_id, set()).add(image.camera_id)
    usable = any(seen.get(one.person_id, set()) - {one.camera_id} for one in dataset.query)
    found = []
    if dataset.query and dataset.gallery and not usable:
        why = "expected queries with pictures of their person by another camera, got none in all"
        found.append(PictureProblem(root, f"{why} {len(dataset.query)}: no accuracy can be told"))
    return found


def _examine(
    images: Sequence[PersonImage], workers: int, progress: Callable[[int, int], None] | None
) -> tuple[list[PictureProblem], list[PictureProblem]]:
    """Decode every picture; find those that cannot be, and those with the same bytes."""
    unreadable: list[PictureProblem] = []
    twins: list[PictureProblem] = []
    first_with: dict[bytes, PersonImage] = {}
    seen: set[str] = set()
    with ThreadPoolExecutor(max_workers=workers) as pool:
        results = zip(images, pool.map(_digest, images), strict=True)
        for done, (image, result) in enumerate(results, 1):
            if progress is not None:
                progress(done, len(images))
            if image.picture in seen:
                twins.append(PictureProblem(image.path, "listed more than once"))
                continue
            seen.add(image.picture)
            if isinstance(result, DataError):
                unreadable.append(PictureProblem(image.path, str(result)))
                continue
            first = first_with.setdefault(result, image)
            if first is not image:
                other = "" if first.person_id == image.person_id else ", which is another person"
                twins.append(PictureProblem(image.path, f"same bytes as {first.path}{other}"))
    return unreadable, twins


def _digest(image: PersonImage) -> bytes | DataError:
    """Hash a picture's bytes, or say why it cannot be decoded."""
    try:
        found = hashlib.blake2b(picture_bytes(image.path), digest_size=16)
        found.update(str(image.box or "").encode())  # people in one frame are no copies
        return found.digest()
    except DataError as error:
        return error


def _counts(images: Iterable[PersonImage]) -> Counts:
    """Count pictures, persons (not distractors, not unknown) and cameras."""
    by_path = {image.picture: image for image in images}.values()
    persons = {image.person_id for image in by_path if image.person_id > 0}
    return Counts(len(by_path), len(persons), len({image.camera_id for image in by_path}))


def _pairs(found: SplitCounts, expected: SplitCounts) -> list[tuple[int, int]]:
    """Put each count found beside the one expected, where the card gives one."""
    return [
        (found_part[name], count)
        for found_part, part in zip(asdict(found).values(), asdict(expected).values(), strict=True)
        for name, count in part.items()
        if count is not None
    ]


def _verdict(found: SplitCounts, expected: Sequence[SplitCounts]) -> str:
    """Say whether the counts are the official ones, a part of them, or something else."""
    pairs = [_pairs(found, form) for form in expected]
    if any(all(here == there for here, there in form) for form in pairs):
        return "official"
    if found.total.images and any(all(here <= there for here, there in form) for form in pairs):
        return "part"
    return "other"


def _distance(found: SplitCounts, expected: SplitCounts) -> int:
    return sum(abs(here - there) for here, there in _pairs(found, expected))
