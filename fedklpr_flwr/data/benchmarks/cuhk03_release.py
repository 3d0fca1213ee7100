"""CUHK03 from the files in which it is released: cuhk-03.mat and the 767/700 protocol's .mat."""

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fedklpr_flwr.data.benchmarks.matlab_file import read_matlab
from fedklpr_flwr.data.benchmarks.picture_tree import PictureTree
from fedklpr_flwr.data.person_image import PersonImage, ReidDataset
from fedklpr_flwr.errors import DataError

KINDS = ("detected", "labeled")

_CONFIG = "cuhk03_new_protocol_config_{kind}.mat"
_RELEASE = ("cuhk-03.mat", "cuhk03_release/cuhk-03.mat")
_NAME = re.compile(r"[1-5]_\d{3}_([12])_(\d{2})\.png")
_CAMERA_B = 5


def find_release(root: Path) -> Path | None:
    """Find the protocol's file.

    Args:
        root: The folder with the protocol's files, or that of the extracted pictures beside them.

    Returns:
        The file: of the kind that the root is called after, else detected before labeled; None if
        there is none.
    """
    for kind in KINDS:
        beside = root.parent / _CONFIG.format(kind=kind)
        if root.name.endswith(kind) and beside.is_file():
            return beside
    files = (root / _CONFIG.format(kind=kind) for kind in KINDS)
    return next((file for file in files if file.is_file()), None)


def read_release(tree: PictureTree, config: Path) -> ReidDataset:
    """Read the 767/700 protocol; extract the pictures from cuhk-03.mat if that was not yet done.

    The pictures are looked for in images_KIND or cuhk03_KIND beside the protocol's file, called
    1_001_1_01.png (camera pair, person, view, picture); else they are extracted to images_KIND.

    Args:
        tree: The folder that a user pointed at.
        config: cuhk03_new_protocol_config_detected.mat or .._labeled.mat.

    Returns:
        The set; person ids as in the protocol's file, 1 to 1,467.

    Raises:
        DataError: If a file is damaged, or the pictures are missing and cannot be extracted.
    """
    kind = config.stem.rpartition("_")[2]
    parts = read_matlab(config, ("filelist", "labels", "train_idx", "query_idx", "gallery_idx"))
    names = [str(np.ravel(entry)[0]) for entry in parts["filelist"].ravel()]
    persons = parts["labels"].ravel()
    folder = _pictures_folder(config.parent, kind)
    here = {path.name for path in PictureTree(folder).pictures(folder)}
    images: dict[str, list[PersonImage]] = {}
    for part in ("train_idx", "query_idx", "gallery_idx"):
        images[part] = []
        for at in np.sort(parts[part].ravel().astype(np.int64)) - 1:
            match = _NAME.fullmatch(names[at])
            if match is None or names[at] not in here:
                tree.note(folder / names[at], f"expected this picture, which {config.name} names")
                continue
            camera = int(match[1]) - 1
            images[part].append(PersonImage(folder / names[at], int(persons[at]), camera))
    return ReidDataset(
        "cuhk03",
        tuple(images["train_idx"]),
        tuple(images["query_idx"]),
        tuple(images["gallery_idx"]),
    )


def _pictures_folder(base: Path, kind: str) -> Path:
    """Find the extracted pictures, or extract them."""
    for folder in (base / f"images_{kind}", base / f"cuhk03_{kind}"):
        if folder.is_dir():
            return folder
    for release in (base / name for name in _RELEASE):
        if release.is_file():
            extract_pictures(release, kind, base / f"images_{kind}")
            return base / f"images_{kind}"
    raise DataError(
        f"{base}: expected images_{kind} or cuhk03_{kind} with the pictures, or cuhk-03.mat to "
        "extract them from, beside the protocol's file; got neither"
    )


def extract_pictures(release: Path, kind: str, folder: Path) -> None:
    """Write the pictures of cuhk-03.mat as PNG files: all of them, or none.

    Args:
        release: cuhk-03.mat; MATLAB 7.3, which is HDF5, so h5py must be installed.
        kind: "detected" or "labeled".
        folder: Where to; made by renaming a temporary one when all is written.

    Raises:
        DataError: If h5py is missing, the file is damaged, or the folder cannot be written.
    """
    try:
        import h5py
    except ImportError as error:
        raise DataError(
            f"{release}: expected h5py, which reads MATLAB 7.3 files, got none; install it "
            "(pip install h5py), or extract the pictures to images_" + kind
        ) from error
    partial = None
    try:
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        with h5py.File(release, "r") as content:
            _write_pictures(content, kind, partial)
        partial.chmod(0o755)
        os.replace(partial, folder)
    except (OSError, KeyError, ValueError, TypeError) as error:
        if not folder.is_dir():  # else another process was first, with the same pictures
            raise DataError(
                f"{release}: expected {kind!r} pictures, to be written to {folder}, got: {error}"
            ) from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)


def _write_pictures(content: Any, kind: str, folder: Path) -> None:
    """Write each cell's picture; five of a person's ten cells are for each view, some are empty."""
    for pair, pair_reference in enumerate(content[kind][0], 1):
        # MATLAB stores columns first: transposed, a row is a person.
        for person, cells in enumerate(content[pair_reference][:].T, 1):
            for number, cell in enumerate(cells):
                pixels = content[cell][:].T
                if pixels.ndim == 3 and pixels.size:
                    name = f"{pair}_{person:03d}_{1 + number // _CAMERA_B}_{number + 1:02d}.png"
                    Image.fromarray(np.ascontiguousarray(pixels, np.uint8)).save(folder / name)
