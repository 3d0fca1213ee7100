"""How large a TIFF's tiles are: its decoder holds a whole one, whatever the picture's size."""

import struct

_WIDTH, _LENGTH = 322, 323
_PLAIN = {3: "H", 4: "I"}
"""A number's form by its type: a SHORT, a LONG."""


def tile_pixels(data: bytes, directory: int) -> int:
    """Tell how many pixels a tile of a TIFF has.

    The list of tags is read as the decoder does; Pillow passes over types that it does not know.

    Args:
        data: The bytes of the file.
        directory: Where in it the picture's list of tags begins.

    Returns:
        The most that any of its tags say; 0 where the picture has no tiles.

    Raises:
        ValueError: A tile's size is no plain number.
        struct.error: The file ends too early.
    """
    order = "<" if data.startswith(b"II") else ">"
    big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
    count = struct.unpack_from(f"{order}{'Q' if big else 'H'}", data, directory)[0]
    start, step, inline = directory + (8 if big else 2), *((20, 12) if big else (12, 8))
    edges = {_WIDTH: 0, _LENGTH: 0}
    for at in range(start, min(start + count * step, len(data) - step + 1), step):
        tag, kind = struct.unpack_from(f"{order}HH", data, at)
        if tag not in edges:
            continue
        if kind not in _PLAIN:
            raise ValueError("a tile's size that is no plain number")
        value = struct.unpack_from(f"{order}{_PLAIN[kind]}", data, at + inline)[0]
        edges[tag] = max(edges[tag], value)
    return edges[_WIDTH] * edges[_LENGTH]
