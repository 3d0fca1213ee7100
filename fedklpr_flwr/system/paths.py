"""Where things lie on this machine when the user does not say."""

import itertools
import os
from datetime import datetime
from pathlib import Path

from fedklpr_flwr.errors import RunError
from fedklpr_flwr.system import run_files


def app_folder() -> Path:
    """The folder `flwr run` builds the app from.

    Raises:
        RunError: this is not a checkout.
    """
    folder = Path(__file__).resolve().parents[2]
    if not (folder / "pyproject.toml").is_file():
        raise RunError(
            f"{folder} has no pyproject.toml: `fedklpr run` builds Flower's bundle from a "
            "checkout; use `fedklpr simulate`, or clone the repository"
        )
    return folder


def user_cache() -> Path:
    """The user's cache folder for drawings and decoded pictures: FEDKLPR_CACHE, if set.

    Raises:
        RunError: it is not set, and this user has no home folder.
    """
    own = os.environ.get("FEDKLPR_CACHE")
    base = own or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        folder = Path(base).expanduser().resolve()
    except (RuntimeError, OSError) as error:  # no HOME and no entry in passwd; links in circles
        raise RunError(
            f"{base}: expected a folder for drawings and decoded pictures, got: {error}; set "
            "FEDKLPR_CACHE to a folder that can be written"
        ) from error
    return folder if own else folder / "fedklpr"


def memory_below(folder: Path) -> Path:
    """Where clients keep what they hold of a run: below its folder, or below the user's cache."""
    return folder / run_files.MEMORY


def new_run_folder(base: Path, experiment: str, method: str) -> Path:
    """Make a new folder base/<date>-<experiment>-<method>, which nobody else is given.

    Raises:
        RunError: it cannot be made.
    """
    stem = f"{datetime.now():%Y%m%d-%H%M%S}-{experiment}-{method}"
    for number in itertools.count(1):
        folder = base.resolve() / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
        except OSError as error:
            raise RunError(
                f"{folder} cannot be made: {error.strerror}; choose another place with run.dir="
            ) from error
    raise AssertionError("itertools.count ended")


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
