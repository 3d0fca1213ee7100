"""A command line becomes a run config that is known to be good, before anything is started."""

import json
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fedklpr_flwr.errors import RunError, SettingsError
from fedklpr_flwr.federation.atomic_file import write_atomically
from fedklpr_flwr.federation.method import Settings
from fedklpr_flwr.runtime.command_line import override, split_arguments
from fedklpr_flwr.runtime.places import new_run_folder
from fedklpr_flwr.settings import compose_settings

RUN_CONFIG = "run-config.json"
"""What Flower carried to the server and every client, kept so that the run can be resumed."""


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
    if settings.resume is not None:
        folder = Path(settings.resume).resolve()
        experiment, overrides = _resumed(folder, arguments)
    elif settings.run.dir is None:
        folder = new_run_folder(Path("runs"), settings.experiment, settings.method.name)
        overrides = (*overrides, override("run.dir", folder))
    else:
        folder = Path(settings.run.dir)
        if (folder / "state.json").exists():
            raise RunError(
                f"run.dir={folder} already holds a run: go on with resume={folder}, "
                "or choose another folder"
            )
    settings = compose_settings(experiment, overrides)
    _check_places(settings)
    _check_writable(folder)
    run_config = {"experiment": experiment, "overrides": shlex.join(overrides)}
    write_atomically(folder / RUN_CONFIG, json.dumps(run_config, indent=1).encode())
    return Prepared(settings, run_config, folder)


def _resumed(folder: Path, arguments: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The experiment and overrides a run was started with, then those given now."""
    try:
        began = json.loads((folder / RUN_CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"resume={folder} is not a run folder: {error}") from error
    named = [argument for argument in arguments if argument.startswith("experiment=")]
    if named and named[-1] != f"experiment={began['experiment']}":
        raise SettingsError(
            f"{named[-1]}: the run in {folder} is experiment={began['experiment']}; leave it out"
        )
    now = [
        argument for argument in arguments if not argument.startswith(("experiment=", "resume="))
    ]
    earlier = [item for item in shlex.split(began["overrides"]) if not item.startswith("resume=")]
    return began["experiment"], (*earlier, *split_arguments(now)[1], override("resume", folder))


def point_latest(folder: Path) -> None:
    """Let runs/latest point at a run folder that lies in a folder called runs."""
    if folder.parent.name != "runs":
        return
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
    if weights not in (None, "imagenet") and not Path(str(weights)).exists():
        raise SettingsError(f"model.weights={weights}: there is no such file or run folder")
    for client in settings.data.sites:
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
