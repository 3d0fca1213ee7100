"""A command line becomes a run config that is known to be good, before anything is started."""

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fedklpr_flwr.errors import RunError, SettingsError
from fedklpr_flwr.federation.method import Settings
from fedklpr_flwr.runtime.places import new_run_folder
from fedklpr_flwr.settings import compose_settings, override, split_arguments


@dataclass(frozen=True)
class Prepared:
    """A run that may start.

    Attributes:
        settings: its checked settings, run.dir set.
        run_config: what Flower carries to the server and every client.
        folder: the absolute run folder.
    """

    settings: Settings
    run_config: dict[str, str]
    folder: Path


def prepare(arguments: Sequence[str]) -> Prepared:
    """Check a command line `experiment=NAME KEY=VALUE ...` and choose the run folder.

    Raises:
        SettingsError: a key or a value that cannot be run, or a file or folder that is not there.
        RunError: the run folder cannot be written.
    """
    experiment, overrides = split_arguments(arguments)
    settings = compose_settings(experiment, overrides)
    if settings.run.dir is None:
        folder = new_run_folder(Path("runs"), settings.experiment, settings.method.name)
        overrides = (*overrides, override("run.dir", folder))
        settings = compose_settings(experiment, overrides)
    folder = Path(str(settings.run.dir))
    _check_places(settings)
    _check_writable(folder)
    run_config = {"experiment": experiment, "overrides": shlex.join(overrides)}
    return Prepared(settings, run_config, folder)


def point_latest(folder: Path) -> None:
    """Let runs/latest, beside the run folder, point at it."""
    link = folder.parent / "latest"
    temporary = folder.parent / f".latest-{os.getpid()}"
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(folder.name)
        os.replace(temporary, link)
    except OSError:
        # A file system without links, or a folder called latest: only a convenience is lost.
        temporary.unlink(missing_ok=True)


def _check_places(settings: Settings) -> None:
    """Every file and folder that the settings name is there."""
    weights = settings.model.weights
    if weights not in (None, "imagenet") and not Path(str(weights)).is_file():
        raise SettingsError(f"model.weights={weights}: there is no such file")
    for client in settings.data.clients:
        if client.reader.startswith("drawn:"):
            continue
        root = settings.data.root
        if root is None or not Path(root).is_dir():
            raise SettingsError(f"data.root={root}: expected the folder of the data sets")
        place = Path(root) / (client.folder or "")
        if not place.is_dir():
            raise SettingsError(f"data.root={root}: client {client.name} needs the folder {place}")


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".probe"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise RunError(f"run.dir={folder} cannot be written: {error.strerror}") from error
