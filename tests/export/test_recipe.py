"""The lines on an export's card give the package's own pixels."""

import numpy as np
import pytest
from PIL import Image

from fedklpr_flwr.data.picture_file import decode_picture
from fedklpr_flwr.export.recipe import picture, printed


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
    lines: dict = {"np": np, "Image": Image}
    exec("from PIL import ImageOps\n" + printed(16, 32), lines)
    assert np.array_equal(lines["picture"](path), wanted)
