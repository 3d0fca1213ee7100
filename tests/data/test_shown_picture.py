"""A picture is what a person sees: upright, from black to white, in sRGB, on white paper."""

import resource
import struct
import subprocess
import sys
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from fedklpr_flwr.data.contact_sheet import SheetRow, search_sheet
from fedklpr_flwr.data.picture_file import decode_picture, why_unreadable
from fedklpr_flwr.errors import DataError

HEIGHT, WIDTH = 32, 16


@pytest.fixture(scope="module")
def plain() -> np.ndarray:
    """A picture that is another one whichever way it is turned: uint8 (48, 24, 3)."""
    rows, columns = np.mgrid[0:48, 0:24]
    return np.stack([rows * 5, columns * 10, (rows * columns) % 251], axis=2).astype(np.uint8)


@pytest.fixture(scope="module")
def grey() -> np.ndarray:
    """Grey values from black to white: uint8 (48, 24)."""
    return np.linspace(0, 255, 48 * 24).reshape(48, 24).astype(np.uint8)


def seen(path: Path) -> np.ndarray:
    return decode_picture(path, height=HEIGHT, width=WIDTH)


def as_plain(pixels: np.ndarray) -> np.ndarray:
    small = Image.fromarray(pixels).convert("RGB")
    return np.asarray(small.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)).transpose(2, 0, 1)


