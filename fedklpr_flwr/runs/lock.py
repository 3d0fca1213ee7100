"""Who may write in a run folder: one command, and one server."""

import fcntl
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
        file = (folder / name).open("w")
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
