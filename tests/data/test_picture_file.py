"""One picture file: every kind becomes RGB, every broken one an error that names it."""

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedklpr_flwr.data.picture_file import (
    LARGEST_JPEG,
    LARGEST_PICTURE,
    decode_picture,
    picture_bytes,
)
from fedklpr_flwr.errors import DataError


def smooth_jpeg(path: Path, size=(256, 512)) -> Path:
    columns, rows = np.meshgrid(np.linspace(0, 255, size[0]), np.linspace(0, 255, size[1]))
    pixels = np.stack([columns, rows, 255 - rows], axis=2).astype(np.uint8)
    Image.fromarray(pixels).save(path, quality=95)
    return path


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "CMYK", "1", "I;16"])
def test_every_kind_of_picture_becomes_three_channels(tmp_path, mode):
    suffix = ".tif" if mode in ("CMYK", "I;16") else ".png"
    nothing_hidden = {"RGBA": (0, 0, 0, 255), "LA": (0, 255)}
    Image.new(mode, (10, 20), nothing_hidden.get(mode, 0)).save(tmp_path / f"picture{suffix}")
    pixels = decode_picture(tmp_path / f"picture{suffix}", height=8, width=4)
    assert pixels.shape == (3, 8, 4)
    assert pixels.dtype == np.uint8


def test_channels_come_as_red_green_blue(tmp_path):
    Image.new("RGB", (6, 6), (255, 128, 0)).save(tmp_path / "orange.bmp")
    pixels = decode_picture(tmp_path / "orange.bmp", height=2, width=2)
    assert pixels[:, 0, 0].tolist() == [255, 128, 0]


def test_a_large_jpeg_at_reduced_scale_looks_as_at_full_scale(tmp_path):
    path = smooth_jpeg(tmp_path / "large.jpg")
    reduced = decode_picture(path, height=32, width=16)
    full = np.asarray(Image.open(path).resize((16, 32), Image.Resampling.BILINEAR))
    assert np.abs(reduced.transpose(1, 2, 0).astype(int) - full).max() <= 4


def test_a_jpeg_is_never_decoded_smaller_than_asked_for(tmp_path):
    path = smooth_jpeg(tmp_path / "just.jpg", size=(40, 80))
    pixels = decode_picture(path, height=64, width=32)
    full = np.asarray(Image.open(path).resize((32, 64), Image.Resampling.BILINEAR))
    assert np.array_equal(pixels.transpose(1, 2, 0), full)


