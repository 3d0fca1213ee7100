"""How a picture file becomes what an exported model takes, in lines that need Pillow alone.

A card prints these very lines, and an export is checked by running them: they give the pixels of
`decode_picture` for pictures of 8 bits in sRGB and up to 20 megapixels, whichever way up.
"""

import inspect
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps


def picture(path: str | Path, width: int, height: int) -> NDArray[np.float32]:
    """Read a picture: float32 (3, height, width), 0 to 1."""
    opened = Image.open(path)
    on_its_side = opened.format in ("JPEG", "MPO") and opened.getexif().get(0x0112, 1) > 4
    opened.draft("RGB", (height, width) if on_its_side else (width, height))
    upright = ImageOps.exif_transpose(opened)
    white = Image.new("RGB", upright.size, "white")
    white.paste(upright.convert("RGB"), mask=upright.convert("RGBA").getchannel("A"))
    small = white.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(small, np.float32).transpose(2, 0, 1) / np.float32(255)


def printed(width: int, height: int) -> str:
    """The lines for a card, for pictures of one size."""
    code = inspect.getsource(picture)
    code = code.replace(", width: int, height: int) -> NDArray[np.float32]:", "):")
    code = code.replace("path: str | Path", "path").replace("height, width", f"{height}, {width}")
    code = code.replace("(width, height)", f"({width}, {height})")
    return code.replace("(3, height, width)", f"(3, {height}, {width})")
