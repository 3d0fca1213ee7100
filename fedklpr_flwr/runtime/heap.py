"""Memory that training frees and takes again in every step stays with the process meanwhile.

glibc gives every large array back to the system at once; the next one must be mapped and zeroed
page by page. On a CPU that is a tenth of a ResNet-50's training step, and more of a plain forward.
Elsewhere than on glibc nothing is done.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of malloc.h
_NEVER, _DEFAULT_TRIM, _DEFAULT_MMAP_MAX = 2**31 - 1, 128 * 1024, 65_536


@contextmanager
def kept_heap() -> Iterator[None]:
    """Keep freed memory while this lasts, and give it back to the system at the end."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is None or not hasattr(libc, "mallopt") or not hasattr(libc, "malloc_trim"):
        yield
        return
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        libc.mallopt(_MMAP_MAX, _DEFAULT_MMAP_MAX)
        libc.mallopt(_TRIM_THRESHOLD, _DEFAULT_TRIM)
        libc.malloc_trim(0)
