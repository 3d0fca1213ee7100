"""Where things lie on this machine when the user does not say."""

import itertools
import os
from datetime import datetime
from pathlib import Path

from fedklpr_flwr.errors import RunError


def user_cache() -> Path:
    """The user's cache folder for drawings and decoded pictures: FEDKLPR_CACHE, if set."""
    if own := os.environ.get("FEDKLPR_CACHE"):
        return Path(own).expanduser().resolve()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().resolve() / "fedklpr"


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