def stored_for(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The rows as a camera stores them that writes this EXIF orientation (EXIF 2.3, 4.6.4)."""
    rotated = {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.transpose(1, 0, 2),
        6: lambda p: np.rot90(p),
        7: lambda p: p.transpose(1, 0, 2)[::-1, ::-1],
        8: lambda p: np.rot90(p, -1),
    }
    return np.ascontiguousarray(rotated[orientation](pixels))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_stands_as_its_camera_was_held(tmp_path, plain, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"held{suffix}"
    stored = Image.fromarray(stored_for(plain, orientation))
    more = {".webp": {"lossless": True}, ".jpg": {"quality": 100, "subsampling": 0}}
    stored.save(path, exif=exif, **more.get(suffix, {}))
    difference = np.abs(seen(path).astype(int) - as_plain(plain)).max()
    assert difference <= (4 if suffix == ".jpg" else 0)


def test_a_large_picture_on_its_side_is_never_decoded_smaller_than_asked_for(tmp_path):
    upright = np.zeros((256, 128, 3), np.uint8)
    upright[::2] = 255  # decoded at half its size, these rows would be grey
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "side.jpg"
    Image.fromarray(stored_for(upright, 6)).save(path, exif=exif, quality=100)
    rows = decode_picture(path, height=256, width=64)
    assert rows[:, 0::2].min() > 200
    assert rows[:, 1::2].max() < 50


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0garbage", b"Exif\0\0"]
)
def test_damaged_exif_does_not_hide_a_picture(tmp_path, plain, exif):
    path = tmp_path / "damaged.png"
    Image.fromarray(plain).save(path, exif=exif)
    assert np.array_equal(seen(path), as_plain(plain))


@pytest.mark.parametrize("said", [0, 9, 255])
def test_an_orientation_that_does_not_exist_turns_nothing(tmp_path, plain, said):
    exif = Image.Exif()
    exif[0x0112] = said
    Image.fromarray(plain).save(tmp_path / "odd.png", exif=exif)
    assert np.array_equal(seen(tmp_path / "odd.png"), as_plain(plain))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
@pytest.mark.parametrize("white", [256, 257])
def test_sixteen_bits_go_from_black_to_white(tmp_path, grey, suffix, white):
    deep = grey.astype(np.uint16) * white
    Image.fromarray(deep).save(tmp_path / f"deep{suffix}")
    assert np.array_equal(seen(tmp_path / f"deep{suffix}"), as_plain(grey))


def test_a_tiff_whose_white_is_zero_is_no_negative(tmp_path, grey):
    deep = 65535 - grey.astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "inverse.tif", tiffinfo={262: 0})
    assert np.array_equal(seen(tmp_path / "inverse.tif"), as_plain(grey))


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.full((9, 9), 0.5, np.float32), "floating-point grey values"),
        (np.full((9, 9), 70_000, np.int32), "32-bit grey values"),
        (np.full((9, 9), 3000, np.uint16), "go up to 3000 alone"),
    ],
)
def test_numbers_without_an_agreed_white_are_refused_by_name(tmp_path, values, why):
    path = tmp_path / "sensor.tif"
    Image.fromarray(values).save(path)
    with pytest.raises(DataError, match=rf"sensor\.tif: .*{why}.*convert"):
        seen(path)
    assert why in why_unreadable(path)


def test_what_is_opaque_is_as_without_transparency(tmp_path, plain, grey):
    alpha = np.full((48, 24, 1), 255, np.uint8)
    Image.fromarray(np.concatenate([plain, alpha], axis=2)).save(tmp_path / "rgba.png")
    assert np.array_equal(seen(tmp_path / "rgba.png"), as_plain(plain))
    Image.fromarray(np.concatenate([grey[..., None], alpha], axis=2)).save(tmp_path / "la.png")
    assert np.array_equal(seen(tmp_path / "la.png"), as_plain(grey))


def test_what_cannot_be_seen_is_white_and_not_what_lies_hidden_in_it(tmp_path, plain):
    alpha = np.full((48, 24, 1), 255, np.uint8)
    alpha[:24] = 0
    Image.fromarray(np.concatenate([plain, alpha], axis=2)).save(tmp_path / "cut.png")
    shown = plain.copy()
    shown[:24] = 255
    assert np.array_equal(seen(tmp_path / "cut.png"), as_plain(shown))


def test_a_bitmap_whose_alpha_nobody_wrote_is_opaque(tmp_path, plain):
    """32 bits, an alpha mask, and 0 in all of it: viewers show the colours."""
    height, width = plain.shape[:2]
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    body = np.zeros((height, width, 4), np.uint8)
    body[..., :3] = plain[::-1, :, ::-1]
    head = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, body.size, 1, 1, 0, 0)
    start = b"BM" + struct.pack("<IHHI", 122 + body.size, 0, 0, 122)
    (tmp_path / "x.bmp").write_bytes(start + head + masks + bytes(52) + body.tobytes())
    assert (seen(tmp_path / "x.bmp") == as_plain(plain)).all()


def test_a_picture_of_which_nothing_is_seen_is_refused(tmp_path, plain):
    hidden = Image.fromarray(plain).convert("RGBA")
    hidden.putalpha(0)
    hidden.save(tmp_path / "x.png")
    assert "transparent everywhere" in why_unreadable(tmp_path / "x.png")


def test_a_palette_is_its_colours_also_where_one_of_them_is_transparent(tmp_path, grey):
    few = Image.fromarray(grey).convert("P")
    few.save(tmp_path / "palette.png")
    assert np.array_equal(seen(tmp_path / "palette.png"), as_plain(grey))
    few.save(tmp_path / "clear.gif", transparency=0)
    shown = grey.copy()
    shown[grey == 0] = 255
    assert np.array_equal(seen(tmp_path / "clear.gif"), as_plain(shown))


def test_a_profile_of_srgb_changes_no_bit_and_a_damaged_one_neither(tmp_path, plain):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for number, profile in enumerate((srgb, b"no profile", srgb[:200])):
        Image.fromarray(plain).save(tmp_path / f"{number}.png", icc_profile=profile)
        assert np.array_equal(seen(tmp_path / f"{number}.png"), as_plain(plain))


def test_colours_of_another_profile_come_out_as_in_srgb(tmp_path):
    # Neutral grey of CIE L*a*b* 53.6 is sRGB 128; stored through L*a*b* it must come back as that.
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    grey = Image.new("RGB", (24, 48), (128, 128, 128))
    there = ImageCms.profileToProfile(grey, srgb, lab, outputMode="LAB")
    there.save(tmp_path / "lab.tif")
    assert np.abs(seen(tmp_path / "lab.tif").astype(int) - 128).max() <= 2


def test_a_png_that_is_linear_in_light_is_shown_brighter(tmp_path, grey):
    content = BytesIO()
    Image.fromarray(grey).save(content, "PNG")
    bare = content.getvalue()
    body = b"gAMA" + struct.pack(">I", 100_000)
    chunk = struct.pack(">I", 4) + body + struct.pack(">I", zlib.crc32(body))
    (tmp_path / "linear.png").write_bytes(bare[:33] + chunk + bare[33:])
    shown = np.rint(255 * (grey / 255) ** (1 / 2.2)).astype(np.uint8)
    assert np.array_equal(seen(tmp_path / "linear.png"), as_plain(shown))


def sixteen_bits(pixels: np.ndarray, before: bytes = b"") -> bytes:
    """A PNG of 16 bits a channel, which Pillow reads and does not write."""
    kinds = {1: 0, 2: 4, 3: 2, 4: 6}
    height, width, channels = pixels.shape
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in pixels)

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 16, kinds[channels], 0, 0, 0)
    data = chunk(b"gAMA", before) * bool(before) + chunk(b"IDAT", zlib.compress(lines))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def test_sixteen_bits_of_grey_follow_a_png_s_gamma_as_eight_do(tmp_path, grey):
    linear = struct.pack(">I", 100_000)
    deep = grey[..., None].astype(np.uint16) * 257
    (tmp_path / "a.png").write_bytes(sixteen_bits(deep, linear))
    shown = np.rint(255 * (grey / 255) ** (1 / 2.2)).astype(np.uint8)
    assert np.array_equal(seen(tmp_path / "a.png"), as_plain(shown))


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_twelve_bits_of_colour_in_sixteen_are_refused_by_name_and_not_black(tmp_path, channels):
    values = np.random.default_rng(0).integers(0, 4096, (48, 24, channels), np.uint16)
    if channels != 3:
        values[..., -1] = 65_535
    (tmp_path / "dark.png").write_bytes(sixteen_bits(values))
    with pytest.raises(DataError, match=r"dark\.png: .*one part in sixteen"):
        seen(tmp_path / "dark.png")
    bright = values if channels == 3 else values[..., :-1]
    bright[:] = bright * 16
    (tmp_path / "bright.png").write_bytes(sixteen_bits(values))
    assert seen(tmp_path / "bright.png").max() > 100


def test_twelve_bits_of_a_ppm_that_says_sixteen_are_refused_by_name(tmp_path):
    values = np.random.default_rng(0).integers(0, 4096, (48, 24, 3), np.uint16).astype(">u2")
    for most, name in ((65_535, "dark.ppm"), (4095, "right.ppm")):
        (tmp_path / name).write_bytes(b"P6\n24 48\n%d\n" % most + values.tobytes())
    with pytest.raises(DataError, match="one part in sixteen"):
        seen(tmp_path / "dark.ppm")
    assert seen(tmp_path / "right.ppm").max() > 100


@pytest.mark.parametrize("kind", ["ICO", "ICNS", "EPS", "PSD", "TGA", "PCX", "DDS", "JPEG2000"])
def test_nothing_but_the_documented_formats_reaches_pillow(tmp_path, kind):
    content = BytesIO()
    path = tmp_path / "who.jpg"
    if kind == "PSD":
        content.write(b"8BPS\0\x01" + bytes(200))
    else:
        Image.new("RGB", (64, 64)).save(content, kind)
    path.write_bytes(content.getvalue())
    with pytest.raises(DataError, match="no picture of a known format"):
        seen(path)
    with pytest.raises(DataError, match="no picture of a known format"):
        search_sheet([SheetRow(path, [path], ["x"])], tmp_path / "sheet.png")


def test_what_a_picture_is_instead_is_told(tmp_path):
    for start, what in {b"%!PS-Adobe": "PostScript", b"\0\0\0\x1cftypheic": "HEIC"}.items():
        (tmp_path / "x.jpg").write_bytes(start + bytes(100))
        assert f"it is {what}" in why_unreadable(tmp_path / "x.jpg")


@pytest.mark.slow
def test_forty_eight_megapixels_are_read_whatever_the_format(tmp_path):
    size = (8064, 6048)
    Image.new("RGB", size, (10, 200, 30)).save(tmp_path / "phone.jpg")
    Image.new("P", size, 3).save(tmp_path / "phone.png", compress_level=1)
    assert seen(tmp_path / "phone.jpg").shape == (3, HEIGHT, WIDTH)
    assert seen(tmp_path / "phone.png").shape == (3, HEIGHT, WIDTH)


@pytest.mark.slow
def test_a_large_picture_in_strips_looks_as_it_does_whole(tmp_path):
    rows, columns = np.mgrid[0:5000, 0:4200]
    large = np.stack([rows // 20, columns // 17, (rows + columns) // 37], axis=2).astype(np.uint8)
    Image.fromarray(large).save(tmp_path / "large.png", compress_level=1)
    assert np.abs(seen(tmp_path / "large.png").astype(int) - as_plain(large)).max() <= 2


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in other units elsewhere")
@pytest.mark.parametrize(("suffix", "most_mb"), [(".jpg", 60), (".png", 420)])
def test_the_memory_of_a_large_picture_is_bounded(tmp_path, suffix, most_mb):
    path = tmp_path / f"phone{suffix}"
    Image.new("RGBA" if suffix == ".png" else "RGB", (8064, 6048), (10, 200, 30)).save(path)
    program = (
        "import resource, sys; from pathlib import Path\n"
        "from fedklpr_flwr.data.picture_file import decode_picture\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "decode_picture(Path(sys.argv[1]), height=256, width=128)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    told = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    assert int(told.stdout) / 1024 < most_mb


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in other units elsewhere")
@pytest.mark.parametrize("kind", ["ICO", "PNG", "WEBP", "TIFF", "GIF", "BMP"])
def test_the_size_is_looked_at_before_anything_is_decoded(tmp_path, kind):
    content = BytesIO()
    if kind == "ICO":
        Image.new("1", (9000, 9000)).save(content, "PNG")
        inner = content.getvalue()
        entry = b"\0\0\x01\0\x01\0" + bytes([0, 0, 0, 0, 1, 0, 32, 0])
        content = BytesIO(entry + len(inner).to_bytes(4, "little") + (22).to_bytes(4, "little"))
        content.seek(0, 2)
        content.write(inner)
    else:
        mode = "RGB" if kind == "WEBP" else "1"
        Image.new(mode, (9000, 9000)).save(content, kind)
    (tmp_path / "bomb.jpg").write_bytes(content.getvalue())
    del content
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert why_unreadable(tmp_path / "bomb.jpg")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40 * 1024
