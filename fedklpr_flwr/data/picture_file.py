"""One picture file becomes pixels as a viewer shows them, or an error that says what is wrong."""

import io
import stat
import threading
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from fedklpr_flwr.data.shown_picture import (
    as_shown,
    check_bright,
    in_eight_bits,
    of_sixteen_bits,
    reduced,
    visible,
)
from fedklpr_flwr.data.tiff_tiles import tile_pixels
from fedklpr_flwr.errors import UnreadablePicture

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
"""What is read, by Pillow's names; nothing else of Pillow's is ever tried."""

DECODING = 4
"""Changes whenever the same file gives other pixels: nothing decoded before it may be used on."""

# A picture of one person has some thousand pixels, a phone's photograph 12 to 50 million. What has
# more is not decoded: a file of a few kilobytes can claim gigabytes of memory.
LARGEST_PICTURE = 65_000_000
# A JPEG is decoded at a fraction of its size, whatever it was: phones have up to 108 megapixels.
LARGEST_JPEG = 128_000_000
# Pillow warns of what is looked at here before anything is decoded.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
LARGEST_FILE = 512_000_000
# Larger ones are shown in strips, at a fraction of their size.
_REDUCED_FROM = 20_000_000
# Larger ones wait for one another: a machine with many cores would else hold as many at once.
_LARGE, _LARGE_ONES = 4_000_000, threading.Semaphore(2)

_ORIENTATION, _ON_ITS_SIDE = 0x0112, (5, 6, 7, 8)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_KNOWN_AS = {
    b"%!PS": "PostScript",
    b"%PDF": "PDF",
    b"\x00\x00\x01\x00": "an icon (ICO)",
    b"icns": "an icon (ICNS)",
    b"8BPS": "Photoshop",
    b"\xff\x0a": "JPEG XL",
    b"\x00\x00\x00\x0cJXL": "JPEG XL",
    b"\x00\x00\x00\x0cjP": "JPEG 2000",
    b"<svg": "SVG",
    b"<?xml": "XML",
    b"<!DOC": "a web page",
    b"<html": "a web page",
    b"version https://git-lfs": "a pointer of Git LFS, not the file",
    b"Rar!": "an archive",
    b"PK\x03\x04": "an archive",
}
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF"}


def decode_picture(path: Path, *, height: int, width: int) -> NDArray[np.uint8]:
    """Decode a picture file and resize it, bilinear and antialiased.

    A JPEG much larger than asked for is decoded at 1/2, 1/4 or 1/8 scale (never below the size
    asked for), which its format gives almost for nothing; the resize does the rest.

    Args:
        path: The picture file, of one of FORMATS, by its content and whatever its name; it comes
            upright, on white where it is transparent, in sRGB (`as_shown`).
        height: Height of the result in pixels, >= 1.
        width: Width of the result in pixels, >= 1.

    Returns:
        uint8 (3, height, width), RGB, 0 to 255.

    Raises:
        UnreadablePicture: If the file is missing, empty, truncated, no picture, of more than
            `LARGEST_PICTURE` pixels (a JPEG that is decoded smaller: `LARGEST_JPEG`), or of a kind
            that viewers do not show alike.
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
    picture = shown_picture(data, path, height=height, width=width)
    resized = picture.resize((width, height), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(resized).transpose(2, 0, 1))


def shown_size(path: Path) -> tuple[int, int]:
    """Tell how large a picture stands upright, by its header.

    Args:
        path: The picture file.

    Returns:
        Width and height in pixels.

    Raises:
        UnreadablePicture: As `decode_picture`, as far as a header tells.
    """
    data = read_bytes(path)
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = picture.size
        if width * height > LARGEST_PICTURE:
            raise _unreadable(path, _too_large(width, height))
        if isinstance(picture, TiffImageFile):  # Pillow tells its size as it stands upright
            return width, height
        return (height, width) if _orientation(picture) in _ON_ITS_SIDE else (width, height)
    except UnreadablePicture:
        raise
    except Exception as error:  # as in shown_picture
        raise _unreadable(path, _what_it_is(data)) from error


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
    shown_picture(data, path, height=1, width=1)
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
        UnreadablePicture: If it is missing, empty, of more than LARGEST_FILE bytes, or no regular
            file.
    """
    try:
        # A pipe or a device would be waited for without end.
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            raise _unreadable(path, "no regular file")
        if state.st_size > LARGEST_FILE:
            raise _unreadable(path, f"{state.st_size:,} bytes, more than {LARGEST_FILE:,}")
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    if not data:
        raise _unreadable(path, "0 bytes")
    return data


