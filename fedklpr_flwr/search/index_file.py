"""Features of a gallery on disk, so that a picture is looked at once for each model.

One safetensors file for a model and a folder: what each file was when it was looked at, a hash of
its bytes, and its features. It describes people: it lies in the user's own cache folder, readable
by that user alone, and holds only pictures that the folder still has.
"""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from fedklpr_flwr.data.picture_file import DECODING
from fedklpr_flwr.system.atomic_file import remove_abandoned

State = tuple[int, int, int, int]
"""A file's size in bytes, change time of its content and of its entry (ns), and inode."""

# Features of pictures that were decoded in another way are of other pictures.
_FORMAT = f"fedklpr-gallery-{DECODING}-{PIL.__version__}"
_NO_STATE: State = (-1, -1, -1, -1)
_SETTLED_NS = 2_000_000_000


@dataclass(frozen=True)
class Entry:
    """A picture that was looked at.

    Attributes:
        state: what its file was then.
        digest: SHA-256 of its bytes.
    """

    state: State
    digest: bytes


@dataclass
class KnownPictures:
    """What is known of a gallery under one model.

    Attributes:
        entries: by path below the gallery's folder.
        rows: place among `features` of the pictures of a digest.
        features: float32 (N,D); memory-mapped where it was read from a file.
    """

    features: NDArray[np.float32]
    entries: dict[str, Entry] = field(default_factory=dict)
    rows: dict[bytes, int] = field(default_factory=dict)


def index_path(cache: Path, model_key: str, folder: Path) -> Path:
    """Where the features of a folder's pictures under a model lie."""
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    return cache / "search" / f"{model_key[:32]}-{name}.safetensors"


def forget_gone(cache: Path, file: Path, folder: Path) -> None:
    """Remove what describes pictures that a folder has not any more, under whatever model.

    Of the model that is searched with, `write_index` leaves them out. An index of another one that
    holds such a picture goes as a whole: its model draws the features of the others again.

    Args:
        cache: the user's cache folder.
        file: the index of the model that is searched with.
        folder: the gallery; all of its indexes go where it is gone itself.
    """
    same_folder = (cache / "search").glob(f"*-{file.name.rpartition('-')[2]}")
    stale = [path for path in same_folder if path != file and _names_one_gone(path, folder)]
    stale += [] if folder.is_dir() else [file]
    for path in stale:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
    remove_abandoned(cache / "search")


def _names_one_gone(path: Path, folder: Path) -> bool:
    """Whether an index knows a picture that is not there any more, or cannot be read."""
    try:
        with safe_open(str(path), framework="np") as file:
            names, states = file.get_tensor("names"), file.get_tensor("states")
        told = names.tobytes().decode("utf-8", "surrogateescape").split("\0")[:-1]
    except FileNotFoundError:  # another process was faster
        return False
    except (OSError, SafetensorError, UnicodeDecodeError):
        return True
    return any(
        _is_another(file_state(folder / name), tuple(state))
        for name, state in zip(told, states.tolist(), strict=False)
    )


def _is_another(now: State | None, then: State) -> bool:
    """Whether a file is gone, or its content has changed since it was looked at."""
    return now is None or (then != _NO_STATE and now[:2] != then[:2])


def file_state(path: Path) -> State | None:
    """What a file is by its folder's word, without opening it; None where there is none.

    A program can set a file's content time to what it was; the entry's time it cannot.
    """
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def settled(state: State, looked_at_ns: int, settle_ns: int = _SETTLED_NS) -> State:
    """A state to be believed later on: none where the file had only just been changed.

    A change within the same tick of the file system's clock would not show in it.
    """
    return state if max(state[1], state[2]) < looked_at_ns - settle_ns else _NO_STATE


def read_index(path: Path, dimensions: int) -> KnownPictures:
    """Read an index; an empty one where there is none, or none that can be used.

    Args:
        path: the file.
        dimensions: D of the model.
    """
    nothing = KnownPictures(np.empty((0, dimensions), np.float32))
    try:
        with safe_open(str(path), framework="np") as file:
            if (file.metadata() or {}).get(_FORMAT) != "":
                return nothing
            features, states, digests, names = (
                file.get_tensor(name) for name in ("features", "states", "digests", "names")
            )
        paths = names.tobytes().decode("utf-8", "surrogateescape").split("\0")[:-1]
    except (OSError, SafetensorError, UnicodeDecodeError):
        return nothing
    count = len(paths)
    shapes = (features.shape, states.shape, digests.shape)
    if shapes != ((count, dimensions), (count, 4), (count, 32)):
        return nothing
    told = [row.tobytes() for row in digests]
    entries = {
        path: Entry(tuple(state), digest)
        for path, state, digest in zip(paths, states.tolist(), told, strict=True)
    }
    rows = {digest: row for row, digest in enumerate(told)}
    return KnownPictures(features, entries, rows)


def write_index(
    path: Path, paths: Sequence[str], entries: Sequence[Entry], features: NDArray[np.float32]
) -> None:
    """Write an index, all of it or nothing.

    Args:
        path: the file; its folder is made.
        paths: N paths below the gallery's folder.
        entries: N, of the same pictures.
        features: (N,D) float32.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    names = "".join(f"{name}\0" for name in paths).encode("utf-8", "surrogateescape")
    arrays: dict[str, NDArray[Any]] = {
        "features": np.ascontiguousarray(features),
        "states": np.array([entry.state for entry in entries], np.int64).reshape(-1, 4),
        "digests": np.frombuffer(b"".join(e.digest for e in entries), np.uint8).reshape(-1, 32),
        "names": np.frombuffer(names, np.uint8),
    }
    try:
        # Made before it is filled, so that at no moment anybody else can read it.
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        save_file(arrays, partial, metadata={_FORMAT: ""})
        partial.chmod(0o600)
        os.replace(partial, path)
    except SafetensorError as error:
        raise OSError(str(error)) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
