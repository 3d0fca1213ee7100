"""Files that are whole after a crash at any moment."""

import os
from pathlib import Path

from fedklpr_flwr.errors import RunError


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new, never a part.

    Args:
        path: the file; its folder must exist.
        content: all of it.

    Raises:
        RunError: it cannot be written, because the disk is full for one; the old content stands.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RunError(
            f"{path} cannot be written: {error.strerror or error}; make room, then resume"
        ) from error
