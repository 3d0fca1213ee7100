"""A command line becomes a run config that is known to be good, before anything is started."""

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.config.run_config import resolved_text
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.errors import RunError, SettingsError
from fedklpr_flwr.launch.command_line import override, resume_word, split_arguments
from fedklpr_flwr.launch.continued import continued_notes, continued_words, continues
from fedklpr_flwr.launch.end_processes import FLOWER_HOME, end_processes_of, end_server
from fedklpr_flwr.launch.preflight import check_places, notes_of_trust
from fedklpr_flwr.runs.lock import COMMAND, SERVER, hold
from fedklpr_flwr.runs.resume_checks import check_resumed, resumed_notes
from fedklpr_flwr.runs.run_config_file import BegunWith, read_begun_with, write_begun_with
from fedklpr_flwr.runs.trusted_runs import check_may_go_on, mark_begun, refuse_links
from fedklpr_flwr.system import run_files
from fedklpr_flwr.system.paths import new_run_folder

_ENDING_SECONDS = 5.0


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


def prepare(arguments: Sequence[str], *, simulated: bool = True, trust: bool = False) -> Prepared:
    """Check a command line `experiment=NAME KEY=VALUE ...`, and take the run folder.

    Args:
        arguments: the command line.
        simulated: the clients run on this machine, so what they need must be on it.
        trust: go on with a run that somebody else made.

    Raises:
        SettingsError: a key or a value that cannot be run, or a file or folder that is not there.
        RunError: the run folder cannot be written, another run has it, or it is somebody else's.
    """
    if continues(arguments):
        experiment, overrides = continued_words(arguments, simulated=simulated, trust=trust)
    else:
        experiment, overrides = split_arguments(arguments)
    settings = compose_settings(experiment, overrides)
    if settings.resume is not None:
        folder = Path(settings.resume).resolve()
        experiment, overrides = _resumed(folder, arguments, simulated=simulated, trust=trust)
        settings = compose_settings(experiment, overrides)
    notes = [] if settings.resume else continued_notes(settings)
    notes += [*check_places(settings, simulated=simulated), *notes_of_trust(settings)]
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
        notes += _check_fits(settings, folder)
        _remove_flower_home(folder)
        run_config = {"experiment": experiment, "overrides": shlex.join(overrides)}
        begun = BegunWith(experiment, run_config["overrides"], real_sites=not simulated)
        write_begun_with(folder, begun, resumed=settings.resume is not None)
        mark_begun(folder, begun)
        if not simulated:  # real sites compose nothing: they are sent what it comes to
            run_config["settings"] = resolved_text(settings)
    except BaseException:
        lock.close()
        raise
    return Prepared(settings, run_config, folder, lock, tuple(notes))


def _remove_flower_home(folder: Path) -> None:
    """Remove what Flower kept of earlier starts: it would run an app found there as it stands."""
    home = folder / FLOWER_HOME
    try:
        shutil.rmtree(home)  # refuses a link, and follows none below
    except FileNotFoundError:
        return
    except OSError as error:
        raise RunError(
            f"{home} cannot be removed ({error.strerror or error}), and what lies in it is not "
            "run: remove it by hand, then start again"
        ) from error


def _check_fits(settings: Settings, folder: Path) -> list[str]:
    """A new run needs a folder without one, a resumed run what it began with; notes of the last."""
    if settings.resume is not None:
        check_resumed(settings, folder)
        return resumed_notes(settings, folder)
    if (folder / run_files.STATE).exists():
        raise RunError(
            f"run.dir={folder} already holds a run: go on with {resume_word(folder)}, "
            "or choose another folder"
        )
    return []


def _resumed(
    folder: Path, arguments: Sequence[str], *, simulated: bool, trust: bool
) -> tuple[str, tuple[str, ...]]:
    """The experiment and overrides a run was started with, then those given now."""
    refuse_links(folder)
    began = read_begun_with(folder)
    check_may_go_on(folder, began, trust=trust)
    if simulated and began.real_sites:
        raise SettingsError(
            f"{resume_word(folder)} is a run of real boxes, and simulated clients would be merged "
            f"into it: go on with fedklpr run --superlink NAME {resume_word(folder)}"
        )
    named = [argument for argument in arguments if argument.startswith("experiment=")]
    if named and named[-1] != f"experiment={began.experiment}":
        raise SettingsError(
            f"{named[-1]}: the run in {folder} is experiment={began.experiment}; leave it out"
        )
    moved = [argument for argument in arguments if argument.startswith("run.dir=")]
    if moved:
        raise SettingsError(f"{moved[-1]}: a resumed run stays in its folder; leave run.dir out")
    now = [
        argument for argument in arguments if not argument.startswith(("experiment=", "resume="))
    ]
    earlier = [item for item in shlex.split(began.overrides) if not item.startswith("resume=")]
    return began.experiment, (*earlier, *split_arguments(now)[1], override("resume", folder))
