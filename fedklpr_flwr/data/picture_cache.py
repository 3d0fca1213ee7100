"""Picture files become one array of small pictures, decoded once and shared by all on a machine."""

import hashlib
import os
import secrets
import stat
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL
import torch
from numpy.typing import NDArray

from fedklpr_flwr.data.cached_files import FileState, file_state, kept_file, write_list
from fedklpr_flwr.data.frame_box import decode_box
from fedklpr_flwr.data.person_image import PersonImage
from fedklpr_flwr.data.picture_file import DECODING, decode_picture
from fedklpr_flwr.errors import DataError

# Pictures decoded ahead of the one that is being written: bounds the memory.
_CHUNK = 256


def load_pictures(
    images: Sequence[PersonImage],
    *,
    height: int,
    width: int,
    cache: Path | None,
    workers: int = 1,
    skip_unreadable: bool = False,
    root: Path | None = None,
) -> tuple[torch.Tensor, tuple[int, ...]]:
    """Decode picture files, resize each once, and keep the result for the next time.

    With a cache folder the pictures lie in one .npy file, named after a hash of paths, file sizes,
    change times and picture size, and memory-mapped: all processes of a machine share it. Several
    may build it at once: each writes a file of its own and renames it, the last wins, all are
    equal. `cached_files.forget_gone` removes it when one of the pictures has gone.

    Args:
        images: N pictures, loaded in this order.
        height: Height of the result in pixels, >= 1.
        width: Width of the result in pixels, >= 1.
        cache: Folder of cached pictures, made if need be; None keeps them in memory alone.
        workers: Threads that decode, >= 1.
        skip_unreadable: Leave out what cannot be decoded, rather than raise.
        root: The set's folder, by which what is gone from it is found; None = of no one folder.

    Returns:
        uint8 (K, 3, height, width), RGB, 0 to 255, and the indices into `images` of its K rows, in
        ascending order; K < N where pictures were skipped. Writing to the tensor changes no file.

    Raises:
        DataError: If a picture cannot be decoded and is not to be skipped, if none can, or if the
            cache cannot be written.
    """
    if not images:
        return torch.empty((0, 3, height, width), dtype=torch.uint8), ()
    decoded = _readable(images, height, width, workers, skip_unreadable)
    if cache is None:
        return _into_memory(decoded, (len(images), 3, height, width))
    # Before anything is decoded: a file that changes meanwhile is another one next time.
    states = {str(image.path.absolute()): file_state(image.path) for image in images}
    file = cache / f"{_cache_key(images, states, height, width)}.npy"
    found = _open_cached(file, len(images), skip_unreadable)
    if found is None:
        try:
            cache.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write_cache(file, decoded, (len(images), 3, height, width), states, root)
        except OSError as error:
            raise DataError(
                f"{cache}: expected a folder for cached pictures that can be written, got: "
                f"{error}; make room there, or set another one by FEDKLPR_CACHE (or data.cache)"
            ) from error
        found = _open_cached(file, len(images), skip_unreadable)
    if found is None:
        raise DataError(f"{file}: was written but cannot be read back; remove it and try again")
    return found


