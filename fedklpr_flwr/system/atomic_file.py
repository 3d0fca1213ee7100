"""Files that are whole after a crash at any moment, and never written through a link."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from fedklpr_flwr.errors import RunError

PRIVATE = 0o600
"""The mode of files with people in them: their user's alone."""


_ABANDONED_SECONDS = 3600.0


def write_atomically(path: Path, content: bytes | memoryview, *, mode: int = 0o666) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new, never a part.

    A link of that name is replaced and not followed.

    Args:
        path: the file; its folder must exist.
        content: all of it.
        mode: who may read it, less the umask.

    Raises:
        RunError: it cannot be written, because the disk is full for one; the old content stands.
    """
    with replacing(path) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A place to write a file's new content to, which takes its name once it is whole on the disk.

    Args:
        path: as for write_atomically.

    Raises:
        RunError: likewise.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)  # of a killed process that had this number
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RunError(
            f"{path} cannot be written: {error.strerror or error}; make room, then resume"
        ) from error


def open_unlinked(path: Path, *, append: bool) -> IO[bytes]:
    """Open a file to write, made if it does not exist, unless it is a link.

    Args:
        path: the file.
        append: go on at its end; otherwise it begins anew.

    Raises:
        OSError: it is a link, or cannot be opened.
    """
    how = os.O_APPEND if append else os.O_TRUNC
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | how, 0o666), "wb")


def remove_leftovers(folder: Path) -> None:
    """Remove what processes left that were killed while they wrote.

    Args:
        folder: nobody else may be writing in it.
    """
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def remove_abandoned(folder: Path) -> None:
    """Remove the half-written `*.partial` files of a shared folder left alone for an hour.

    Args:
        folder: others may be writing in it; it need not exist.
    """
    long_ago = time.time() - _ABANDONED_SECONDS
    for path in folder.glob("*.partial"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < long_ago:
                path.unlink(missing_ok=True)
