"""Data sets become clients: one each, one a camera, or any number of them (`data.scenario`).

    by_dataset  each of data.clients is a client
    by_camera   each camera of each set is a client
    many        each set is dealt to data.many.clients clients by persons

Names and number of the clients follow from the settings alone, so that server, launcher and nodes
agree without looking at a picture.
"""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from fedklpr_flwr.config.settings import Client, Settings
from fedklpr_flwr.data.benchmarks import CARDS, read_dataset
from fedklpr_flwr.data.person_image import ReidDataset
from fedklpr_flwr.data.scenarios import by_camera, dirichlet_deal, some_persons
from fedklpr_flwr.data.synthetic import DRAWN, site_style
from fedklpr_flwr.errors import DataError, SettingsError

NOT_BELIEVED = "<a folder that somebody else's run names>"
"""In place of a client's folder, where the run's settings are not this user's own."""


def spread_clients(settings: Settings) -> Settings:
    """The settings of a run whose `data.clients` are the clients of its scenario.

    Args:
        settings: a run's settings; those that were spread, or joined, before come back as they are.

    Raises:
        SettingsError: by_camera with a set of which it is not known how many cameras it has.
    """
    data = settings.data
    if data.scenario == "by_dataset" or data.joined:
        return settings
    spread = tuple(part for client in data.clients for part in _parts(client, settings))
    return replace(settings, data=replace(data, clients=spread))


def read_part(client: Client, root: Path, settings: Settings, *, seed: int) -> ReidDataset:
    """Read a client's pictures of its set: all, or to train on a camera's, some persons', a hand.

    A set of which only parts are asked for is listed once a process: a thousand clients would
    otherwise list it a thousand times a round.

    Args:
        client: the client.
        root: the folder of its set.
        settings: the run's settings.
        seed: of a split that the set does not bring, and of who is dealt to whom.

    Raises:
        DataError: the set cannot be read, has too few persons, or lacks the camera.
    """
    found = _read_part(client, root, settings, seed=seed)
    return found if client.persons is None else some_persons(found, client.persons, seed)


def _read_part(client: Client, root: Path, settings: Settings, *, seed: int) -> ReidDataset:
    data = settings.data
    if client.camera is None and client.hand is None:
        # A simulation sees one folder from its first round to its last: nothing is waited for.
        return read_dataset(
            client.reader,
            root,
            seed=seed,
            skip_unreadable=data.skip_unreadable,
            settle_seconds=data.settle_seconds if settings.deployment else 0.0,
        )
    if client.hand is not None:
        many = data.many
        hands = _dealt(client.reader, root, seed, data.skip_unreadable, many.clients, many.alpha)
        if isinstance(hands, str):
            raise DataError(f"{root}: client {client.name} gets no hand of it: {hands}")
        return hands[client.hand]
    found = _of_cameras(client.reader, root, seed, data.skip_unreadable)
    for part in found:
        if part.train[0].camera_id == client.camera:
            return part
    there = ", ".join(str(part.train[0].camera_id) for part in found) or "none"
    raise DataError(
        f"{root}: client {client.name} trains on camera {client.camera}, and the set has training "
        f"pictures of {there}; name its cameras yourself, data.scenario=by_dataset "
        "data.clients=[{name, reader, folder, camera}, ...]"
    )


def _parts(client: Client, settings: Settings) -> list[Client]:
    """The clients that one set becomes; a part stays as it is."""
    if client.camera is not None or client.hand is not None:
        return [client]
    if settings.data.scenario == "many":
        count = settings.data.many.clients
        width = len(str(count - 1))
        return [
            replace(client, name=f"{client.name}-{hand:0{width}d}", hand=hand)
            for hand in range(count)
        ]
    return [
        replace(client, name=f"{client.name}-camera{camera}", camera=camera)
        for camera in range(_camera_count(client))
    ]


def _camera_count(client: Client) -> int:
    """How many cameras a set has by its card."""
    if client.reader.startswith(DRAWN):
        return site_style(client.reader.removeprefix(DRAWN)).cameras
    card = CARDS.get(client.reader)
    counts = [form.train.cameras or 0 for form in card.expected] if card else []
    if not counts:
        raise SettingsError(
            f"data.scenario=by_camera: how many cameras client {client.name} has cannot be known, "
            f"reader={client.reader} has no official counts; name them, data.scenario=by_dataset "
            "data.clients=[{name, reader, folder, camera}, ...] with camera 0, 1, ..."
        )
    return max(counts)


@lru_cache(maxsize=8)
def _dealt(
    reader: str, root: Path, seed: int, skip_unreadable: bool, clients: int, alpha: float
) -> tuple[ReidDataset, ...] | str:
    """The hands of a set, or why it cannot be dealt."""
    whole = read_dataset(reader, root, seed=seed, skip_unreadable=skip_unreadable)
    try:
        return dirichlet_deal(whole, clients, alpha, seed)
    except DataError as error:
        return str(error)


@lru_cache(maxsize=8)
def _of_cameras(
    reader: str, root: Path, seed: int, skip_unreadable: bool
) -> tuple[ReidDataset, ...]:
    return by_camera(read_dataset(reader, root, seed=seed, skip_unreadable=skip_unreadable))