def broken_files(folder: Path) -> dict[str, Path]:
    whole = smooth_jpeg(folder / "whole.jpg", size=(60, 120)).read_bytes()
    Image.effect_noise((60, 120), 50).save(folder / "whole.png")
    png = (folder / "whole.png").read_bytes()
    contents = {
        "empty.jpg": b"",
        "truncated.jpg": whole[: len(whole) // 2],
        "truncated.png": png[: len(png) // 2],
        "text.jpg": b"this is no picture",
        "half_header.png": png[:20],
        "garbled.png": png[:60] + bytes(100) + png[160:],
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in contents}


@pytest.mark.parametrize(
    "name",
    ["empty.jpg", "truncated.jpg", "truncated.png", "text.jpg", "half_header.png", "garbled.png"],
)
def test_a_broken_file_is_an_error_that_names_it(tmp_path, name):
    path = broken_files(tmp_path)[name]
    with pytest.raises(DataError, match=name):
        decode_picture(path, height=8, width=4)
    with pytest.raises(DataError, match=name):
        picture_bytes(path)


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path):
    path = tmp_path / "bomb.png"
    Image.new("1", (9000, 8000)).save(path)
    assert path.stat().st_size < 20_000
    with pytest.raises(DataError, match=r"bomb\.png.*9000 x 8000 pixels"):
        decode_picture(path, height=8, width=4)
    with pytest.raises(DataError, match="9000 x 8000 pixels"):
        picture_bytes(path)


def tiled(picture_edge: int, entries, *, big_endian: bool = False) -> bytes:
    """A grey TIFF of one tile, deflated, whose size `entries` say: tag, type, value."""
    order = ">" if big_endian else "<"
    edge = max((value for *_, value in entries), default=picture_edge)
    packed = zlib.compress(b"\x80" * edge * edge)
    plain = {256: picture_edge, 257: picture_edge, 258: 8, 259: 8, 262: 1, 324: 8}
    told = [*((tag, 4, value) for tag, value in plain.items()), (325, 4, len(packed)), *entries]
    tags = b"".join(
        struct.pack(f"{order}HHI", tag, kind, 1)
        + struct.pack(f"{order}H2x" if kind == 3 else f"{order}I", value)
        for tag, kind, value in sorted(told, key=lambda one: one[0])
    )
    start = (b"MM\0*" if big_endian else b"II*\0") + struct.pack(f"{order}I", 8 + len(packed))
    return start + packed + struct.pack(f"{order}H", len(told)) + tags + bytes(4)


@pytest.mark.parametrize(
    "entries",
    [
        [(322, 4, 4096), (323, 4, 4096)],
        [(322, 4, 16), (322, 4, 4096), (323, 4, 16), (323, 3, 4096)],
        [(322, 17, 4096), (323, 17, 4096)],
    ],
    ids=["plain", "said twice", "a type that Pillow passes over"],
)
@pytest.mark.parametrize("big_endian", [False, True])
def test_tiles_far_larger_than_a_tiffs_picture_are_refused(tmp_path, entries, big_endian):
    path = tmp_path / "tiles.tif"
    path.write_bytes(tiled(10, entries, big_endian=big_endian))
    assert path.stat().st_size < 20_000
    with pytest.raises(DataError, match=r"tiles\.tif.*(tiles of 16,777,216 pixels|a tile's size)"):
        decode_picture(path, height=8, width=4)


@pytest.mark.parametrize(("picture_edge", "tile_edge"), [(10, 512), (2500, 2512)])
def test_tiles_that_writers_make_are_read(tmp_path, picture_edge, tile_edge):
    path = tmp_path / "tiles.tif"
    path.write_bytes(tiled(picture_edge, [(322, 3, tile_edge), (323, 4, tile_edge)]))
    assert (decode_picture(path, height=8, width=4) == 128).all()


def test_a_phones_photograph_is_no_bomb(tmp_path):
    assert LARGEST_PICTURE > 9248 * 6936, "of 64 megapixels"
    assert LARGEST_JPEG > 12_000 * 9_000, "of 108 megapixels"
    Image.new("L", (9500, 9500), 200).save(tmp_path / "phone.jpg")
    # Of a process of its own: pytest shows warnings that the package silences.
    program = (
        "import sys; from pathlib import Path\n"
        "from fedklpr_flwr.data.picture_file import decode_picture\n"
        "print(decode_picture(Path(sys.argv[1]), height=8, width=4).min())"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "phone.jpg")]
    told = subprocess.run(command, capture_output=True, text=True)
    assert (told.stdout, told.stderr) == ("200\n", "")
    Image.new("L", (9500, 9500), 200).save(tmp_path / "phone.png")
    with pytest.raises(DataError, match="9500 x 9500 pixels, more than 65,000,000"):
        decode_picture(tmp_path / "phone.png", height=8, width=4)


@pytest.mark.parametrize(
    ("progressive", "sides", "least", "largest"),
    [
        (False, (30_000, 4_500), 8, "128,000,000"),  # 135 megapixels, more than any JPEG may have
        (False, (16_000, 4_500), 4_500, "65,000,000"),  # not to be had smaller
        (True, (16_000, 4_500), 8, "65,000,000"),
    ],
)
def test_the_refusal_of_a_large_jpeg_says_the_limit_that_it_is_over(
    tmp_path, progressive, sides, least, largest
):
    path = tmp_path / "wide.jpg"
    Image.new("L", (16, 16), 200).save(path, progressive=progressive)
    data = bytearray(path.read_bytes())
    frame = data.index(b"\xff\xc2" if progressive else b"\xff\xc0")
    data[frame + 5 : frame + 9] = sides[1].to_bytes(2, "big") + sides[0].to_bytes(2, "big")
    path.write_bytes(data)
    with pytest.raises(DataError, match=f"{sides[0]} x {sides[1]} pixels, more than {largest};"):
        decode_picture(path, height=least, width=least)


def test_a_missing_file_and_a_folder_are_errors(tmp_path):
    for path in (tmp_path / "gone.jpg", tmp_path):
        with pytest.raises(DataError, match="expected a picture"):
            decode_picture(path, height=8, width=4)


def test_the_bytes_of_a_good_picture_come_back_as_they_are(tmp_path):
    path = smooth_jpeg(tmp_path / "good.jpg", size=(20, 40))
    assert picture_bytes(path) == path.read_bytes()


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    pipe = tmp_path / "cam1_0001.jpg"
    os.mkfifo(pipe)
    with pytest.raises(DataError, match="no regular file"):
        decode_picture(pipe, height=8, width=4)
