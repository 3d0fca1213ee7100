"""A file of decoded pictures says whose pixels it holds, and goes when one of them has gone.

    <cache>/<32 hexadecimal digits>.npy        the pixels, then a list of the picture files
    <cache>/<the same>.kept.npy                which of the pictures could be decoded, if not all

The list stands behind the array, where numpy does not look: both come into being
at once.
"""

import contextlib
import hashlib
import json
import os
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from fedklpr_flwr.system.atomic_file import remove_abandoned

FileState = tuple[int, int] | None
"""A file's size in bytes and change time in nanoseconds; None where there is none."""

_MARK = b"fklplist"
_END = struct.Struct("<Q32s8s")  # the list's bytes, whose folder it is of, the mark
_CACHED = re.compile(r"[0-9a-f]{32}\.npy")


def file_state(path: str | Path) -> FileState:
    """Tell a file's size and change time; None where there is none."""
    try:
        state = os.stat(path)
    except OSError:
        return None
    return state.st_size, state.st_mtime_ns


def kept_file(file: Path) -> Path:
    """Where it is written which of the pictures of a cached file could be decoded."""
    return file.with_suffix(".kept.npy")


def write_list(stream: BinaryIO, states: Mapping[str, FileState], root: Path | None) -> None:
    """Write behind the pixels whose they are.

    Args:
        stream: stands at the end of the array.
        states: what each picture file was before it was decoded, by absolute path.
        root: the folder of the set; None where they are of no one folder.
    """
    told = json.dumps(states).encode("ascii")
    stream.write(told + _END.pack(len(told), _folder_mark(root), _MARK))


def forget_gone(cache: Path, root: Path) -> int:
    """Remove decoded pictures of a folder where one of their files is gone or another by now.

    What is still there is decoded anew by whoever opens it. So go files that say of no picture
    whose they are (an earlier version wrote them), and those of processes that were killed while
    they wrote, after an hour.

    Args:
        cache: the folder of cached pictures; it need not exist.
        root: the set's folder, as it was given to `load_pictures`.

    Returns:
        How many files of pixels were removed.
    """
    removed = 0
    for file in cache.glob("*.npy"):
        if _CACHED.fullmatch(file.name) and _is_stale(file, root):
            removed += 1
            # The list of indices goes last: without the pixels nobody reads it.
            for one in (file, kept_file(file)):
                with contextlib.suppress(OSError):
                    one.unlink(missing_ok=True)
    remove_abandoned(cache)
    return removed


def _is_stale(file: Path, root: Path) -> bool:
    """Whether a cached file holds pixels of this folder's that no file has any more."""
    try:
        with open(file, "rb") as stream:
            stream.seek(-_END.size, os.SEEK_END)
            length, folder, mark = _END.unpack(stream.read(_END.size))
            if mark != _MARK:
                return True
            if folder not in (_folder_mark(root), _folder_mark(None)):
                return False
            stream.seek(-_END.size - length, os.SEEK_END)
            states = json.loads(stream.read(length))
        return any(file_state(path) != _as_state(state) for path, state in states.items())
    except FileNotFoundError:  # another process was faster
        return False
    except (OSError, ValueError, AttributeError, TypeError):
        return True


def _as_state(told: list[int] | None) -> FileState:
    return None if told is None else (told[0], told[1])


def _folder_mark(root: Path | None) -> bytes:
    """Name a folder in 32 bytes."""
    return hashlib.sha256(b"" if root is None else os.fsencode(root.absolute())).digest()
