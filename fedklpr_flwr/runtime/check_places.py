"""Whether every file and folder that settings name is there, before anything is started."""

import os
from pathlib import Path

from fedklpr_flwr.data.benchmarks import READERS
from fedklpr_flwr.data.synthetic import SITES
from fedklpr_flwr.errors import SettingsError
from fedklpr_flwr.federation.method import Client, Settings
from fedklpr_flwr.federation.personal_model import initial_network
from fedklpr_flwr.runtime.places import user_cache

_DRAWN = "drawn:"


def check_places(settings: Settings, *, simulated: bool) -> None:
    """Refuse settings that name what is not there, or cannot be written.

    Args:
        settings: the run's settings.
        simulated: the clients run on this machine; a real site has places of its own.

    Raises:
        SettingsError: a reader that does not exist, a folder that is missing or cannot be written.
        WeightsError: initial weights that do not fit the network.
    """
    weights = settings.model.weights
    if weights not in (None, "imagenet"):
        if not Path(str(weights)).exists():
            raise SettingsError(f"model.weights={weights}: there is no such file or run folder")
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