def pictures_stamp(images: Sequence[PersonImage], root: Path) -> str:
    """Hash what a folder's listing says of pictures: no file is opened, so it costs little.

    Args:
        images: The pictures, in order.
        root: The set's folder: where it lies does not count.

    Returns:
        64 hexadecimal digits, of paths below the root, persons, cameras, file sizes and change
        times; a picture that is gone is told from one that is there.
    """
    total, above = hashlib.sha256(), f"{root}{os.sep}"
    for image in images:
        line = f"{str(image.path).removeprefix(above)} {image.person_id} {image.camera_id}"
        line = f"{line}{_box_of(image)} {_in_words(file_state(image.path))}"
        total.update(line.encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def pictures_fingerprint(images: Sequence[PersonImage]) -> str:
    """Hash what pictures show and who is on them, to notice a folder that has changed.

    Args:
        images: The pictures, in order.

    Returns:
        64 hexadecimal digits, of file names, persons, cameras and the bytes of every file; the
        same wherever the folder lies. A file that was deleted since it was listed counts as gone.

    Raises:
        DataError: If a file cannot be read.
    """
    total = hashlib.sha256()
    for image in images:
        try:
            if not stat.S_ISREG(image.path.stat().st_mode):
                raise OSError("no regular file")  # a pipe would be waited for without end
            content = hashlib.sha256(image.path.read_bytes()).hexdigest()
        except FileNotFoundError:
            content = "gone"
        except OSError as error:
            raise DataError(
                f"{image.path}: expected a readable picture file, got: {error}; was the folder "
                "changed while it was read?"
            ) from error
        line = (
            f"{image.path.name!r} {image.person_id} {image.camera_id}{_box_of(image)} {content}\n"
        )
        total.update(line.encode("utf-8", "surrogatepass"))
    return total.hexdigest()


def _readable(
    images: Sequence[PersonImage], height: int, width: int, workers: int, skip: bool
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield index and pixels of every picture that can be decoded, in order."""

    def decode(image: PersonImage) -> NDArray[np.uint8] | DataError:
        try:
            if image.box is not None:
                return decode_box(image.path, image.box, height=height, width=width)
            return decode_picture(image.path, height=height, width=width)
        except DataError as error:
            return error

    none_yet = True
    # Pillow decodes and resizes without the interpreter's lock, so threads do, and an error comes
    # out of them as it is.
    with ThreadPoolExecutor(max_workers=workers) as pool:
        for start in range(0, len(images), _CHUNK):
            results = pool.map(decode, images[start : start + _CHUNK])
            for index, result in enumerate(results, start):
                if not isinstance(result, DataError):
                    none_yet = False
                    yield index, result
                elif not skip:
                    raise result
    if none_yet:
        raise DataError(f"none of {len(images)} pictures can be decoded; first: {images[0].path}")


def _into_memory(
    decoded: Iterator[tuple[int, NDArray[np.uint8]]], shape: tuple[int, int, int, int]
) -> tuple[torch.Tensor, tuple[int, ...]]:
    """Collect decoded pictures in one array."""
    rows = np.empty(shape, dtype=np.uint8)
    kept: list[int] = []
    for index, picture in decoded:
        rows[len(kept)] = picture
        kept.append(index)
    return torch.from_numpy(rows[: len(kept)]), tuple(kept)


def _cache_key(
    images: Sequence[PersonImage], states: Mapping[str, FileState], height: int, width: int
) -> str:
    """Name a set of pictures at a size: 32 hexadecimal digits."""
    key = hashlib.sha256(f"{DECODING} {PIL.__version__} {height} {width}\n".encode())
    for image in images:
        # Where a picture is missing, decoding will say what is wrong with it.
        path = str(image.path.absolute())
        key.update(os.fsencode(path) + f"{_box_of(image)} {_in_words(states[path])}".encode())
    return key.hexdigest()[:32]


def _box_of(image: PersonImage) -> str:
    """A picture's box in words; empty where it has none, so that older names stay."""
    return "" if image.box is None else f" {image.box}"


def _in_words(state: FileState) -> str:
    """A file's size and change time."""
    return "missing\n" if state is None else f"{state[0]} {state[1]}\n"


def _open_cached(
    file: Path, count: int, allow_gaps: bool
) -> tuple[torch.Tensor, tuple[int, ...]] | None:
    """Map a cached file; None where there is none, it is damaged, or it lacks pictures."""
    try:
        rows = np.load(file, mmap_mode="c")  # copy on write: a tensor needs writable memory
        if len(rows) == count:
            return torch.from_numpy(rows), tuple(range(count))
        kept = np.load(kept_file(file)) if allow_gaps else None
    except (OSError, ValueError, EOFError):
        return None
    if kept is None or len(kept) != len(rows):
        return None
    return torch.from_numpy(rows), tuple(kept.tolist())


def _write_cache(
    file: Path,
    decoded: Iterator[tuple[int, NDArray[np.uint8]]],
    shape: tuple[int, int, int, int],
    states: Mapping[str, FileState],
    root: Path | None,
) -> None:
    """Write pictures to a file of another name, then rename it: whole, or not there."""
    partial = file.with_name(f"{file.stem}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    kept: list[int] = []
    try:
        # Plain writes: on a full disk a memory-mapped file kills the process instead.
        with open(partial, "xb", opener=_private) as stream:
            _write_header(stream, shape)
            for index, picture in decoded:
                stream.write(picture.data)
                kept.append(index)
            write_list(stream, states, root)
            # Space for a longer first axis is part of the format, so the header can be replaced.
            stream.seek(0)
            _write_header(stream, (len(kept), *shape[1:]))
            stream.flush()
            os.fsync(stream.fileno())
        if len(kept) < shape[0]:
            _replace_with_array(kept_file(file), np.asarray(kept))
        os.replace(partial, file)
    finally:
        partial.unlink(missing_ok=True)


def _replace_with_array(file: Path, array: NDArray[np.int64]) -> None:
    """Save a small array under a name at once."""
    partial = file.with_name(f"{file.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    with open(partial, "xb", opener=_private) as stream:
        np.save(stream, array)
    os.replace(partial, file)


def _private(path: str, flags: int) -> int:
    """Open a file of people's pictures for its user alone."""
    return os.open(path, flags, 0o600)


def _write_header(stream: BinaryIO, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(
        stream, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
