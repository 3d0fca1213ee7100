"""A checksum of arrays by name, which the format of their file does not have."""

import zlib
from collections.abc import Mapping

import numpy as np


def array_check(arrays: Mapping[str, np.ndarray]) -> str:
    """The CRC-32 of all bytes, in the order of the names: 8 hexadecimal digits."""
    check = 0
    for name in sorted(arrays):
        check = zlib.crc32(np.ascontiguousarray(arrays[name]).data, check)
    return f"{check:08x}"
