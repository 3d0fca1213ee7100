"""A person's box, cut out of a frame."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedklpr_flwr.data.person_image import Box
from fedklpr_flwr.data.picture_file import decode_picture


def decode_box(path: Path, box: Box, *, height: int, width: int) -> NDArray[np.uint8]:
    """Decode a frame, cut a box out of it and resize that, bilinear and antialiased.

    Args:
        path: The frame's file.
        box: Left, top, right and bottom in pixels, inside the frame, right and bottom excluded.
        height: Height of the result in pixels, >= 1.
        width: Width of the result in pixels, >= 1.

    Returns:
        uint8 (3, height, width), RGB, 0 to 255.

    Raises:
        UnreadablePicture: As `decode_picture`.
    """
    try:
        with Image.open(path) as frame:
            size = frame.size
    except (OSError, SyntaxError, ValueError):
        size = width, height  # decoding says what is wrong with the file
    pixels = decode_picture(path, height=size[1], width=size[0])
    left, top, right, bottom = box
    cut = Image.fromarray(
        np.ascontiguousarray(pixels[:, top:bottom, left:right].transpose(1, 2, 0))
    )
    resized = cut.resize((width, height), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(resized).transpose(2, 0, 1))
