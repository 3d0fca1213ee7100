"""Splits that a set does not bring, made from a seed, the same on every machine and for ever."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from fedklpr_flwr.data.person_image import PersonImage

Item = TypeVar("Item", int, str)


def seeded_order(items: Iterable[Item], seed: int) -> list[Item]:
    """Shuffle distinct items by a seed, whatever order they come in.

    Ordered by SHA-256 of seed and item: no library's random numbers, which may change from version
    to version, decide who is a test person.

    Args:
        items: Distinct whole numbers or texts.
        seed: Any whole number.

    Returns:
        The items, in an order that depends on the seed.
    """
    return sorted(items, key=lambda item: hashlib.sha256(f"{seed}:{item}".encode()).digest())


def training_persons(persons: Iterable[int], seed: int, *, share: float = 0.5) -> frozenset[int]:
    """Choose the persons to train on; the others are tested.

    Args:
        persons: Person numbers; repetitions do not count.
        seed: Any whole number.
        share: Share of the persons that is trained on, rounded down, 0 to 1.

    Returns:
        The training persons: of 971 persons, 485.
    """
    order = seeded_order(set(persons), seed)
    return frozenset(order[: int(len(order) * share + 1e-9)])


def separate(
    images: Iterable[PersonImage], chosen: Callable[[PersonImage], bool]
) -> tuple[tuple[PersonImage, ...], tuple[PersonImage, ...]]:
    """Separate pictures by a yes-or-no question, keeping their order.

    Args:
        images: The pictures.
        chosen: The question.

    Returns:
        Those with yes, those with no.
    """
    yes: list[PersonImage] = []
    no: list[PersonImage] = []
    for image in images:
        (yes if chosen(image) else no).append(image)
    return tuple(yes), tuple(no)


def one_query_per_camera(
    images: Sequence[PersonImage], seed: int
) -> tuple[tuple[PersonImage, ...], tuple[PersonImage, ...]]:
    """Take one picture of each person in each camera as a query; the rest is the gallery.

    Args:
        images: Test pictures.
        seed: Chooses which one.

    Returns:
        Query and gallery, each in the order of `images`.
    """
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, image in enumerate(images):
        groups[image.person_id, image.camera_id].append(index)
    queries: set[int] = set()
    for group in groups.values():
        by_name = {images[index].path.name: index for index in group}
        queries.add(by_name[seeded_order(by_name, seed)[0]])
    query = tuple(images[index] for index in sorted(queries))
    gallery = tuple(image for index, image in enumerate(images) if index not in queries)
    return query, gallery
