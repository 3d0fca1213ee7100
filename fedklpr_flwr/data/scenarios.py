"""Data sets become the clients of a federation: whole, a camera or some persons each, or dealt."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fedklpr_flwr.data.benchmarks.seeded_split import seeded_order
from fedklpr_flwr.data.person_image import PersonImage, ReidDataset
from fedklpr_flwr.errors import DataError


def by_camera(dataset: ReidDataset) -> tuple[ReidDataset, ...]:
    """Make each camera of a data set a client: the benchmark's second scenario.

    Args:
        dataset: The data set.

    Returns:
        A client for each camera that training pictures come from, in ascending order: its training
        pictures are that camera's, its query and gallery the whole data set's. A set of one camera
        gives one client.

    Source: W. Zhuang et al., FedReID, ACM MM 2020.
    """
    shares: dict[int, list[PersonImage]] = defaultdict(list)
    for image in dataset.train:
        shares[image.camera_id].append(image)
    return tuple(
        replace(
            dataset,
            name=f"{dataset.name}-camera{camera}",
            train=tuple(shares[camera]),
            notes=(*dataset.notes, f"camera {camera} alone in train"),
        )
        for camera in sorted(shares)
    )


def some_persons(dataset: ReidDataset, count: int, seed: int) -> ReidDataset:
    """Leave a data set only some of its training persons; query and gallery stay whole.

    Args:
        dataset: The data set; its training persons must be known.
        count: How many persons are left, >= 1.
        seed: Decides which.

    Returns:
        The data set with all training pictures of `count` persons.

    Raises:
        DataError: If training persons are unknown, or fewer than `count`.
    """
    persons = {image.person_id for image in dataset.train}
    if -1 in persons:
        raise DataError(f"{dataset.name}: persons={count} of unknown training persons (-1)")
    if len(persons) < count:
        raise DataError(f"{dataset.name}: persons={count}, and it has {len(persons)} to train on")
    left = set(seeded_order(persons, seed)[:count])
    return replace(
        dataset,
        train=tuple(image for image in dataset.train if image.person_id in left),
        notes=(*dataset.notes, f"{count} of {len(persons)} persons in train, seed {seed}"),
    )


def dirichlet_deal(
    dataset: ReidDataset, clients: int, alpha: float, seed: int
) -> tuple[ReidDataset, ...]:
    """Deal a data set's persons to N clients of unequal size.

    Client k has a share p_k of the persons, p ~ Dirichlet(alpha, ..., alpha): a large alpha makes
    clients alike, a small one makes few large ones and many small ones. Each client has at least
    one training person.

    Args:
        dataset: The data set; its training persons must be known.
        clients: N, >= 1, at most the number of training persons.
        alpha: Concentration, > 0.
        seed: Decides shares and persons.

    Returns:
        N clients. A test person goes to one client with all its pictures, query and gallery, by
        the same shares, so that small clients may have none; distractors are dealt one by one.

    Raises:
        DataError: If a value is out of range or training persons are unknown or too few.
    """
    persons = {image.person_id for image in dataset.train}
    if clients < 1 or not (math.isfinite(alpha) and alpha > 0):
        raise DataError(f"expected clients >= 1 and alpha > 0, got {clients} and {alpha}")
    if -1 in persons:
        raise DataError(
            f"{dataset.name}: expected known training persons to deal, got unknown ones (-1); "
            "data.scenario=many deals sets whose persons are known"
        )
    if (there := len(persons)) < clients:
        fewer = f"set data.many.clients={there} or less, or " if there else ""
        raise DataError(
            f"data.many.clients={clients} needs a training person for each client, and "
            f"{dataset.name} has {there}: {fewer}take a set with more persons"
        )
    generator = np.random.Generator(np.random.PCG64(seed))
    borders = np.cumsum(generator.dirichlet(np.full(clients, alpha)))
    owner: dict[int, int] = {}
    for place, person in enumerate(seeded_order(persons, seed)):
        owner[person] = place if place < clients else _draw_client(borders, generator)
    tested = {image.person_id for image in (*dataset.query, *dataset.gallery)} - owner.keys()
    for person in seeded_order(tested, seed):
        owner[person] = _draw_client(borders, generator)
    train = _deal(dataset.train, owner, clients)
    query = _deal(dataset.query, owner, clients)
    gallery = _deal(dataset.gallery, owner, clients)
    width = len(str(clients - 1))
    return tuple(
        replace(
            dataset,
            name=f"{dataset.name}-{client:0{width}d}",
            train=train[client],
            query=query[client],
            gallery=gallery[client],
            notes=(*dataset.notes, f"dealt to {clients} clients, alpha {alpha}, seed {seed}"),
        )
        for client in range(clients)
    )


def _draw_client(borders: np.ndarray, generator: np.random.Generator) -> int:
    """Draw a client by its share."""
    drawn = np.searchsorted(borders, generator.random() * borders[-1], side="right")
    return min(int(drawn), len(borders) - 1)


def _deal(
    images: Sequence[PersonImage], owner: dict[int, int], clients: int
) -> list[tuple[PersonImage, ...]]:
    """Give each picture to its person's client; pictures of nobody in turn."""
    hands: list[list[PersonImage]] = [[] for _ in range(clients)]
    for turn, image in enumerate(images):
        client = owner[image.person_id] if image.person_id > 0 else turn % clients
        hands[client].append(image)
    return [tuple(hand) for hand in hands]
