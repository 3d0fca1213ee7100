"""How a picture file becomes what an exported model takes, in lines that need Pillow alone.

A card prints these very lines, and an export is checked by running them: they give the pixels of
`decode_picture` for pictures of 8 bits and up to 20 megapixels, in sRGB or with an RGB profile,
whichever way up.
"""

import inspect
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from fedklpr_flwr.data.picture_file import FORMATS, read_bytes

_LARGE = 20_000_000


def in_srgb(colours: Image.Image, profile: bytes | None) -> Image.Image:
    """Bring colours to sRGB, where their profile moves any by more than 3 of 255."""
    if not profile:
        return colours
    try:
        there = ImageCms.ImageCmsProfile(BytesIO(profile))
        turn = ImageCms.buildTransform(there, ImageCms.createProfile("sRGB"), "RGB", "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return colours
    steps = np.arange(0, 256, 15, dtype=np.uint8)
    probe = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(1, -1, 3)
    moved = np.asarray(ImageCms.applyTransform(Image.fromarray(probe), turn)).astype(int) - probe
    return ImageCms.applyTransform(colours, turn) or colours if np.abs(moved).max() > 3 else colours


def picture(path: str | Path, width: int, height: int) -> NDArray[np.float32]:
    """Read a picture: float32 (3, height, width), 0 to 1."""
    opened = Image.open(path, formats=["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM"])
    on_its_side = opened.format in ("JPEG", "MPO") and opened.getexif().get(0x0112, 1) > 4
    opened.draft("RGB", (height, width) if on_its_side else (width, height))
    upright = ImageOps.exif_transpose(opened)
    white = Image.new("RGB", upright.size, "white")
    profile = opened.info.get("icc_profile") if opened.mode in ("RGB", "RGBA", "P") else None
    colours = in_srgb(upright.convert("RGB"), profile)
    white.paste(colours, mask=upright.convert("RGBA").getchannel("A"))
    small = white.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(small, np.float32).transpose(2, 0, 1) / np.float32(255)


def beyond(path: Path) -> str:
    """Why the lines give other pixels of a picture than the package; empty where they do not."""
    try:
        with Image.open(BytesIO(read_bytes(path)), formats=FORMATS) as opened:
            return _beyond(opened)
    except Exception:  # the package's own reader says what is wrong with it
        return ""


def _beyond(opened: Image.Image) -> str:
    profile, gamma = (opened.info.get(key) for key in ("icc_profile", "gamma"))
    if opened.mode == "F" or opened.mode.startswith("I"):
        return "more than 8 bits"
    if opened.mode not in ("RGB", "RGBA", "P") and (profile or opened.mode == "CMYK"):
        return f"{opened.mode} with a colour profile" if profile else opened.mode
    if gamma and not profile and "srgb" not in opened.info:
        return "a gamma of its own"
    if opened.format == "BMP" and opened.mode == "RGBA":
        return "a bitmap with an alpha"
    large = opened.width * opened.height > _LARGE
    return f"more than {_LARGE // 1_000_000} megapixels" if large else ""


def printed(width: int, height: int) -> str:
    """The lines for a card, for pictures of one size."""
    code = f"{inspect.getsource(in_srgb)}\n\n{inspect.getsource(picture)}"
    code = code.replace(
        "colours: Image.Image, profile: bytes | None) -> Image.Image:", "colours, profile):"
    )
    code = code.replace(", width: int, height: int) -> NDArray[np.float32]:", "):")
    code = code.replace("path: str | Path", "path").replace("height, width", f"{height}, {width}")
    code = code.replace("(width, height)", f"({width}, {height})")
    return code.replace("(3, height, width)", f"(3, {height}, {width})")
