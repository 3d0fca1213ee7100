"""Who may write in a run folder: one command, and one server."""

import fcntl
import os
import time
from pathlib import Path
from typing import IO

from fedklpr_flwr.errors import RunError

SERVER, COMMAND = ".lock", ".command.lock"
"""Held by the server app while it runs, and by the command that started or resumed the run."""


def hold(folder: Path, name: str, *, patience: float = 0.0) -> IO[str]:
    """Take a lock of a run folder, made if it does not exist; closing the file lets it go.

    Args:
        folder: the run folder.
        name: SERVER or COMMAND.
        patience: seconds to wait for a holder that is ending.

    Raises:
        RunError: the folder cannot be written, or another process holds the lock.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Neither through a link nor emptied: the folder may come from somebody else.
        found = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        file = os.fdopen(found, "r+")
    except OSError as error:
        raise RunError(f"run.dir={folder} cannot be written: {error.strerror}") from error
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except OSError as error:
            if time.monotonic() >= end:
                file.close()
                raise RunError(
                    f"{folder} is in use by another run: wait for it, or stop it"
                ) from error
        time.sleep(0.05)
