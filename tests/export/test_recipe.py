"""The lines on an export's card give the package's own pixels."""

import os
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError

from fedklpr_flwr.data.picture_file import FORMATS, decode_picture
from fedklpr_flwr.export.recipe import beyond, picture, printed


@pytest.mark.parametrize(
    ("mode", "suffix"), [("RGB", ".jpg"), ("L", ".jpg"), ("RGBA", ".png"), ("P", ".png")]
)
@pytest.mark.parametrize("turn", [1, 6])
@pytest.mark.parametrize("scale", [1, 2, 5])
def test_the_cards_lines_give_the_packages_pixels_at_any_size(tmp_path, mode, suffix, turn, scale):
    noise = np.random.default_rng(scale).integers(0, 256, (64 * scale, 48 * scale, 4), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = turn
    path = tmp_path / f"who{suffix}"
    Image.fromarray(noise).convert(mode).save(path, exif=exif)
    wanted = decode_picture(path, height=32, width=16).astype(np.float32) / np.float32(255)
    assert np.array_equal(picture(path, 16, 32), wanted)
    assert np.array_equal(of_the_card(path), wanted)


def of_the_card(path):
    lines: dict = {"np": np, "Image": Image}
    exec("from io import BytesIO\nfrom PIL import ImageCms, ImageOps\n" + printed(16, 32), lines)
    return lines["picture"](path)


def display_p3():
    """The profile that phones write: sRGB's, with other primaries."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    primaries = {
        b"rXYZ": (0.51512, 0.24120, -0.00105),
        b"gXYZ": (0.29198, 0.69225, 0.04189),
        b"bXYZ": (0.15710, 0.06657, 0.78407),
    }
    for number in range(struct.unpack_from(">I", profile, 128)[0]):
        tag, start = struct.unpack_from(">4sI", profile, 132 + 12 * number)
        if tag in primaries:
            values = [round(value * 65536) for value in primaries[tag]]
            struct.pack_into(">3i", profile, start + 8, *values)
    return bytes(profile)


@pytest.mark.parametrize("profile", ["Display P3", "sRGB", "damaged"])
@pytest.mark.parametrize(("mode", "suffix"), [("RGB", ".jpg"), ("RGBA", ".png"), ("L", ".jpg")])
def test_the_cards_lines_follow_a_colour_profile_as_the_package_does(
    tmp_path, profile, mode, suffix
):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profiles = {"Display P3": display_p3(), "sRGB": srgb, "damaged": srgb[:200]}
    noise = np.random.default_rng(0).integers(0, 256, (64, 48, 4), np.uint8)
    shown = Image.fromarray(noise).convert(mode)
    for name, kept in (("a", profiles[profile]), ("b", None)):
        shown.save(tmp_path / f"{name}{suffix}", icc_profile=kept)
    path = tmp_path / f"a{suffix}"
    wanted = decode_picture(path, height=32, width=16).astype(np.float32) / np.float32(255)
    assert np.array_equal(picture(path, 16, 32), wanted)
    assert np.array_equal(of_the_card(path), wanted)
    moved = not np.array_equal(picture(tmp_path / f"b{suffix}", 16, 32), wanted)
    assert moved == (profile == "Display P3" and mode != "L")
    assert bool(beyond(path)) == (mode == "L")


def test_pictures_that_the_lines_read_otherwise_are_told(tmp_path):
    Image.fromarray(np.full((64, 32), 40_000, np.uint16)).save(tmp_path / "deep.png")
    Image.new("CMYK", (32, 64)).save(tmp_path / "ink.jpg")
    assert beyond(tmp_path / "deep.png") == "more than 8 bits"
    assert beyond(tmp_path / "ink.jpg") == "CMYK"


@pytest.mark.parametrize("read", [picture, lambda path, *_: of_the_card(path)])
def test_what_the_package_never_opens_the_lines_do_not_open_either(tmp_path, read):
    """An icon decodes the whole picture inside it as soon as it is opened."""
    path = tmp_path / "a.png"
    Image.new("RGBA", (64, 64), "red").save(path, format="ICO")
    with pytest.raises(UnidentifiedImageError):
        read(path, 16, 32)


def test_a_picture_is_looked_at_without_decoding_it_and_a_pipe_not_at_all(tmp_path, monkeypatch):
    Image.new("RGBA", (64, 64), "red").save(tmp_path / "icon.png", format="ICO")
    Image.new("1", (9000, 8000)).save(tmp_path / "bomb.png")
    os.mkfifo(tmp_path / "pipe.png")
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("it was decoded"))
    assert beyond(tmp_path / "icon.png") == ""
    assert beyond(tmp_path / "bomb.png") == "more than 20 megapixels"
    assert beyond(tmp_path / "pipe.png") == ""


def test_the_lines_read_the_packages_kinds_of_pictures():
    assert f"formats={list(FORMATS)}".replace("'", '"') in printed(16, 32)
