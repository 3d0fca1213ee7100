"""Picture files damaged by chance or on purpose: each becomes pixels, or an error in words.

Whatever a header claims, a picture takes no more memory than one of the largest size that is read.
"""

import io
import struct
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from fedklpr_flwr.data.frame_box import decode_box
from fedklpr_flwr.data.picture_file import decode_bytes, shown_picture
from fedklpr_flwr.errors import UnreadablePicture

MEMORY_ALLOWED = 1_200_000_000
"""64 megapixels in four bytes, three times over, and what else a decoder holds."""

SIZES = [0, 1, 2, 255, 4096, 7999, 8001, 65535, 2**31 - 1, 2**31, 2**32 - 1]
WORDS = [
    b"%!PS",
    b"\x00\x00\x01\x00",
    b"icns",
    b"<svg",
    b"\xff\xd8\xff",
    b"GIF89a",
    b"P6 9 9 255\n",
]


def _bytes(picture, kind, **how):
    stream = io.BytesIO()
    picture.save(stream, kind, **how)
    return stream.getvalue()


def corpus():
    """Small pictures of every format and mode that is read, with what may be embedded."""
    generator = np.random.default_rng(0)
    colours = Image.fromarray(generator.integers(0, 256, (24, 16, 3), dtype=np.uint8))
    grey16 = Image.fromarray(generator.integers(0, 65536, (24, 16)).astype(np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return [
        _bytes(colours, "JPEG", exif=exif, icc_profile=profile),
        _bytes(colours, "JPEG", progressive=True),
        _bytes(colours.convert("CMYK"), "JPEG"),
        _bytes(colours, "PNG", icc_profile=profile),
        _bytes(colours.convert("RGBA"), "PNG", exif=exif),
        _bytes(colours.quantize(9), "PNG", transparency=b"\x00\x80\xff"),
        _bytes(grey16, "PNG"),
        _bytes(colours.convert("1"), "PNG"),
        _bytes(colours.convert("RGBA"), "WEBP", lossless=True),
        _bytes(colours, "WEBP", exif=exif),
        _bytes(colours, "BMP"),
        _bytes(colours.quantize(16), "BMP"),
        _bytes(colours, "TIFF", compression="tiff_lzw"),
        _bytes(colours, "TIFF", compression="tiff_jpeg"),
        _bytes(colours, "TIFF", compression="packbits"),
        _bytes(colours.convert("F"), "TIFF"),
        _bytes(grey16, "TIFF"),
        _bytes(colours.convert("LAB"), "TIFF"),
        _bytes(colours.quantize(9), "GIF", save_all=True, append_images=[colours.quantize(3)]),
        _bytes(colours, "PPM"),
        _bytes(colours.convert("1"), "PPM"),
    ]


def spoiled(generator, content):
    """A file with bytes changed, cut, moved, or a size in it that lies."""
    data, kind = bytearray(content), generator.integers(7)
    place = int(generator.integers(len(data)))
    if kind == 0:
        for at in generator.integers(len(data), size=int(generator.integers(1, 9))):
            data[at] = int(generator.integers(256))
    elif kind == 1:
        del data[place:]
    elif kind == 2:
        data[place:place] = data[place : place + int(generator.integers(1, 90))]
    elif kind == 3:
        del data[place : place + int(generator.integers(1, 9))]
    elif kind == 4:
        data[: int(generator.integers(9))] = WORDS[generator.integers(len(WORDS))]
    else:
        form = str(generator.choice(["<H", ">H", "<I", ">I"]))
        size = SIZES[generator.integers(len(SIZES))] % 256 ** struct.calcsize(form)
        at = (
            min(place, len(data) - 4)
            if kind == 5
            else int(generator.integers(min(64, len(data) - 4)))
        )
        struct.pack_into(form, data, at, size)
    return _with_checksums(bytes(data)) if generator.integers(2) else bytes(data)


def _with_checksums(data):
    """A PNG whose chunks' checksums are right again, so that what is behind them is reached."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    out, at = bytearray(data), 8
    while at + 12 <= len(out):
        end = at + 8 + int.from_bytes(out[at : at + 4], "big")
        if end + 4 > len(out):
            break
        out[end : end + 4] = zlib.crc32(out[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(out)


def most_memory():
    """The most memory this process has had since the last call, in bytes; 0 where nobody tells."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return 0
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def look(generator, content, folder):
    """Every door that a picture comes in by."""
    data = spoiled(generator, content)
    path = folder / "x.jpg"
    pixels = decode_bytes(data, path, height=12, width=6)
    assert pixels.shape == (3, 12, 6)
    assert pixels.dtype == np.uint8
    shown = shown_picture(data, path, height=192, width=96)
    assert shown.mode == "RGB"
    if generator.integers(10) == 0:
        path.write_bytes(data)
        box = (0, 0, max(1, shown.width // 2), max(1, shown.height // 2))
        if shown.width * shown.height < 10**6:
            assert decode_box(path, box, height=12, width=6).shape == (3, 12, 6)


def fuzz(folder, cases, seed):
    """How many of so many damaged pictures were decoded and refused."""
    generator, outcomes, good = np.random.default_rng(seed), Counter(), corpus()
    most_memory()
    before = most_memory()
    for number in range(cases):
        try:
            look(generator, good[number % len(good)], folder)
            outcomes["decoded"] += 1
        except UnreadablePicture as error:
            if not error.why.isprintable() or isinstance(error.__cause__, MemoryError):
                raise AssertionError(f"picture {number}: {error!r}") from error
            outcomes["refused"] += 1
        if number % 100 == 0:
            assert most_memory() - before < MEMORY_ALLOWED, number
    return outcomes


# What Pillow says of a damaged tag or a size is said by the error, too.
@pytest.mark.filterwarnings("ignore")
def test_four_hundred_damaged_pictures_become_pixels_or_words(tmp_path):
    assert min(fuzz(tmp_path, 400, seed=0)[one] for one in ("decoded", "refused")) > 50


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", [1, 2])
def test_twenty_thousand_damaged_pictures_become_pixels_or_words(part, tmp_path):
    assert sum(fuzz(tmp_path, 10_000, seed=part).values()) == 10_000
