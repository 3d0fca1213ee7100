"""Where things lie on this machine when the user does not say."""

import os
from datetime import datetime
from pathlib import Path


def user_cache() -> Path:
    """The user's cache folder for drawings and decoded pictures: FEDKLPR_CACHE, if set."""
    if own := os.environ.get("FEDKLPR_CACHE"):
        return Path(own).expanduser().resolve()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().resolve() / "fedklpr"


def new_run_folder(base: Path, experiment: str, method: str) -> Path:
    """An absolute folder name base/<date>-<experiment>-<method> that does not exist yet."""
    stem = f"{datetime.now():%Y%m%d-%H%M%S}-{experiment}-{method}"
    folder = base.resolve() / stem
    number = 2
    while folder.exists():
        folder = base.resolve() / f"{stem}-{number}"
        number += 1
    return folder
