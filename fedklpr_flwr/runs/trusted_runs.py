"""What is believed of a run folder: whose it is, and where its settings may lead.

A run folder may come from somebody else. Links in it would lead a reader or a writer out of it, and
its config.yaml and run-config.json name folders of this machine: pictures, caches, memories. These
are believed where this user made the run on this machine, or says `--trust`. Either file has a mark
of its own, a MAC under a key in the user's cache folder: it survives a move and a copy of the
folder, and no change of what the file says.
"""

import hashlib
import hmac
import json
import os
import shlex
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from fedklpr_flwr.config.compose import compose_settings, read_settings, write_settings
from fedklpr_flwr.config.partition import NOT_BELIEVED
from fedklpr_flwr.config.run_config import refuse_lookups
from fedklpr_flwr.config.settings import Client, Settings
from fedklpr_flwr.errors import RunError, SettingsError
from fedklpr_flwr.runs.run_config_file import BegunWith
from fedklpr_flwr.system import run_files
from fedklpr_flwr.system.atomic_file import PRIVATE, write_atomically
from fedklpr_flwr.system.paths import user_cache
from fedklpr_flwr.system.plain_text import read_small, read_text

_MARK, _BEGUN, _KEY = ".made-here", ".begun-here", "own-runs.key"
_WRITTEN = (
    *("*", "clients/*", "clients/*/*", "memory/*", "memory/*/*", "memory/*/*/*"),
    *("payloads/*", "changes/*", ".flower/*", "export/*"),
)
"""Where a run writes or is read; what else lies deeper (wandb/) is neither."""


def refuse_links(folder: Path) -> None:
    """Refuse a run folder with a link in it, which would lead out of it, or a pipe or device.

    Args:
        folder: may itself be a link, as runs/latest is; it need not exist.

    Raises:
        RunError: there is a link where a run writes or is read, or something else than files and
            folders.
    """
    for pattern in _WRITTEN:
        for path in folder.glob(pattern):
            try:
                kind = stat.S_IFMT(path.lstat().st_mode)
            except FileNotFoundError:
                continue  # of a run that goes on
            if kind == stat.S_IFLNK:
                raise RunError(
                    f"{path} is a link to {os.readlink(path)!r:.200}, and nothing is written or "
                    "read through links in a run folder: put the file itself there, or remove it"
                )
            if kind not in (stat.S_IFREG, stat.S_IFDIR):
                raise RunError(
                    f"{path} is neither a file nor a folder, and reading it might never end: a run "
                    "writes no such thing; remove it"
                )


def write_own_settings(settings: Settings, folder: Path) -> None:
    """Write a run's config.yaml, and the mark that the run is this user's.

    Raises:
        RunError: the folder cannot be written.
    """
    write_settings(settings, folder / run_files.CONFIG)
    _keep_mark(folder / _MARK, lambda key: _mark(folder, key))


def is_own(folder: Path) -> bool:
    """Whether this user made the run on this machine, and its config.yaml is as it was then."""
    return _is_marked(folder / _MARK, lambda key: _mark(folder, key))


def mark_begun(folder: Path, begun: BegunWith) -> None:
    """Mark what a run-config.json says as this user's."""
    _keep_mark(folder / _BEGUN, lambda key: _mark_of_begun(begun, key))


def check_may_go_on(folder: Path, begun: BegunWith, *, trust: bool, asked: str = "") -> None:
    """Refuse to go on with somebody else's run: what its run-config.json says would be done.

    Args:
        folder: the run folder.
        begun: what its run-config.json says.
        trust: the user has read it; what would be looked up on this machine is refused all the
            same.
        asked: how going on was asked for, for the error; empty = `resume=FOLDER`.

    Raises:
        RunError: it was not begun here by this user, and `trust` is not said.
        SettingsError: see `refuse_lookups`.
    """
    if _is_marked(folder / _BEGUN, lambda key: _mark_of_begun(begun, key)):
        return
    words = shlex.split(begun.overrides)
    if trust:
        instead = f"write the value itself into {run_files.RUN_CONFIG}"
        refuse_lookups(words, source="somebody else's run", instead=instead)
    elif not _says_what_own_settings_say(folder, begun, words):
        raise RunError(
            f"{asked or f'resume={folder}'} was not begun here by this user, or its "
            f"{run_files.RUN_CONFIG} was changed since: read what that names, then add --trust"
        )


def _says_what_own_settings_say(folder: Path, begun: BegunWith, words: list[str]) -> bool:
    """Whether a run of before this mark says in run-config.json what its own config.yaml says."""
    if not is_own(folder):
        return False
    try:
        refuse_lookups(words)
        said = compose_settings(begun.experiment, tuple(words))
        own = read_settings(folder / run_files.CONFIG)
    except SettingsError:
        return False
    return _without_folder(said) == _without_folder(own)


def _without_folder(settings: Settings) -> Settings:
    """The settings wherever the run folder lies."""
    return replace(settings, resume=None, run=replace(settings.run, dir=None))


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
    run = replace(settings.run, memory=None, continues=None)
    return replace(settings, data=data, run=run)


def _keep_mark(path: Path, mark: Callable[[bytes], str]) -> None:
    # Without a cache folder there is no mark, and the run is as good: --trust opens it.
    with suppress(OSError, ValueError, RunError):
        write_atomically(path, mark(_own_key()).encode())


def _is_marked(path: Path, mark: Callable[[bytes], str]) -> bool:
    try:
        key = (user_cache() / _KEY).read_bytes()
        said = read_text(path)
        return len(key) == 32 and hmac.compare_digest(said, mark(key))
    except (OSError, ValueError, TypeError, RunError):
        return False


def _mark(folder: Path, key: bytes) -> str:
    return hmac.new(key, read_small(folder / run_files.CONFIG), hashlib.sha256).hexdigest()


def _mark_of_begun(begun: BegunWith, key: bytes) -> str:
    said = b"begun\0" + json.dumps(asdict(begun)).encode()
    return hmac.new(key, said, hashlib.sha256).hexdigest()


def _own_key() -> bytes:
    """The user's key, made at the first run."""
    path = user_cache() / _KEY
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, os.urandom(32), mode=PRIVATE)
    return path.read_bytes()
