"""A command line becomes a run config that is known to be good, before anything is started."""

import json
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.config.run_config import resolved_text
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.errors import RunError, SettingsError
from fedklpr_flwr.launch.command_line import override, resume_word, split_arguments
from fedklpr_flwr.launch.preflight import check_places, notes_of_trust
from fedklpr_flwr.launch.processes import FLOWER_HOME, end_processes_of, end_server
from fedklpr_flwr.runs.lock import COMMAND, SERVER, hold
from fedklpr_flwr.runs.own_runs import refuse_links
from fedklpr_flwr.runs.resume import check_resumed
from fedklpr_flwr.system.atomic_file import write_atomically
from fedklpr_flwr.system.git_commit import code_commit
from fedklpr_flwr.system.paths import new_run_folder
from fedklpr_flwr.system.plain_text import parse_json

RUN_CONFIG = "run-config.json"
"""What Flower carried to the server and every client, kept so that the run can be resumed, and the
commits of the code that it was begun and gone on with."""

_ENDING_SECONDS = 5.0
_REAL = "real_sites"
"""In that file: whether the run's clients are boxes of their own."""


@dataclass(frozen=True)
class Prepared:
    """A run that may start; its folder is this process's until it ends or calls `release`.

    Attributes:
        settings: its checked settings, run.dir set.
        run_config: what Flower carries to the server and every client.
        folder: the absolute run folder.
        lock: what keeps other commands out of the folder.
        notes: what a user should know before it starts: a sentence each.
    """

    settings: Settings
    run_config: dict[str, str]
    folder: Path
    lock: IO[str] = field(compare=False, repr=False)
    notes: tuple[str, ...] = ()

    def release(self) -> None:
        """Let the folder go."""
        self.lock.close()


def prepare(arguments: Sequence[str], *, simulated: bool = True) -> Prepared:
    """Check a command line `experiment=NAME KEY=VALUE ...`, and take the run folder.

    Args:
        arguments: the command line.
        simulated: the clients run on this machine, so what they need must be on it.

    Raises:
        SettingsError: a key or a value that cannot be run, or a file or folder that is not there.
        RunError: the run folder cannot be written, or another run has it.
    """
    experiment, overrides = split_arguments(arguments)
    settings = compose_settings(experiment, overrides)
    if settings.resume is not None:
        folder = Path(settings.resume).resolve()
        experiment, overrides = _resumed(folder, arguments, simulated=simulated)
        settings = compose_settings(experiment, overrides)
    notes = [*check_places(settings, simulated=simulated), *notes_of_trust(settings)]
    if settings.resume is None and settings.run.dir is None:
        folder = new_run_folder(Path("runs"), settings.experiment, settings.method.name)
        overrides = (*overrides, override("run.dir", folder))
        settings = compose_settings(experiment, overrides)
    elif settings.resume is None:
        folder = Path(str(settings.run.dir))
    refuse_links(folder)
    lock = hold(folder, COMMAND)
    try:
        end_server(folder)
        end_processes_of(folder / FLOWER_HOME)  # left by a command that was killed
        hold(folder, SERVER, patience=_ENDING_SECONDS).close()
        _check_fits(settings, folder)
        run_config = {"experiment": experiment, "overrides": shlex.join(overrides)}
        commits = _commits(folder, resumed=settings.resume is not None)
        kept = {**run_config, "commits": commits, **({} if simulated else {_REAL: True})}
        if not simulated:  # real sites compose nothing: they are sent what it comes to
            run_config["settings"] = resolved_text(settings)
        write_atomically(folder / RUN_CONFIG, json.dumps(kept, indent=1).encode())
    except BaseException:
        lock.close()
        raise
    return Prepared(settings, run_config, folder, lock, tuple(notes))


def _check_fits(settings: Settings, folder: Path) -> None:
    """A new run needs a folder without one, a resumed run what it began with."""
    if settings.resume is not None:
        check_resumed(settings, folder)
    elif (folder / "state.json").exists():
        raise RunError(
            f"run.dir={folder} already holds a run: go on with {resume_word(folder)}, "
            "or choose another folder"
        )


def _resumed(
    folder: Path, arguments: Sequence[str], *, simulated: bool
) -> tuple[str, tuple[str, ...]]:
    """The experiment and overrides a run was started with, then those given now."""
    began = _read_run_config(folder)
    if simulated and began[_REAL] == str(True):
        raise SettingsError(
            f"{resume_word(folder)} is a run of real boxes, and simulated clients would be merged "
            f"into it: go on with fedklpr run --superlink NAME {resume_word(folder)}"
        )
    named = [argument for argument in arguments if argument.startswith("experiment=")]
    if named and named[-1] != f"experiment={began['experiment']}":
        raise SettingsError(
            f"{named[-1]}: the run in {folder} is experiment={began['experiment']}; leave it out"
        )
    moved = [argument for argument in arguments if argument.startswith("run.dir=")]
    if moved:
        raise SettingsError(f"{moved[-1]}: a resumed run stays in its folder; leave run.dir out")
    now = [
        argument for argument in arguments if not argument.startswith(("experiment=", "resume="))
    ]
    earlier = [item for item in shlex.split(began["overrides"]) if not item.startswith("resume=")]
    return began["experiment"], (*earlier, *split_arguments(now)[1], override("resume", folder))


def _commits(folder: Path, *, resumed: bool) -> list[str]:
    """The commits that made the run so far, and this one if it is another."""
    began = parse_json((folder / RUN_CONFIG).read_text(encoding="utf-8")) if resumed else {}
    # A run of before this was kept began at a commit that nobody knows.
    known, now = began.get("commits") or ["not recorded"] * resumed, code_commit()
    return known if known[-1:] == [now] else [*known, now]


def _read_run_config(folder: Path) -> dict[str, str]:
    path = folder / RUN_CONFIG
    try:
        began = parse_json(path.read_text(encoding="utf-8"))
        known = {_REAL: False, **began}
        return {key: str(known[key]) for key in ("experiment", "overrides", _REAL)}
    except FileNotFoundError as error:
        raise RunError(f"resume={folder} is not a run folder: there is no {RUN_CONFIG}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{path} is damaged ({error}): write in it the experiment and the overrides that the "
            'run began with, {"experiment": NAME, "overrides": "KEY=VALUE ..."}'
        ) from error


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
