"""Whether every file and folder that settings name is there, before anything is started."""

import os
from pathlib import Path

from fedklpr_flwr.data.benchmarks import READERS, read_dataset
from fedklpr_flwr.data.synthetic import SITES
from fedklpr_flwr.errors import SettingsError
from fedklpr_flwr.federation.method import Client, Settings
from fedklpr_flwr.federation.personal_model import initial_network
from fedklpr_flwr.federation.site import open_site
from fedklpr_flwr.runtime.places import user_cache

_DRAWN = "drawn:"


def check_places(settings: Settings, *, simulated: bool) -> list[str]:
    """Refuse settings that name what is not there, cannot be read or cannot be written.

    Pictures of a simulation are read and decoded here once, into the cache that its clients use, so
    that a damaged one stops the run before it starts.

    Args:
        settings: the run's settings.
        simulated: the clients run on this machine; a real site has places of its own.

    Returns:
        What a user should know of the sites' test sets: a sentence each.

    Raises:
        SettingsError: a reader that does not exist, a folder that is missing or cannot be written.
        WeightsError: initial weights that do not fit the network, or cannot be had.
        DataError: pictures that cannot be read.
    """
    weights = settings.model.weights
    if weights not in (None, "imagenet") and not Path(str(weights)).exists():
        raise SettingsError(f"model.weights={weights}: there is no such file or run folder")
    if weights is not None:
        initial_network(settings, pretrained=True)
    for client in settings.data.sites:
        _check_reader(client)
        if simulated and not client.reader.startswith(_DRAWN):
            _check_folder(client, settings.data.root)
    if simulated:
        cache = Path(settings.data.cache) if settings.data.cache else user_cache()
        key = "data.cache" if settings.data.cache else "FEDKLPR_CACHE, the cache folder,"
        _check_writable(key, cache)
        if settings.run.memory:
            _check_writable("run.memory", Path(settings.run.memory))
        return [note for client in settings.data.sites for note in _read_pictures(client, settings)]
    return []


def _read_pictures(client: Client, settings: Settings) -> list[str]:
    """Decode a client's pictures; drawings are whole by nature, and drawn where they are used."""
    if client.reader.startswith(_DRAWN):
        return []
    data = settings.data
    root = Path(str(data.root)) / (client.folder or "")
    dataset = read_dataset(
        client.reader, root, seed=settings.seed, skip_unreadable=data.skip_unreadable
    )
    open_site(client, settings, user_cache())
    return [f"{client.name}: {note}" for note in dataset.search_notes]


def _check_reader(client: Client) -> None:
    drawn = [f"{_DRAWN}{site}" for site in SITES]
    if client.reader not in READERS and client.reader not in drawn:
        kind = drawn if client.reader.startswith(_DRAWN) else [*READERS, f"{_DRAWN}SITE"]
        raise SettingsError(
            f"data.clients: client {client.name} has reader={client.reader}, which does not exist; "
            f"there are: {', '.join(kind)}"
        )


def _check_folder(client: Client, root: str | None) -> None:
    if root is None or not Path(root).is_dir():
        raise SettingsError(f"data.root={root}: expected the folder of the data sets")
    place = Path(root) / (client.folder or "")
    if not place.is_dir():
        raise SettingsError(f"data.root={root}: client {client.name} needs the folder {place}")


def _check_writable(key: str, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise SettingsError(f"{key}={folder} cannot be written: {error.strerror}") from error
