"""What is believed of a run folder: whose it is, and where its settings may lead.

A run folder may come from somebody else. Links in it would lead a reader or a writer out of it, and
its config.yaml names folders of this machine: pictures, caches, memories. These are believed where
this user made the run on this machine, or says `--trust`. The mark of one's own run is a MAC of
its config.yaml under a key in the user's cache folder, so that it survives a move and a copy of the
folder, and no change of its settings.
"""

import hashlib
import hmac
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from fedklpr_flwr.config.compose import read_settings, write_settings
from fedklpr_flwr.config.partition import NOT_BELIEVED
from fedklpr_flwr.config.settings import Client, Settings
from fedklpr_flwr.errors import RunError
from fedklpr_flwr.system import run_files
from fedklpr_flwr.system.atomic_file import PRIVATE, write_atomically
from fedklpr_flwr.system.paths import user_cache

_MARK, _KEY = ".made-here", "own-runs.key"
_WRITTEN = (
    *("*", "clients/*", "clients/*/*", "payloads/*", "memory/*", "memory/*/*", "memory/*/*/*"),
    *(".flower/*", "export/*"),
)
"""Where a run writes or is read; what else lies deeper (wandb/) is neither."""


def refuse_links(folder: Path) -> None:
    """Refuse a run folder with a link in it: it would lead out of the folder.

    Args:
        folder: may itself be a link, as runs/latest is; it need not exist.

    Raises:
        RunError: there is a link where a run writes or is read.
    """
    for pattern in _WRITTEN:
        for path in folder.glob(pattern):
            if path.is_symlink():
                raise RunError(
                    f"{path} is a link to {os.readlink(path)!r:.200}, and nothing is written or "
                    "read through links in a run folder: put the file itself there, or remove it"
                )


def write_own_settings(settings: Settings, folder: Path) -> None:
    """Write a run's config.yaml, and the mark that the run is this user's.

    Raises:
        RunError: the folder cannot be written.
    """
    write_settings(settings, folder / run_files.CONFIG)
    # Without a cache folder there is no mark, and the run is as good: --trust opens it.
    with suppress(OSError, RunError):
        write_atomically(folder / _MARK, _mark(folder, _own_key()).encode())


def is_own(folder: Path) -> bool:
    """Whether this user made the run on this machine, and its config.yaml is as it was then."""
    try:
        key = (user_cache() / _KEY).read_bytes()
        said = (folder / _MARK).read_text(encoding="ascii")
        return len(key) == 32 and hmac.compare_digest(said, _mark(folder, key))
    except (OSError, ValueError, TypeError):
        return False


def read_run_settings(folder: Path, *, trust: bool = False) -> Settings:
    """Read the settings of a run; of somebody else's run without the places that they name.

    Args:
        folder: the run folder.
        trust: believe them, whoever wrote them.

    Raises:
        SettingsError: config.yaml cannot be read, or another version wrote it.
    """
    settings = read_settings(folder / run_files.CONFIG)
    return settings if trust or is_own(folder) else without_places(settings)


def without_places(settings: Settings) -> Settings:
    """The settings without any folder of this machine but the user's own cache."""

    def placeless(client: Client) -> Client:
        drawn = client.reader.startswith("drawn:")
        return replace(client, folder=None if drawn else NOT_BELIEVED)

    data = replace(
        settings.data,
        root=None,
        cache=None,
        clients=tuple(map(placeless, settings.data.clients)),
        joined=tuple(map(placeless, settings.data.joined)),
    )
    return replace(settings, data=data, run=replace(settings.run, memory=None))


def _mark(folder: Path, key: bytes) -> str:
    return hmac.new(key, (folder / run_files.CONFIG).read_bytes(), hashlib.sha256).hexdigest()


def _own_key() -> bytes:
    """The user's key, made at the first run."""
    path = user_cache() / _KEY
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, os.urandom(32), mode=PRIVATE)
    return path.read_bytes()
