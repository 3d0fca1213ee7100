"""A person's box, cut out of a frame."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedklpr_flwr.data.person_image import Box
from fedklpr_flwr.data.picture_file import LARGEST_PICTURE, read_bytes, shown_picture
from fedklpr_flwr.errors import UnreadablePicture


def decode_box(path: Path, box: Box, *, height: int, width: int) -> NDArray[np.uint8]:
    """Decode a frame, cut a box out of it and resize that, bilinear and antialiased.

    Args:
        path: The frame's file.
        box: Left, top, right and bottom in pixels, inside the frame as it is shown (upright), right
            and bottom excluded.
        height: Height of the result in pixels, >= 1.
        width: Width of the result in pixels, >= 1.

    Returns:
        uint8 (3, height, width), RGB, 0 to 255.

    Raises:
        UnreadablePicture: As `decode_picture`, or if the box does not lie in the frame.
    """
    # Asked for at any size it comes at its own.
    frame = shown_picture(read_bytes(path), path, height=LARGEST_PICTURE, width=LARGEST_PICTURE)
    if box[2] > frame.width or box[3] > frame.height:
        why = (
            f"a frame of {frame.width} x {frame.height} pixels, in which the box {box} does not lie"
        )
        raise UnreadablePicture(
            f"{path}: expected a frame as large as its camera's, got {why}", why
        )
    resized = frame.crop(box).resize((width, height), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(resized).transpose(2, 0, 1))
