"""A folder of pictures becomes a gallery: features, drawn once, and found again by content."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fedklpr_flwr.data.benchmarks import folder as folder_reader
from fedklpr_flwr.data.benchmarks import open_tree
from fedklpr_flwr.data.benchmarks.numbering import PictureRow
from fedklpr_flwr.data.picture_file import decode_bytes, read_bytes
from fedklpr_flwr.errors import DataError, UnreadablePicture
from fedklpr_flwr.reid.camera_features import UNKNOWN, CameraLooks, camera_looks
from fedklpr_flwr.runs.opened_model import PictureModel
from fedklpr_flwr.search.index_file import (
    Entry,
    KnownPictures,
    State,
    file_state,
    forget_gone,
    index_path,
    read_index,
    settled,
    write_index,
)

Progress = Callable[[int, int], None]
"""Told how many pictures are done, and how many are to be looked at."""

_CHUNK = 128
_WORKERS = 4


@dataclass(frozen=True)
class Gallery:
    """Pictures that can be searched.

    Attributes:
        root: their folder.
        pictures: N, as their folder tells of them; person and camera are empty where unknown.
        features: float32 (N,D), unit rows in the same order.
        looked_at: how many features were drawn now; the others were found again.
        problems: files that are left out, and why.
        remark: why the features could not be kept; empty where they were.
        looks: what was taken out of the features of each camera, and is of a query's too; None =
            nothing.
        doubts: what names may mean otherwise than they were read, a sentence each.
    """

    root: Path
    pictures: tuple[PictureRow, ...]
    features: NDArray[np.float32]
    looked_at: int = 0
    problems: tuple[tuple[Path, str], ...] = ()
    remark: str = ""
    looks: CameraLooks | None = None
    doubts: tuple[str, ...] = ()

    @property
    def cameras(self) -> int:
        """How many cameras are known by name."""
        return len({row.camera for row in self.pictures} - {""})


def open_gallery(
    model: PictureModel,
    root: Path,
    cache: Path | None,
    *,
    recheck: bool = False,
    camera_norm: bool = False,
    progress: Progress | None = None,
) -> Gallery:
    """Draw the features of all pictures in a folder, or find those drawn before.

    A file is read again when its size, its times or its inode differ from when it was looked at,
    and looked at again when its bytes do. Pictures that are gone are forgotten, under other models,
    too.

    Args:
        model: draws the features.
        root: a folder as `searched_rows` takes it.
        cache: the user's cache folder; None keeps nothing.
        recheck: read every file again, whatever its times say.
        camera_norm: take each camera's mean and spread out of its pictures' features, and those of
            the whole gallery out of a query's, whose camera nobody tells.
        progress: told of files that are read.

    Raises:
        DataError: there is no such folder, or no picture in it that can be read.
        WeightsError: the model draws no numbers.
    """
    root = root.expanduser().absolute()
    file = index_path(cache, model.key, root) if cache else None
    if cache and file:
        forget_gone(cache, file, root)
    if not root.is_dir():
        got = "got a file" if root.exists() else "there is no such path"
        raise DataError(f"{root}: expected a folder of pictures to search in, {got}")
    tree = open_tree("folder", root)
    rows = folder_reader.searched_rows(tree)
    dimensions = model.network.feature_dim
    known = read_index(file, dimensions) if file else read_index(Path(), dimensions)
    index = _Index(model, root, known)
    try:
        index.look_at(rows, recheck=recheck, progress=progress or (lambda done, total: None))
    finally:  # what was drawn before an interruption is not drawn again
        remark = index.keep(file, rows)
    found = [row for row in rows if index.name(row) in index.entries]
    problems = [(fault.path, fault.why) for fault in tree.problems]
    problems += [(path, "a link to nothing or to itself") for path in tree.nowhere]
    if not found:
        why = f"; {len(index.unreadable)} cannot be read" if index.unreadable else ""
        raise DataError(
            f"{root}: expected pictures to search in, as CAMERA/anything.jpg or plain, found none "
            f"that can be used{why}"
        )
    features = index.features(found)
    faults = (*problems, *index.unreadable)
    gallery = Gallery(
        root, tuple(found), features, index.looked_at, faults, remark, doubts=tuple(tree.doubts)
    )
    return _normalised(gallery) if camera_norm else gallery


def _normalised(gallery: Gallery) -> Gallery:
    """Take each camera's look out of a gallery; pictures of no known camera go by all pictures'."""
    names = sorted({row.camera for row in gallery.pictures} - {""})
    number = {name: place for place, name in enumerate(names)} | {"": UNKNOWN}
    cameras = torch.tensor([number[row.camera] for row in gallery.pictures])
    features = torch.from_numpy(np.array(gallery.features))
    looks = camera_looks(features, cameras, "zscore")
    return replace(gallery, features=looks.taken_out(features, cameras).numpy(), looks=looks)


class _Index:
    """What is known of a folder's pictures, growing."""

    def __init__(self, model: PictureModel, root: Path, known: KnownPictures) -> None:
        self._model = model
        self._above = os.path.join(root, "")
        self._old = known
        self._drawn: list[NDArray[np.float32]] = []
        self._rows = dict(known.rows)
        self.entries: dict[str, Entry] = {}
        self.unreadable: list[tuple[Path, str]] = []
        self.looked_at = 0

    def name(self, row: PictureRow) -> str:
        """A picture's path below the folder."""
        return str(row.path).removeprefix(self._above)

    def look_at(self, rows: Sequence[PictureRow], *, recheck: bool, progress: Progress) -> None:
        """Find or draw the features of every picture."""
        unsure: list[tuple[PictureRow, State]] = []
        for row in rows:
            state = file_state(row.path) or (0, 0, 0, 0)
            entry = self._old.entries.get(self.name(row))
            if entry is None or entry.state != state or recheck:
                unsure.append((row, state))
            else:
                self.entries[self.name(row)] = entry
        for done, chunk in _chunks(unsure):
            progress(done, len(unsure))
            self._read(chunk)
        progress(len(unsure), len(unsure))

    def _read(self, chunk: Sequence[tuple[PictureRow, State]]) -> None:
        """Hash some files, and draw the features of those whose bytes are new."""
        looked_at_ns = time.time_ns()
        pixels: dict[bytes, NDArray[np.uint8]] = {}
        with ThreadPoolExecutor(_WORKERS) as pool:
            results = list(pool.map(lambda item: self._decoded(item[0].path), chunk))
        for (row, state), found in zip(chunk, results, strict=True):
            if isinstance(found, UnreadablePicture):
                self.unreadable.append((row.path, found.why))
                continue
            digest, picture = found
            if picture is not None:
                pixels[digest] = picture
            self.entries[self.name(row)] = Entry(settled(state, looked_at_ns), digest)
        if pixels:
            batch = torch.from_numpy(np.stack(list(pixels.values())))
            first = len(self._old.features) + self.looked_at
            self._drawn.append(self._model.features(batch))
            self._rows |= {digest: first + place for place, digest in enumerate(pixels)}
            self.looked_at += len(pixels)

    def _decoded(self, path: Path) -> tuple[bytes, NDArray[np.uint8] | None] | UnreadablePicture:
        """A file's hash, and its pixels where that is new; or why it is no picture."""
        size = self._model.architecture
        try:
            data = read_bytes(path)
            digest = hashlib.sha256(data).digest()
            if digest in self._rows:
                return digest, None
            return digest, decode_bytes(data, path, height=size.height, width=size.width)
        except UnreadablePicture as error:
            return error

    def features(self, rows: Sequence[PictureRow]) -> NDArray[np.float32]:
        """The features of pictures that were looked at, in their order."""
        places = np.array([self._rows[self.entries[self.name(row)].digest] for row in rows])
        if not self._drawn and np.array_equal(places, np.arange(len(self._old.features))):
            return self._old.features
        found: NDArray[np.float32] = np.concatenate([self._old.features, *self._drawn])[places]
        return found

    def keep(self, file: Path | None, rows: Sequence[PictureRow]) -> str:
        """Write what is known of the folder's pictures; say why where it cannot be written."""
        entries = {}
        unreadable = {path for path, _ in self.unreadable}
        for row in rows:
            if row.path in unreadable:  # what it showed before is gone
                continue
            name = self.name(row)
            # A file not come to before an interruption keeps what was known of it.
            entry = self.entries.get(name) or self._old.entries.get(name)
            if entry is not None and (entry.digest in self._rows):
                entries[name] = entry
        if file is None or (entries == self._old.entries and not self._drawn):
            return ""
        places = np.array([self._rows[e.digest] for e in entries.values()], np.int64)
        features = np.concatenate([self._old.features, *self._drawn])[places]
        try:
            write_index(file, list(entries), list(entries.values()), features)
        except OSError as error:
            why = error.strerror or error
            return (
                f"{file.parent} cannot keep the features: {why}; FEDKLPR_CACHE sets another place"
            )
        return ""


def _chunks(
    items: Sequence[tuple[PictureRow, State]],
) -> Iterator[tuple[int, Sequence[tuple[PictureRow, State]]]]:
    for start in range(0, len(items), _CHUNK):
        yield start, items[start : start + _CHUNK]
