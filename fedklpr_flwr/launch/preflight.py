"""Whether every file and folder that settings name is there, before anything is started."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from fedklpr_flwr.config.partition import read_part
from fedklpr_flwr.config.settings import Client, Settings
from fedklpr_flwr.data.benchmarks import READERS
from fedklpr_flwr.data.synthetic import DRAWN, SITES, site_style
from fedklpr_flwr.errors import DataError, SettingsError
from fedklpr_flwr.model.shared_model import initial_network
from fedklpr_flwr.model.site import open_site
from fedklpr_flwr.protocol.local_privacy import privacy_notes
from fedklpr_flwr.protocol.secure.stages import sum_notes
from fedklpr_flwr.server.robust.norm_bound import unbounded_note
from fedklpr_flwr.system.paths import user_cache

_NAMED = 3


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
    check_named_places(settings, simulated=simulated)
    if settings.model.weights is not None:
        initial_network(settings, pretrained=True)
    if simulated:
        cache = Path(settings.data.cache) if settings.data.cache else user_cache()
        key = "data.cache" if settings.data.cache else "FEDKLPR_CACHE, the cache folder,"
        _check_writable(key, cache)
        if settings.run.memory:
            _check_writable("run.memory", Path(settings.run.memory))
        return _collected({client.name: _notes(client, settings) for client in settings.data.sites})
    return []


def notes_of_trust(settings: Settings) -> list[str]:
    """What a user should know of what privacy leaves open, and of what no bound holds back."""
    expected = settings.federation.start_clients or len(settings.data.clients)
    unbounded = unbounded_note(settings, expected)
    notes = [*privacy_notes(settings), *sum_notes(settings, expected)]
    return notes if unbounded is None else [*notes, unbounded]


def check_named_places(settings: Settings, *, simulated: bool) -> None:
    """Refuse settings that name what is not there, without opening anything; see check_places.

    Raises:
        SettingsError: weights, a reader or a folder that do not exist.
    """
    weights = settings.model.weights
    if weights not in (None, "imagenet") and not Path(str(weights)).exists():
        raise SettingsError(f"model.weights={weights}: there is no such file or run folder")
    for client in settings.data.sites:
        _check_reader(client)
        if simulated and not client.reader.startswith(DRAWN):
            _check_folder(client, settings.data.root)


def _notes(client: Client, settings: Settings) -> tuple[str, ...]:
    """Decode a client's pictures, and say what of them is left out or cannot be searched.

    Drawings are whole by nature, and decoded where they are used. A crowd of them is drawn here:
    of many clients no two shall draw it.
    """
    if client.reader.startswith(DRAWN) and client.hand is None:
        return ()
    data, cache = settings.data, user_cache()
    if client.reader.startswith(DRAWN):
        root = Path(data.root) if data.root else cache / "drawn"
        return read_part(client, root / (client.folder or ""), settings, seed=0).search_notes
    source = open_site(client, settings, cache).source
    if source is None:
        return ()
    return (*source.left_out_notes, *source.dataset.search_notes)


def _collected(notes: Mapping[str, Sequence[str]]) -> list[str]:
    """One sentence a note, with the first of the clients it is true of."""
    clients: dict[str, list[str]] = {}
    for client, said in notes.items():
        for note in said:
            clients.setdefault(note, []).append(client)
    return [f"{_named(names)}: {note}" for note, names in clients.items()]


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more clients" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _check_reader(client: Client) -> None:
    drawn = [f"{DRAWN}{site}" for site in SITES]
    if client.reader in READERS or client.reader in drawn or _is_crowd(client.reader):
        return
    names = [*drawn, f"{DRAWN}crowd-N"]
    kind = names if client.reader.startswith(DRAWN) else [*READERS, f"{DRAWN}SITE"]
    raise SettingsError(
        f"data.clients: client {client.name} has reader={client.reader}, which does not exist; "
        f"there are: {', '.join(kind)}"
    )


def _is_crowd(reader: str) -> bool:
    """Whether it is a drawn site all the same: a crowd's name holds its number."""
    try:
        return reader.startswith(DRAWN) and bool(site_style(reader.removeprefix(DRAWN)))
    except DataError:
        return False


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
