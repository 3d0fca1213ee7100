"""One picture file becomes pixels, or an error that names the file and what is wrong with it."""

import io
import stat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from fedklpr_flwr.errors import UnreadablePicture

# A picture of one person has some thousand pixels, a phone's photograph 12 million. What has more
# is not decoded: a file of a few kilobytes can claim gigabytes of memory.
LARGEST_PICTURE = 20_000_000


def decode_picture(path: Path, *, height: int, width: int) -> NDArray[np.uint8]:
    """Decode a picture file and resize it, bilinear and antialiased.

    A JPEG much larger than asked for is decoded at 1/2, 1/4 or 1/8 scale (never below the size
    asked for), which its format gives almost for nothing; the resize does the rest.

    Args:
        path: The picture file, of any format that Pillow reads; grey, palette and transparent
            pictures become RGB.
        height: Height of the result in pixels, >= 1.
        width: Width of the result in pixels, >= 1.

    Returns:
        uint8 (3, height, width), RGB, 0 to 255.

    Raises:
        UnreadablePicture: If the file is missing, empty, truncated, no picture, or of more than
            `LARGEST_PICTURE` pixels.
    """
    return decode_bytes(read_bytes(path), path, height=height, width=width)


def decode_bytes(data: bytes, path: Path, *, height: int, width: int) -> NDArray[np.uint8]:
    """Decode a picture file's bytes, as `decode_picture` does.

    Args:
        data: The bytes.
        path: What to call them in an error.
        height: Height of the result in pixels, >= 1.
        width: Width of the result in pixels, >= 1.

    Returns:
        uint8 (3, height, width), RGB, 0 to 255.

    Raises:
        UnreadablePicture: As `decode_picture`.
    """
    picture = _decoded(path, data, (width, height))
    resized = picture.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(resized).transpose(2, 0, 1))


def picture_bytes(path: Path) -> bytes:
    """Read a picture file and make sure that it can be decoded.

    Args:
        path: The picture file.

    Returns:
        The bytes of the file.

    Raises:
        UnreadablePicture: As `decode_picture`.
    """
    data = read_bytes(path)
    # The smallest scale will do: a truncated file shows at any.
    _decoded(path, data, (1, 1))
    return data


def why_unreadable(path: Path) -> str:
    """Say in a few words why a picture cannot be decoded.

    Args:
        path: The picture file.

    Returns:
        The reason; empty if it can be decoded after all.
    """
    try:
        picture_bytes(path)
    except UnreadablePicture as error:
        return error.why
    return ""


def read_bytes(path: Path) -> bytes:
    """Read a file that should be a picture.

    Args:
        path: The file.

    Returns:
        Its bytes, at least one.

    Raises:
        UnreadablePicture: If it is missing, empty, or no regular file.
    """
    try:
        # A pipe or a device would be waited for without end.
        if not stat.S_ISREG(path.stat().st_mode):
            raise _unreadable(path, "no regular file")
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    if not data:
        raise _unreadable(path, "0 bytes")
    return data


def _decoded(path: Path, data: bytes, least: tuple[int, int]) -> Image.Image:
    """Decode the bytes of a picture, a JPEG at the smallest scale of at least (width, height)."""
    try:
        picture = Image.open(io.BytesIO(data))
        if picture.width * picture.height <= LARGEST_PICTURE:
            picture.draft("RGB", least)
            picture.load()
            return picture
    except UnidentifiedImageError as error:  # its own words are of an address in memory
        raise _unreadable(path, "no picture of a known format") from error
    # Damaged bytes make Pillow's decoders raise nearly anything: OSError, SyntaxError, KeyError ...
    except Exception as error:
        raise _unreadable(path, str(error) or type(error).__name__) from error
    size = f"{picture.width} x {picture.height} pixels, more than {LARGEST_PICTURE:,}"
    raise _unreadable(path, size)


def _unreadable(path: Path, why: str) -> UnreadablePicture:
    return UnreadablePicture(
        f"{path}: expected a picture that can be decoded, got: {why}; replace or remove the file, "
        "or set data.skip_unreadable=true to go on without it",
        why,
    )