def shown_picture(data: bytes, path: Path, *, height: int, width: int) -> Image.Image:
    """Decode a picture file's bytes as a viewer shows it, at no smaller a size than asked for.

    Args:
        data: The bytes.
        path: What to call them in an error.
        height: Least height in pixels, >= 1, where the picture has as many.
        width: Least width in pixels, >= 1, where the picture has as many.

    Returns:
        RGB, upright, in sRGB, transparent parts white; of its own size, or a fraction of it.

    Raises:
        UnreadablePicture: As `decode_picture`.
    """
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
        size = picture.size
        jpeg = isinstance(picture, JpegImageFile)
        largest = LARGEST_PICTURE
        # Of a progressive JPEG the decoder holds all coefficients at any scale.
        if jpeg and not picture.info.get("progressive"):
            largest = LARGEST_JPEG
        if size[0] * size[1] <= largest:
            _check_tiles(picture, data)
            # Of a PNG the question would decode it all; only a JPEG can be decoded smaller.
            turn = _orientation(picture) if jpeg else 1
            least = (height, width) if turn in _ON_ITS_SIDE else (width, height)
            picture.draft("RGB", least)
            largest = LARGEST_PICTURE
            held = size if picture.info.get("progressive") else picture.size
            if held[0] * held[1] <= _LARGE:
                return _upright(picture, least)
            if held[0] * held[1] <= LARGEST_PICTURE:
                with _LARGE_ONES:
                    return _upright(picture, least)
    except UnidentifiedImageError as error:  # its own words are of an address in memory
        raise _unreadable(path, _what_it_is(data)) from error
    # Damaged bytes make Pillow's decoders raise nearly anything: OSError, SyntaxError, KeyError ...
    except Exception as error:
        raise _unreadable(path, str(error) or type(error).__name__) from error
    raise _unreadable(path, _too_large(*size, largest))


def _check_tiles(picture: Image.Image, data: bytes) -> None:
    """Refuse a TIFF with tiles far larger than the picture: each is decoded as a whole."""
    if not isinstance(picture, TiffImageFile):
        return
    tile = tile_pixels(data, picture.tag_v2.offset or 0)
    if tile > min(LARGEST_PICTURE, max(_LARGE, 2 * picture.width * picture.height)):
        raise ValueError(f"tiles of {tile:,} pixels in {picture.width} x {picture.height}")


def _upright(picture: Image.Image, least: tuple[int, int]) -> Image.Image:
    """Decode an opened picture, as it is shown and as it stands; `least` is before it is turned."""
    deep = of_sixteen_bits(picture)
    picture.load()  # a TIFF stands upright from here on
    turn = _orientation(picture)
    if deep:
        check_bright(picture)
    picture = in_eight_bits(visible(picture))
    large = picture.width * picture.height > _REDUCED_FROM
    # Eight times the size asked for is left for the antialiased resize, which it cannot tell.
    factor = min(picture.width // (8 * least[0]), picture.height // (8 * least[1])) if large else 1
    shown = reduced(picture, factor) if factor > 1 else as_shown(picture)
    return shown.transpose(_TURNS[turn]) if turn in _TURNS else shown


def _orientation(picture: Image.Image) -> int:
    """The EXIF orientation, 1 to 8: 1 = upright, also where what is said makes no sense."""
    try:
        turn = picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # a viewer shows a picture with damaged EXIF, too
        return 1
    return turn if turn in range(1, 9) else 1


def _too_large(width: int, height: int, largest: int = LARGEST_PICTURE) -> str:
    return f"{width} x {height} pixels, more than {largest:,}"


def _what_it_is(data: bytes) -> str:
    """What bytes that are no picture of FORMATS seem to be."""
    known = next((name for start, name in _KNOWN_AS.items() if data.startswith(start)), "")
    if data[4:8] == b"ftyp":
        known = _BRANDS.get(data[8:12], "a film or a HEIF picture")
    return "no picture of a known format" + f": it is {known}" * bool(known)


def _unreadable(path: Path, why: str) -> UnreadablePicture:
    return UnreadablePicture(
        f"{path}: expected a picture that can be decoded, got: {why}; replace or remove the file, "
        "or set data.skip_unreadable=true to go on without it",
        why,
    )
